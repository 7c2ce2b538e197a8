//! An embedded server on free ports, and the tools that talk to it.
#![allow(dead_code)]

use std::{net::SocketAddr, path::PathBuf, process::Stdio};

use laniakea_config::{DirectorySettings, EmbeddedDirectory, Profile, TlsSettings};
use laniakea_directory::server::Server;
use tokio::{io::AsyncWriteExt, process::Command, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub const BASE: &str = "dc=example,dc=org";
pub const ADMIN: &str = "cn=admin,dc=example,dc=org";
pub const PASSWORD: &str = "correct horse";

pub struct World {
    pub folder: tempfile::TempDir,
    pub address: SocketAddr,
    pub tls_address: SocketAddr,
    settings: EmbeddedDirectory,
    shutdown: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl World {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    /// Starts another server on what this one's files hold at this moment.
    pub async fn copy_as_if_killed(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let file = "data/directory.redb";
        std::fs::copy(self.folder.path().join(file), folder.path().join(file)).unwrap();
        Self::start_in(folder).await
    }

    async fn start_in(folder: tempfile::TempDir) -> Self {
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("admin"), format!("{PASSWORD}\n")).unwrap();
        let tls = certificate(folder.path().into());
        let settings = EmbeddedDirectory {
            new_passwords: Default::default(),
            listen: "127.0.0.1:0".parse().unwrap(),
            listen_tls: Some("127.0.0.1:0".parse().unwrap()),
            data: path("data"),
            base: BASE.into(),
            admin_dn: ADMIN.into(),
            admin_password: path("admin"),
            tls,
            metrics: None,
        };
        let mut world = Self {
            folder,
            address: settings.listen,
            tls_address: settings.listen,
            settings,
            shutdown: CancellationToken::new(),
            task: None,
        };
        world.begin().await;
        world
    }

    async fn begin(&mut self) {
        let server = Server::open(&self.settings).await.unwrap();
        self.address = server.local_addr().unwrap();
        self.tls_address = server.local_tls_addr().unwrap();
        self.shutdown = CancellationToken::new();
        self.task = Some(tokio::spawn(server.run(self.shutdown.clone())));
    }

    /// Stops the server and starts it again where it was.
    pub async fn restart(&mut self) {
        self.end().await;
        self.settings.listen = self.address;
        self.settings.listen_tls = Some(self.tls_address);
        self.begin().await;
    }

    /// Stops the server and keeps its data.
    pub async fn end(&mut self) {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }

    pub async fn stop(mut self) {
        self.end().await;
    }

    /// What a client of this server is told.
    pub fn client(&self) -> DirectorySettings {
        DirectorySettings {
            urls: vec![format!("ldap://{}", self.address)],
            base: BASE.into(),
            bind_dn: ADMIN.into(),
            bind_password: Some(self.folder.path().join("admin")),
            start_tls: false,
            ca: Some(self.folder.path().join("ca.pem")),
            profile: Profile::inet_local_mail_recipient(),
            fresh: std::time::Duration::from_secs(60),
            unknown: std::time::Duration::from_secs(5),
            entries_max: 1000,
            timeout: std::time::Duration::from_secs(3),
            connections: 2,
            new_passwords: Default::default(),
            embedded: None,
        }
    }

    /// Runs a tool as the administrator.
    pub async fn admin(&self, tool: &str, arguments: &[&str], input: &str) -> (i32, String) {
        self.run(tool, &[&["-D", ADMIN, "-w", PASSWORD], arguments].concat(), input).await
    }

    /// Runs a tool over plain LDAP.
    pub async fn run(&self, tool: &str, arguments: &[&str], input: &str) -> (i32, String) {
        self.tool(tool, &format!("ldap://{}", self.address), arguments, input).await
    }

    /// Runs a tool over LDAPS.
    pub async fn run_tls(&self, tool: &str, arguments: &[&str]) -> (i32, String) {
        self.tool(tool, &format!("ldaps://{}", self.tls_address), arguments, "").await
    }

    async fn tool(&self, tool: &str, url: &str, arguments: &[&str], input: &str) -> (i32, String) {
        let mut child = Command::new(tool)
            .args(["-x", "-H", url])
            .args(arguments)
            .env("LDAPTLS_CACERT", self.folder.path().join("ca.pem"))
            .env("LDAPCONF", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{tool} (package ldap-utils): {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        let writing = tokio::spawn(async move {
            let _ = stdin.write_all(input.as_bytes()).await;
        });
        let output = child.wait_with_output().await.unwrap();
        writing.await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }
}

/// Makes a certificate for 127.0.0.1 with an authority of its own.
pub fn certificate(folder: PathBuf) -> TlsSettings {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
    let certificate = leaf.signed_by(&key, &rcgen::Issuer::new(ca, ca_key)).unwrap();
    std::fs::write(folder.join("ca.pem"), ca_certificate.pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    TlsSettings {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
        ca: Some(folder.join("ca.pem")),
        others: vec![],
    }
}
