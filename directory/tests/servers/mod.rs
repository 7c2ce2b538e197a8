//! The LDAP servers the client must get on with: our own, OpenLDAP and 389 Directory Server, each on free ports of
//! 127.0.0.1, in a folder of its own, with a certificate of its own authority.
#![allow(dead_code)]

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use laniakea_config::{DirectorySettings, Profile};
use laniakea_test_ports::free_address;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::world::{ADMIN, BASE, PASSWORD, World, certificate};

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Embedded,
    OpenLdap,
    Ds389,
}

/// How it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Plain,
    StartTls,
    Ldaps,
}

impl Transport {
    pub const ALL: [Self; 3] = [Self::Plain, Self::StartTls, Self::Ldaps];
}

/// A running server with our schema and the base entry.
pub enum Server {
    Embedded(Box<World>),
    Process(Box<Process>),
}

/// A server that is a program of somebody else.
pub struct Process {
    kind: Kind,
    folder: tempfile::TempDir,
    port: u16,
    tls_port: u16,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts one; `None` where its package is not installed, which is a failure where all tools are required.
    pub async fn start(kind: Kind) -> Option<Self> {
        let (program, package) = match kind {
            Kind::Embedded => {
                let world = World::start().await;
                return Some(Self::Embedded(Box::new(world)));
            }
            Kind::OpenLdap => ("/usr/sbin/slapd", "slapd"),
            Kind::Ds389 => ("/usr/sbin/ns-slapd", "389-ds-base"),
        };
        if !Path::new(program).exists() {
            assert!(std::env::var_os("LANIAKEA_TOOLS_REQUIRED").is_none(), "{program} (package {package}) is missing");
            println!("SKIPPED: {program} (package {package}) is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        certificate(folder.path().into());
        fs::write(folder.path().join("admin"), PASSWORD).unwrap();
        let (port, tls_port) = (free_address().port(), free_address().port());
        match kind {
            Kind::OpenLdap => prepare_openldap(folder.path()),
            _ => prepare_389(folder.path(), port, tls_port),
        }
        let child = spawn(kind, folder.path(), port, tls_port);
        let server = Process { kind, folder, port, tls_port, child };
        server.until_listening().await;
        let server = Self::Process(Box::new(server));
        match kind {
            Kind::OpenLdap => server.add_as("cn=config", &schema("laniakea-openldap.ldif")),
            _ => server.add_as(ADMIN, BACKEND_389),
        }
        server.add_as(ADMIN, BASE_ENTRY);
        Some(server)
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Embedded(world) => world.folder.path(),
            Self::Process(process) => process.folder.path(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Embedded(world) => world.address,
            Self::Process(process) => SocketAddr::from(([127, 0, 0, 1], process.port)),
        }
    }

    fn tls_address(&self) -> SocketAddr {
        match self {
            Self::Embedded(world) => world.tls_address,
            Self::Process(process) => SocketAddr::from(([127, 0, 0, 1], process.tls_port)),
        }
    }

    /// What a client of this server is told.
    pub fn client(&self, transport: Transport) -> DirectorySettings {
        let url = match transport {
            Transport::Ldaps => format!("ldaps://{}", self.tls_address()),
            Transport::Plain | Transport::StartTls => format!("ldap://{}", self.address()),
        };
        let mut profile = Profile::inet_local_mail_recipient();
        if matches!(self, Self::Process(process) if process.kind == Kind::Ds389) {
            // The plug-in for entryUUID is not in every build of 389-ds; this one is always there.
            profile.id = "nsUniqueId".into();
        }
        DirectorySettings {
            urls: vec![url],
            base: BASE.into(),
            bind_dn: ADMIN.into(),
            bind_password: Some(self.folder().join("admin")),
            start_tls: transport == Transport::StartTls,
            ca: Some(self.folder().join("ca.pem")),
            profile,
            fresh: Duration::from_millis(300),
            unknown: Duration::ZERO,
            entries_max: 1000,
            timeout: Duration::from_secs(3),
            connections: 2,
            new_passwords: Default::default(),
            embedded: None,
        }
    }

    /// Runs one of ldap-utils as the administrator, and says how it ended.
    pub fn tool(&self, tool: &str, dn: &str, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(tool)
            .args(["-x", "-H", &format!("ldap://{}", self.address()), "-D", dn, "-w", PASSWORD])
            .args(arguments)
            .env("LDAPCONF", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{tool} (package ldap-utils): {error}"));
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Adds entries as an operator would.
    pub fn add(&self, ldif: &str) {
        self.add_as(ADMIN, ldif);
    }

    /// Changes entries as an operator would.
    pub fn modify(&self, ldif: &str) {
        let output = self.tool("ldapmodify", ADMIN, &[], ldif);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn add_as(&self, dn: &str, ldif: &str) {
        let output = self.tool("ldapadd", dn, &[], ldif);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Ends it as a kernel would, and keeps its data.
    pub async fn kill(&mut self) {
        match self {
            Self::Embedded(world) => world.end().await,
            Self::Process(process) => {
                process.child.kill().unwrap();
                process.child.wait().unwrap();
            }
        }
    }

    /// Starts it again where it was.
    pub async fn revive(&mut self) {
        match self {
            Self::Embedded(world) => world.restart().await,
            Self::Process(process) => {
                process.child = spawn(process.kind, process.folder.path(), process.port, process.tls_port);
                process.until_listening().await;
            }
        }
    }

    /// Stops it without a word to its clients, or lets it go on; `false` where it is no process of its own.
    pub fn freeze(&self, frozen: bool) -> bool {
        let Self::Process(process) = self else { return false };
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        let pid = Pid::from_raw(i32::try_from(process.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        true
    }
}

impl Process {
    async fn until_listening(&self) {
        for _ in 0..600 {
            if [self.port, self.tls_port].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        let said = fs::read_to_string(self.folder.path().join("said")).unwrap_or_default();
        panic!("{:?} does not listen: {said}", self.kind);
    }
}

const BASE_ENTRY: &str = "dn: dc=example,dc=org
objectClass: organization
objectClass: dcObject
o: Example
dc: example
";

/// One of the files that ship.
fn schema(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(name)).unwrap()
}

fn spawn(kind: Kind, folder: &Path, port: u16, tls_port: u16) -> Child {
    let said = fs::File::create(folder.join("said")).unwrap();
    let mut command = match kind {
        Kind::OpenLdap => {
            let mut command = Command::new("/usr/sbin/slapd");
            command.args(["-d", "0", "-h", &format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}")]);
            // The second start finds the configuration that the first one made, our schema in it.
            if fs::read_dir(folder.join("config")).unwrap().next().is_none() {
                command.arg("-f").arg(folder.join("slapd.conf"));
            }
            command.arg("-F").arg(folder.join("config"));
            command
        }
        _ => {
            let mut command = Command::new("/usr/sbin/ns-slapd");
            command.args(["-d", "0", "-D"]).arg(folder.join("config")).arg("-i").arg(folder.join("run/pid"));
            command
        }
    };
    command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap()
}

fn prepare_openldap(folder: &Path) {
    let show = |name: &str| folder.join(name).display().to_string();
    for name in ["data", "config"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    let (cert, key, ca, data) = (show("cert.pem"), show("key.pem"), show("ca.pem"), show("data"));
    let configuration = format!(
        "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/misc.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {cert}
TLSCertificateKeyFile {key}
TLSCACertificateFile {ca}
database config
rootpw \"{PASSWORD}\"
database mdb
suffix {BASE}
rootdn {ADMIN}
rootpw \"{PASSWORD}\"
index objectClass,uid,mail,mailLocalAddress,mailHost,entryUUID eq
access to attrs=userPassword by anonymous auth by * none
access to * by * read
directory {data}
"
    );
    fs::write(folder.join("slapd.conf"), configuration).unwrap();
}

/// The database and its suffix, as `dscreate` would make them.
const BACKEND_389: &str = "dn: cn=userroot,cn=ldbm database,cn=plugins,cn=config
objectClass: extensibleObject
objectClass: nsBackendInstance
cn: userroot
nsslapd-suffix: dc=example,dc=org

dn: cn=\"dc=example,dc=org\",cn=mapping tree,cn=config
objectClass: extensibleObject
objectClass: nsMappingTree
cn: dc=example,dc=org
nsslapd-state: backend
nsslapd-backend: userroot
";

/// Makes the folders of an instance from the template of the package, without systemd and without its fixed places.
fn prepare_389(folder: &Path, port: u16, tls_port: u16) {
    for name in ["lock", "tmp", "ldif", "bak", "run", "inst", "log", "db", "config/schema"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let config = folder.join("config");
    fs::copy("/etc/dirsrv/config/slapd-collations.conf", config.join("slapd-collations.conf")).unwrap();
    fs::copy("/etc/dirsrv/schema/99user.ldif", config.join("schema/99user.ldif")).unwrap();
    fs::write(config.join("schema/98laniakea.ldif"), schema("laniakea-389ds.ldif")).unwrap();
    let place = |name: &str| folder.join(name).display().to_string();
    let values = [
        ("schema_dir", place("config/schema")),
        ("lock_dir", place("lock")),
        ("tmp_dir", place("tmp")),
        ("cert_dir", place("config")),
        ("ldif_dir", place("ldif")),
        ("bak_dir", place("bak")),
        ("run_dir", place("run")),
        ("inst_dir", place("inst")),
        ("log_dir", place("log")),
        ("config_dir", place("config")),
        ("db_dir", place("db")),
        ("db_home_dir", place("db")),
        ("db_lib", "bdb".into()),
        ("fqdn", "localhost".into()),
        ("ds_port", port.to_string()),
        ("ds_user", user_name()),
        ("ds_suffix", BASE.into()),
        ("rootdn", ADMIN.into()),
        ("ds_passwd", hash_389()),
        ("ldapi_enabled", "off".into()),
        ("ldapi_autobind", "off".into()),
        ("ldapi", place("run/ldapi")),
    ];
    let mut dse = fs::read_to_string("/usr/share/dirsrv/data/template-dse.ldif").unwrap();
    for (name, value) in values {
        dse = dse.replace(&format!("%{name}%"), &value);
    }
    let more = format!(
        "nsslapd-port: {port}\nnsslapd-listenhost: 127.0.0.1\nnsslapd-securelistenhost: 127.0.0.1\n\
         nsslapd-security: on\nnsslapd-secureport: {tls_port}"
    );
    let dse = dse.replace(&format!("nsslapd-port: {port}"), &more);
    fs::write(config.join("dse.ldif"), dse).unwrap();
    import_certificate(folder, &config);
}

/// 389-ds keeps certificates in a database of its own.
fn import_certificate(folder: &Path, config: &Path) {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).current_dir(folder).args(arguments).output();
        let output = output.unwrap_or_else(|error| panic!("{program} (packages libnss3-tools, openssl): {error}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let database = config.to_str().unwrap();
    run("certutil", &["-N", "-d", database, "--empty-password"]);
    let bundle =
        ["-in", "cert.pem", "-inkey", "key.pem", "-name", "Server-Cert", "-out", "bundle", "-passout", "pass:x"];
    run("openssl", &[&["pkcs12", "-export"], bundle.as_slice()].concat());
    run("pk12util", &["-d", database, "-i", "bundle", "-W", "x", "-K", ""]);
    run("certutil", &["-A", "-d", database, "-n", "ca", "-t", "CT,,", "-a", "-i", "ca.pem"]);
}

/// It takes no plain password from its configuration.
fn hash_389() -> String {
    first_line(Command::new("pwdhash").args(["-s", "PBKDF2-SHA512", PASSWORD]))
}

fn user_name() -> String {
    first_line(Command::new("id").arg("-un"))
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
