//! The local certificate authority of `up`, and the server certificate it signs.
//!
//! The authority's key stays in the data folder: whoever trusts `ca.pem` trusts whoever can read that folder.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use serde::{Deserialize, Serialize};

use super::home::{Home, replace};

const DAY: Duration = Duration::from_secs(86_400);

/// How long the authority is good for.
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How long a server certificate is good for; clients refuse much longer ones.
const SERVER_LIFETIME: Duration = Duration::from_secs(397 * 86_400);

/// A certificate that ends sooner than this is renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);

/// What was issued, so that no certificate need be parsed to know whether it still serves.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Issued {
    names: Vec<String>,
    ca_ends: u64,
    server_ends: u64,
}

/// Sees to it that `ca.pem`, `tls/server.pem` and `tls/server.key` are there and will be for a month.
pub fn ensure(home: &Home, domain: &str, now: SystemTime) -> anyhow::Result<()> {
    let names = vec!["localhost".to_owned(), domain.to_owned(), format!("*.{domain}")];
    let issued: Option<Issued> =
        fs::read(home.tls("issued.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let soon = seconds(now + RENEW_BEFORE)?;
    let files = [home.ca(), home.tls("ca.key"), home.tls("server.pem"), home.tls("server.key")];
    let has_files = files.iter().all(|path| path.is_file());
    let ca_serves = issued.as_ref().is_some_and(|issued| issued.ca_ends > soon) && has_files;
    if ca_serves && issued.as_ref().is_some_and(|issued| issued.server_ends > soon && issued.names == names) {
        return Ok(());
    }
    let ca_ends = match &issued {
        Some(issued) if ca_serves => issued.ca_ends,
        Some(_) | None => make_authority(home, domain, now)?,
    };
    let server_ends = make_server(home, &names, now).context("make the server certificate")?;
    replace(&home.tls("issued.json"), &serde_json::to_vec(&Issued { names, ca_ends, server_ends })?)
}

fn make_authority(home: &Home, domain: &str, now: SystemTime) -> anyhow::Result<u64> {
    let mut params = params(now, CA_LIFETIME)?;
    params.distinguished_name.push(DnType::CommonName, format!("Laniakea local authority for {domain}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().context("make the authority's key")?;
    let certificate = params.self_signed(&key).context("make the authority's certificate")?;
    replace(&home.tls("ca.key"), key.serialize_pem().as_bytes())?;
    replace(&home.ca(), certificate.pem().as_bytes())?;
    seconds(now + CA_LIFETIME)
}

fn make_server(home: &Home, names: &[String], now: SystemTime) -> anyhow::Result<u64> {
    let authority_key = KeyPair::from_pem(&fs::read_to_string(home.tls("ca.key"))?)?;
    let authority = fs::read_to_string(home.ca())?;
    let issuer = Issuer::from_ca_cert_pem(&authority, authority_key)?;
    let mut params = params(now, SERVER_LIFETIME)?;
    params.distinguished_name.push(DnType::CommonName, names.get(1).cloned().unwrap_or_default());
    for name in names {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    // The chain is sent whole: clients that pin the authority find it there too.
    replace(&home.tls("server.pem"), format!("{}{authority}", certificate.pem()).as_bytes())?;
    replace(&home.tls("server.key"), key.serialize_pem().as_bytes())?;
    seconds(now + SERVER_LIFETIME)
}

fn params(now: SystemTime, lifetime: Duration) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    // Clocks of clients may be behind.
    params.not_before = (now - DAY).into();
    params.not_after = (now + lifetime).into();
    Ok(params)
}

fn seconds(time: SystemTime) -> anyhow::Result<u64> {
    Ok(time.duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_kept_until_a_month_before_its_end_and_the_authority_longer() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(&folder.path().join("data")).unwrap();
        let read = |path: std::path::PathBuf| fs::read_to_string(path).unwrap();
        let now = SystemTime::now();
        ensure(&home, "example.org", now).unwrap();
        let (ca, server) = (read(home.ca()), read(home.tls("server.pem")));
        assert!(server.ends_with(&ca));
        ensure(&home, "example.org", now + DAY * 300).unwrap();
        assert_eq!(read(home.tls("server.pem")), server);
        ensure(&home, "example.org", now + DAY * 370).unwrap();
        assert_ne!(read(home.tls("server.pem")), server);
        assert_eq!(read(home.ca()), ca);
        ensure(&home, "example.org", now + DAY * 365 * 10).unwrap();
        assert_ne!(read(home.ca()), ca);
    }
}
