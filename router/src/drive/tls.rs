//! The server's side of TLS, with certificates that can be replaced while connections live.
//!
//! TLS 1.2 and 1.3 only. The certificate is chosen for each handshake by a resolver, so that more certificates, one per
//! host name, need no other code. A reload takes effect only if the new files are whole.

use std::{fs, io, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use laniakea_config::TlsSettings;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::stream::Stream;

/// Accepts TLS connections; cheap to clone.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
    settings: Arc<TlsSettings>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds no certificate or no key.
    #[error("find a certificate or key in {}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key are not usable, or not of one another.
    #[error("use the certificate")]
    Unusable(#[from] rustls::Error),
}

impl ServerTls {
    /// Loads certificate and key.
    ///
    /// # Errors
    ///
    /// If a file is unreadable, holds something else, or the key is not the certificate's.
    pub fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificates = Arc::new(Certificates { current: ArcSwap::new(load_key(settings, &provider)?) });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        config.ignore_client_order = true;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificates, settings: Arc::new(settings.clone()) })
    }

    /// Does the handshake; the caller sets the deadline.
    ///
    /// # Errors
    ///
    /// If the client speaks no TLS, or none we accept.
    pub async fn accept(&self, stream: Stream) -> io::Result<Stream> {
        let Stream::Plain(tcp) = stream else { return Err(io::Error::other("TLS inside TLS")) };
        Ok(Stream::Tls(Box::new(self.handshake(tcp).await?)))
    }

    /// Reads the files again; connections that live keep the old certificate, new ones get the new one.
    ///
    /// # Errors
    ///
    /// As [`Self::load`]; the old certificate then stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let key = load_key(&self.settings, &aws_lc_rs::default_provider())?;
        self.certificates.current.store(key);
        Ok(())
    }

    async fn handshake(&self, tcp: TcpStream) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
        self.acceptor.accept(tcp).await
    }
}

/// Chooses the certificate of each handshake.
#[derive(Debug)]
struct Certificates {
    current: ArcSwap<CertifiedKey>,
}

impl ResolvesServerCert for Certificates {
    /// An unknown host name gets the default certificate: no state per name, so names cost no memory (CVE-2017-15130).
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn load_key(settings: &TlsSettings, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(&read(&settings.certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { path: settings.certificate.clone(), source })?;
    let key = PrivateKeyDer::from_pem_slice(&read(&settings.key)?)
        .map_err(|source| TlsError::Pem { path: settings.key.clone(), source })?;
    Ok(Arc::new(CertifiedKey::from_der(chain, key, provider)?))
}

fn read(path: &PathBuf) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::test_tls::TestTls;

    #[test]
    fn a_reload_takes_the_new_certificate_or_keeps_the_old() {
        let files = TestTls::new();
        let tls = ServerTls::load(&files.settings()).unwrap();
        let current = || tls.certificates.current.load_full().cert.clone();
        let first = current();
        files.renew();
        tls.reload().unwrap();
        let second = current();
        assert_ne!(first, second);
        fs::write(files.path("certificate.pem"), "nonsense").unwrap();
        assert!(tls.reload().is_err());
        assert_eq!(current(), second);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (files, other) = (TestTls::new(), TestTls::new());
        let settings = TlsSettings { key: other.settings().key, ..files.settings() };
        assert!(ServerTls::load(&settings).is_err());
    }
}
