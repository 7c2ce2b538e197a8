//! The client, provisioning and our schema against OpenLDAP. Needs Debian's `slapd` and `ldap-utils`; says so if absent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{fs, net::TcpListener, path::Path, process::Stdio, time::Duration};

use laniakea_config::{DirectorySettings, Profile};
use laniakea_directory::{
    Address, Admin, ClusterName, ClusterRecord, Directory, LoginName, LookupError, NewAccount, Secret, Status,
    provision::{AccountChange, NewPassword},
};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

const CONFIGURATION: &str = "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/misc.schema
modulepath /usr/lib/ldap
moduleload back_mdb
database config
rootpw secret
database mdb
suffix dc=example,dc=org
rootdn cn=admin,dc=example,dc=org
rootpw secret
index objectClass,uid,mail,mailLocalAddress,mailHost,entryUUID eq
access to attrs=userPassword by anonymous auth by * none
access to * by * read
";

struct OpenLdap {
    folder: tempfile::TempDir,
    url: String,
    process: Child,
}

impl OpenLdap {
    async fn start() -> Option<Self> {
        if !Path::new("/usr/sbin/slapd").exists() {
            println!("SKIPPED: /usr/sbin/slapd (package slapd) is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("data")).unwrap();
        fs::create_dir(path("config")).unwrap();
        fs::write(path("secret"), "secret").unwrap();
        let configuration = format!("{CONFIGURATION}directory {}\n", path("data").display());
        fs::write(path("slapd.conf"), configuration).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("ldap://127.0.0.1:{port}");
        let process = Command::new("/usr/sbin/slapd")
            .args(["-d", "0", "-h", &url])
            .args(["-f".as_ref(), path("slapd.conf").as_os_str(), "-F".as_ref(), path("config").as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let server = Self { folder, url, process };
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(server);
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("slapd does not listen");
    }

    async fn add(&self, dn: &str, file: &str) {
        run(Command::new("ldapadd"), &["-x", "-H", &self.url, "-D", dn, "-w", "secret", "-f", file]).await;
    }

    /// Loads our schema and the base entry.
    async fn furnish(&self) {
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/laniakea-openldap.ldif");
        self.add("cn=config", schema.to_str().unwrap()).await;
        self.make_base().await;
    }

    async fn make_base(&self) {
        let base = self.folder.path().join("base.ldif");
        fs::write(
            &base,
            "dn: dc=example,dc=org\nobjectClass: organization\nobjectClass: dcObject\no: x\ndc: example\n",
        )
        .unwrap();
        self.add("cn=admin,dc=example,dc=org", base.to_str().unwrap()).await;
    }

    fn settings(&self) -> DirectorySettings {
        DirectorySettings {
            urls: vec![self.url.clone()],
            base: "dc=example,dc=org".into(),
            bind_dn: "cn=admin,dc=example,dc=org".into(),
            bind_password: Some(self.folder.path().join("secret")),
            start_tls: false,
            ca: None,
            profile: Profile::inet_local_mail_recipient(),
            fresh: Duration::from_secs(60),
            unknown: Duration::ZERO,
            entries_max: 1000,
            timeout: Duration::from_secs(3),
            connections: 2,
            embedded: None,
        }
    }

    async fn stop(mut self) {
        self.process.kill().await.unwrap();
    }
}

async fn run(mut command: Command, arguments: &[&str]) {
    let output = command.args(arguments).output().await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn account(name: &str, quota: Option<u64>) -> NewAccount {
    NewAccount {
        login: LoginName::parse(name).unwrap(),
        addresses: vec![Address::parse(&format!("{name}@example.org")).unwrap()],
        name: String::new(),
        mail_host: "cluster-1".into(),
        password: NewPassword::Plain(Secret::new(b"pw".to_vec())),
        forward: None,
        quota,
    }
}

#[tokio::test]
async fn accounts_live_in_openldap_with_our_schema() {
    let Some(server) = OpenLdap::start().await else { return };
    server.furnish().await;
    let admin = Admin::connect(&server.settings()).await.unwrap();
    admin.prepare().await.unwrap();
    admin.add(account("eve", Some(1000))).await.unwrap();
    assert!(admin.add(account("eve", None)).await.is_err());
    let many: Vec<_> = (0..300).map(|n| account(&format!("user{n}"), None)).collect();
    assert_eq!(admin.add_many(many).await.unwrap(), 300);
    assert_eq!(admin.list().await.unwrap().len(), 301);
    let members = vec!["127.0.0.1:1".to_owned()];
    admin.put_cluster(&ClusterRecord { name: ClusterName::new("cluster-1"), members }).await.unwrap();
    admin.set("user7", vec![AccountChange::Status(Status::Disabled)]).await.unwrap();

    let directory = Directory::connect(&server.settings()).unwrap();
    let found = async |name: &str| directory.account_by_login(&LoginName::parse(name).unwrap()).await;
    let eve = found("EVE@example.org").await.unwrap().unwrap();
    assert_eq!((eve.quota, eve.mail_host.as_str()), (Some(1000), "cluster-1"));
    assert_eq!(directory.account_by_id(eve.id).await.unwrap().unwrap(), eve);
    assert_eq!(found("user7").await.unwrap().unwrap().status, Status::Disabled);
    assert_eq!(found("*)(uid=*").await.unwrap(), None);
    assert_eq!(directory.clusters().await.unwrap().len(), 1);
    assert!(directory.verify(&eve, &Secret::new(b"pw".to_vec())).await.unwrap());
    assert!(!directory.verify(&eve, &Secret::new(b"no".to_vec())).await.unwrap());

    // OpenLDAP keeps no value unique by itself: two entries for one address are our client's to notice.
    admin.set("user8", vec![AccountChange::AddAddress(Address::parse("eve@example.org").unwrap())]).await.unwrap();
    let found = Directory::connect(&server.settings()).unwrap();
    let found = found.account_by_address(&Address::parse("eve@example.org").unwrap()).await;
    assert!(matches!(found, Err(LookupError::Inconsistent(_))), "{found:?}");
    server.stop().await;
}

#[tokio::test]
async fn plain_accounts_need_no_schema_of_ours() {
    let Some(server) = OpenLdap::start().await else { return };
    server.make_base().await;
    let admin = Admin::connect(&server.settings()).await.unwrap();
    admin.prepare().await.unwrap();
    admin.add(account("eve", None)).await.unwrap();
    let directory = Directory::connect(&server.settings()).unwrap();
    let eve = directory.account_by_login(&LoginName::parse("eve").unwrap()).await.unwrap().unwrap();
    assert_eq!((eve.status.as_str(), eve.quota), ("active", None));
    assert_eq!(directory.cluster(&ClusterName::new("mail.example.net")).await.unwrap(), None);
    assert!(admin.add(account("adam", Some(5))).await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn a_reader_that_may_not_see_passwords_checks_them_by_bind() {
    let Some(server) = OpenLdap::start().await else { return };
    server.make_base().await;
    let admin = Admin::connect(&server.settings()).await.unwrap();
    admin.prepare().await.unwrap();
    // OpenLDAP itself understands {SSHA} without a module.
    let stored = "{SSHA}mCEP3f+83lMHBMtcDFsVxqDHCUe9k99T".to_owned();
    let eve = NewAccount { password: NewPassword::Hashed(stored), ..account("eve", None) };
    admin.add(eve).await.unwrap();
    let anonymous = DirectorySettings { bind_dn: String::new(), bind_password: None, ..server.settings() };
    let directory = Directory::connect(&anonymous).unwrap();
    let eve = directory.account_by_login(&LoginName::parse("eve").unwrap()).await.unwrap().unwrap();
    assert!(directory.verify(&eve, &Secret::new("geheim Ä".into())).await.unwrap());
    assert!(!directory.verify(&eve, &Secret::new(b"no".to_vec())).await.unwrap());
    assert!(!directory.verify(&eve, &Secret::default()).await.unwrap());
    server.stop().await;
}
