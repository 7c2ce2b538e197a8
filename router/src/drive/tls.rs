//! The server's side of TLS, with certificates that can be replaced while connections live.
//!
//! TLS 1.2 and 1.3 only. The certificate is chosen for each handshake by the host the client names (SNI) and by what it can
//! verify; a host that no certificate is for gets the default one, and leaves no trace: names cost no memory
//! (CVE-2017-15130). A reload takes effect only if all of it is usable.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use laniakea_config::{CertificateSettings, TlsSettings};
use rustls::{
    RootCertStore, ServerConfig, SignatureScheme,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use webpki::EndEntityCert;

use super::stream::Stream;

/// What a client of HTTP may choose, best first.
const HTTP_VERSIONS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Accepts TLS connections; cheap to clone.
#[derive(Clone)]
pub struct ServerTls(Arc<Shared>);

struct Shared {
    acceptor: TlsAcceptor,
    /// The same, for clients that choose between versions of HTTP (RFC 7301).
    http: TlsAcceptor,
    certificates: Arc<Resolver>,
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
    #[error("use the certificate in {}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A file that should hold the certificate of an authority holds none.
    #[error("find the certificate of an authority in {}", .0.display())]
    NoAuthority(PathBuf),
    /// It would never be chosen.
    #[error("find a host name in the certificate in {}", .0.display())]
    Nameless(PathBuf),
    /// TLS itself cannot be set up.
    #[error("set TLS up")]
    Unusable(#[from] rustls::Error),
}

impl ServerTls {
    /// Loads certificates and keys.
    ///
    /// # Errors
    ///
    /// If a file is unreadable, holds something else, or a key is not its certificate's.
    pub fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificates = Certificates::load(settings, &provider)?;
        let certificates = Arc::new(Resolver(ArcSwap::from_pointee(certificates)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificates.clone());
        config.ignore_client_order = true;
        let mut http = config.clone();
        http.alpn_protocols = HTTP_VERSIONS.map(<[u8]>::to_vec).to_vec();
        let (acceptor, http) = (TlsAcceptor::from(Arc::new(config)), TlsAcceptor::from(Arc::new(http)));
        Ok(Self(Arc::new(Shared { acceptor, http, certificates })))
    }

    /// Does the handshake; the caller sets the deadline.
    ///
    /// # Errors
    ///
    /// If the client speaks no TLS, or none we accept.
    pub async fn accept(&self, stream: Stream) -> io::Result<Stream> {
        let Stream::Plain(tcp) = stream else { return Err(io::Error::other("TLS inside TLS")) };
        Ok(Stream::Tls(Box::new(self.handshake(tcp).await?.into())))
    }

    /// Does the handshake of a client that may choose HTTP/2; the caller sets the deadline.
    ///
    /// # Errors
    ///
    /// As [`Self::accept`].
    pub async fn accept_http(&self, stream: Stream) -> io::Result<Stream> {
        let Stream::Plain(tcp) = stream else { return Err(io::Error::other("TLS inside TLS")) };
        Ok(Stream::Tls(Box::new(self.0.http.accept(tcp).await?.into())))
    }

    /// Reads the files that `settings` name; connections that live keep the old certificates, new ones get the new ones.
    ///
    /// # Errors
    ///
    /// As [`Self::load`]; all old certificates then stay.
    pub fn reload(&self, settings: &TlsSettings) -> Result<(), TlsError> {
        let certificates = Certificates::load(settings, &aws_lc_rs::default_provider())?;
        self.0.certificates.0.store(Arc::new(certificates));
        Ok(())
    }

    async fn handshake(&self, tcp: TcpStream) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
        self.0.acceptor.accept(tcp).await
    }
}

/// Chooses the certificate of each handshake from those of the moment.
#[derive(Debug)]
struct Resolver(ArcSwap<Certificates>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().choose(hello.server_name(), hello.signature_schemes()))
    }
}

/// All certificates of a process.
#[derive(Debug)]
struct Certificates {
    default: Arc<CertifiedKey>,
    /// By lower-case host name, `*.` included; several where they differ in the kind of their keys.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Certificates {
    fn load(settings: &TlsSettings, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let default = CertificateSettings { certificate: settings.certificate.clone(), key: settings.key.clone() };
        let default = load_key(&default, provider)?;
        let mut certificates = Self { default: default.clone(), by_name: HashMap::new() };
        certificates.add(&settings.certificate, default)?;
        for other in &settings.others {
            let key = load_key(other, provider)?;
            if certificates.add(&other.certificate, key)? == 0 {
                return Err(TlsError::Nameless(other.certificate.clone()));
            }
        }
        Ok(certificates)
    }

    /// Takes a certificate in for each of its names; returns how many it has.
    fn add(&mut self, path: &Path, key: Arc<CertifiedKey>) -> Result<usize, TlsError> {
        let leaf = key.end_entity_cert().map_err(|source| TlsError::Certificate { path: path.to_owned(), source })?;
        let leaf = EndEntityCert::try_from(leaf).map_err(|_| TlsError::Certificate {
            path: path.to_owned(),
            source: rustls::CertificateError::BadEncoding.into(),
        })?;
        let names: Vec<String> = leaf.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let count = names.len();
        for name in names {
            self.by_name.entry(name).or_default().push(key.clone());
        }
        Ok(count)
    }

    /// Prefers, among the certificates for the host, the first that the client can verify.
    fn choose(&self, host: Option<&str>, schemes: &[SignatureScheme]) -> Arc<CertifiedKey> {
        let named = host.and_then(|host| self.named(&host.to_ascii_lowercase())).unwrap_or_default();
        let fitting = named.iter().find(|key| key.key.choose_scheme(schemes).is_some());
        fitting.unwrap_or(&self.default).clone()
    }

    /// A wildcard stands for exactly one label (RFC 9525 §6.3).
    fn named(&self, host: &str) -> Option<&[Arc<CertifiedKey>]> {
        let wildcard = || self.by_name.get(&format!("*.{}", host.split_once('.')?.1));
        self.by_name.get(host).or_else(wildcard).map(Vec::as_slice)
    }
}

fn load_key(settings: &CertificateSettings, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let (chain, key) = load_pair(settings)?;
    let certified = CertifiedKey::from_der(chain, key, provider);
    let path = || settings.certificate.clone();
    Ok(Arc::new(certified.map_err(|source| TlsError::Certificate { path: path(), source })?))
}

/// Reads a certificate chain and its key, without a look at whether they belong together.
pub(super) fn load_pair(
    settings: &CertificateSettings,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let key = PrivateKeyDer::from_pem_slice(&read(&settings.key)?).map_err(not_pem(&settings.key))?;
    Ok((load_certificates(&settings.certificate)?, key))
}

/// Adds the certificates of a file to those that are believed.
pub(super) fn load_authorities(path: &Path, roots: &mut RootCertStore) -> Result<(), TlsError> {
    for certificate in load_certificates(path)? {
        let unusable = |source| TlsError::Certificate { path: path.to_owned(), source };
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(())
}

fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<_, _>>().map_err(not_pem(path))
}

fn not_pem(path: &Path) -> impl FnOnce(rustls_pki_types::pem::Error) -> TlsError {
    |source| TlsError::Pem { path: path.to_owned(), source }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
#[path = "tls_test.rs"]
mod tests;
