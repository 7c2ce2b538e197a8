//! `laniakea directory`: the embedded LDAP server.

use std::{
    error::Error,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use laniakea_config::{Config, Role};
use laniakea_directory::server::{Server, ServerCertificate};
use laniakea_router::{drive::Orders, observe};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::{exit::Failure, installation::Installation, role};

/// Run the LDAP server of an installation that has none of its own.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  laniakea directory --config /etc/laniakea/laniakea.yaml")]
pub struct Directory {
    #[command(flatten)]
    installation: Installation,
}

impl Directory {
    pub fn run(self) -> Result<(), Failure> {
        role::raise_limits();
        let config = self.installation.load(Role::Directory)?;
        let Some(embedded) = config.directory.embedded.clone() else {
            return Err(Failure::configuration(
                "the configuration has no `embedded` in `directory`: this installation uses an LDAP server of its own",
            ));
        };
        let installation = &self.installation;
        let process = role::Process { kind: "directory", name: "directory", installation, role: Role::Directory };
        process.run(config, async |_, Orders { shutdown, configs }| {
            if let Some(address) = embedded.metrics {
                observe(address, embedded.listen, shutdown.clone()).await?;
            }
            let server = Server::open(&embedded).await?;
            if let Some(certificate) = server.certificate() {
                tokio::spawn(renew(certificate, configs));
            }
            server.run(shutdown).await;
            Ok(())
        })
    }
}

/// Takes the certificate of every newer configuration.
async fn renew(certificate: ServerCertificate, mut configs: watch::Receiver<Arc<Config>>) {
    while configs.changed().await.is_ok() {
        let settings = configs.borrow_and_update().tls.clone();
        match certificate.reload(&settings) {
            Ok(()) => tracing::info!("certificate reloaded"),
            Err(error) => {
                let cause = error.source().map(ToString::to_string).unwrap_or_default();
                tracing::error!(%error, cause, "reload the certificate; the old one stays");
            }
        }
    }
}

/// Serves metrics and health. The server is ready once it can be connected to.
async fn observe(address: SocketAddr, ldap: SocketAddr, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen for metrics on {address}"))?;
    let is_ready = Arc::new(AtomicBool::new(false));
    let ready = Arc::clone(&is_ready);
    let ends = shutdown.clone();
    tokio::spawn(async move {
        while !ends.is_cancelled() && TcpStream::connect(ldap).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ready.store(true, Ordering::Relaxed);
    });
    let metrics = observe::install_metrics();
    let ends = shutdown.clone();
    let ready = move || is_ready.load(Ordering::Relaxed) && !ends.is_cancelled();
    tokio::spawn(observe::serve_http(listener, metrics, ready, None, shutdown));
    Ok(())
}
