//! Which certificate a client is shown, and what a reload changes.

use laniakea_config::CertificateSettings;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use rustls::{
    ClientConfig, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use rustls_pki_types::ServerName;
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tokio_rustls::TlsConnector;

use super::*;
use crate::drive::{foreign::Anybody, test_tls::TestTls};

/// What a client is shown that asks for `host` and can verify `schemes`.
async fn shown(
    tls: &ServerTls,
    host: &str,
    version: &'static SupportedProtocolVersion,
    schemes: &[SignatureScheme],
) -> CertificateDer<'static> {
    let mut provider = aws_lc_rs::default_provider();
    let mapping = provider.signature_verification_algorithms.mapping.iter();
    let able: Vec<_> = mapping.filter(|(scheme, _)| schemes.contains(scheme)).copied().collect();
    provider.signature_verification_algorithms.mapping = Box::leak(able.into_boxed_slice());
    let provider = Arc::new(provider);
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let far = Stream::plain(listener.accept().await.unwrap().0);
    let connector = TlsConnector::from(Arc::new(config));
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let (near, far) = tokio::join!(connector.connect(host, near), tls.accept(far));
    let mut near = near.unwrap();
    near.shutdown().await.unwrap();
    assert!(far.unwrap().tls_facts().is_some());
    near.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn certificate(
    files: &TestTls,
    file: &str,
    names: &[&str],
    kind: &'static rcgen::SignatureAlgorithm,
) -> CertificateSettings {
    let key = KeyPair::generate_for(kind).unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let made = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let settings = CertificateSettings {
        certificate: files.path(&format!("{file}.pem")),
        key: files.path(&format!("{file}.key")),
    };
    fs::write(&settings.certificate, made.pem()).unwrap();
    fs::write(&settings.key, key.serialize_pem()).unwrap();
    settings
}

fn leaf_in(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
const BOTH: &[SignatureScheme] = &[SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256];

#[tokio::test]
async fn each_host_has_its_certificate_and_strangers_get_the_default() {
    let files = TestTls::new();
    let one = certificate(&files, "one", &["mail.example.org", "IMAP.example.org"], &PKCS_ECDSA_P256_SHA256);
    let wild = certificate(&files, "wild", &["*.example.net"], &PKCS_ECDSA_P256_SHA256);
    let settings = TlsSettings { others: vec![one.clone(), wild.clone()], ..files.settings() };
    let tls = ServerTls::load(&settings).unwrap();
    let default = leaf_in(&settings.certificate);
    for (host, expected) in [
        ("mail.example.org", leaf_in(&one.certificate)),
        ("imap.example.org", leaf_in(&one.certificate)),
        ("any.example.net", leaf_in(&wild.certificate)),
        ("example.net", default.clone()),
        ("two.labels.example.net", default.clone()),
        ("stranger.example.com", default.clone()),
        ("localhost", default.clone()),
        ("192.0.2.1", default),
    ] {
        for version in [&TLS12, &TLS13] {
            assert!(shown(&tls, host, version, ECDSA).await == expected, "{host} {:?}", version.version);
        }
    }
}

#[tokio::test]
async fn a_client_gets_the_kind_of_key_it_can_verify() {
    let files = TestTls::new();
    let modern = certificate(&files, "modern", &["mail.example.org"], &PKCS_ED25519);
    let common = certificate(&files, "common", &["mail.example.org"], &PKCS_ECDSA_P256_SHA256);
    let settings = TlsSettings { others: vec![modern.clone(), common.clone()], ..files.settings() };
    let tls = ServerTls::load(&settings).unwrap();
    assert!(shown(&tls, "mail.example.org", &TLS13, BOTH).await == leaf_in(&modern.certificate));
    assert!(shown(&tls, "mail.example.org", &TLS13, ECDSA).await == leaf_in(&common.certificate));
}

#[tokio::test]
async fn a_reload_takes_all_that_is_new_or_keeps_all_that_is_old() {
    let files = TestTls::new();
    let mut settings = files.settings();
    let tls = ServerTls::load(&settings).unwrap();
    let first = shown(&tls, "localhost", &TLS13, ECDSA).await;
    files.renew();
    settings.others = vec![certificate(&files, "one", &["mail.example.org"], &PKCS_ECDSA_P256_SHA256)];
    tls.reload(&settings).unwrap();
    let second = shown(&tls, "localhost", &TLS13, ECDSA).await;
    assert!(first != second);
    assert!(shown(&tls, "mail.example.org", &TLS13, ECDSA).await == leaf_in(&files.path("one.pem")));
    // The first is new, and would do; the last would not.
    files.renew();
    fs::write(files.path("one.pem"), "nonsense").unwrap();
    assert!(tls.reload(&settings).is_err());
    assert!(shown(&tls, "localhost", &TLS13, ECDSA).await == second);
}

#[test]
fn what_could_never_work_is_refused() {
    let (files, other) = (TestTls::new(), TestTls::new());
    let settings = TlsSettings { key: other.settings().key, ..files.settings() };
    assert!(matches!(ServerTls::load(&settings), Err(TlsError::Certificate { .. })));
    let nameless = certificate(&files, "nameless", &["192.0.2.1"], &PKCS_ECDSA_P256_SHA256);
    let settings = TlsSettings { others: vec![nameless], ..files.settings() };
    assert!(matches!(ServerTls::load(&settings), Err(TlsError::Nameless(_))));
}
