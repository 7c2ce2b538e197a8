//! The certificate of LDAPS and StartTLS, which can be replaced while connections live.

use std::{io, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use laniakea_config::{EmbeddedDirectory, TlsSettings};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use super::ServeError;

/// The certificate that the next handshake shows; cheap to clone.
#[derive(Clone)]
pub struct ServerCertificate(Arc<ArcSwap<ServerConfig>>);

impl ServerCertificate {
    /// Loads certificate and key. Without LDAPS they may be absent: then there is no StartTLS either.
    pub(super) fn load(settings: &EmbeddedDirectory) -> Result<Option<Self>, ServeError> {
        if settings.listen_tls.is_none() && !settings.tls.certificate.exists() {
            return Ok(None);
        }
        Ok(Some(Self(Arc::new(ArcSwap::new(read(&settings.tls)?)))))
    }

    /// Reads the files that `settings` name; connections that live keep the old certificate, new ones get the new one.
    ///
    /// # Errors
    ///
    /// If they cannot be used; the old one then stays.
    pub fn reload(&self, settings: &TlsSettings) -> Result<(), ServeError> {
        self.0.store(read(settings)?);
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

fn read(settings: &TlsSettings) -> Result<Arc<ServerConfig>, ServeError> {
    let TlsSettings { certificate, key, .. } = settings;
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(certificate, &error))?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key_der))
        .map_err(|source| ServeError::Certificate { path: certificate.clone(), source })?;
    Ok(Arc::new(config))
}

fn unreadable(path: &Path, error: &rustls::pki_types::pem::Error) -> ServeError {
    ServeError::File { path: path.to_owned(), source: io::Error::new(io::ErrorKind::InvalidData, error.to_string()) }
}
