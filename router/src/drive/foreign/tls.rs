//! The client's side of TLS, to servers of other kinds.

use std::{io, path::Path, sync::Arc};

use laniakea_config::ForeignTls;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

use crate::drive::{
    Stream,
    tls::{TlsError, load_authorities},
};

/// Begins TLS as a client; cheap to clone.
#[derive(Clone)]
pub struct ClientTls(Option<TlsConnector>);

impl ClientTls {
    /// Loads the certificates to trust: the system's and those of a file.
    ///
    /// # Errors
    ///
    /// If the file is unreadable or holds no certificate.
    pub fn load(tls: ForeignTls, verify: bool, ca: Option<&Path>) -> Result<Self, TlsError> {
        if tls == ForeignTls::Off {
            return Ok(Self(None));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let config = if verify {
            builder.with_root_certificates(roots(ca)?).with_no_client_auth()
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth()
        };
        Ok(Self(Some(TlsConnector::from(Arc::new(config)))))
    }

    /// Does the handshake; the caller sets the deadline.
    ///
    /// # Errors
    ///
    /// If the server speaks no TLS that we accept, or its certificate is not `host`'s.
    pub async fn connect(&self, stream: Stream, host: &str) -> io::Result<Stream> {
        let (Some(connector), Stream::Plain(tcp)) = (&self.0, stream) else {
            return Err(io::Error::other("no TLS to begin here"));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let tls = connector.connect(name, tcp).await?;
        Ok(Stream::Tls(Box::new(tls.into())))
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (_used, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca {
        load_authorities(path, &mut roots)?;
    }
    Ok(roots)
}

/// Takes any certificate, where the settings say so: encrypted, but with nobody knows whom. Signatures are checked, so that
/// the handshake is at least with the holder of the key.
#[derive(Debug)]
pub(crate) struct Anybody(pub(crate) Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
