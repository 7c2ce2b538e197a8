//! A certificate for tests, in files as operators have them.

use std::{fs, path::PathBuf};

use laniakea_config::TlsSettings;
use tempfile::TempDir;

/// Files that go with the value.
pub struct TestTls(TempDir);

impl TestTls {
    /// Makes a certificate for `localhost` that signs itself.
    pub fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.renew();
        files
    }

    /// Replaces it by another one.
    pub fn renew(&self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(self.path("certificate.pem"), made.cert.pem()).unwrap();
        fs::write(self.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    }

    pub fn settings(&self) -> TlsSettings {
        TlsSettings { certificate: self.path("certificate.pem"), key: self.path("key.pem"), ca: None, others: vec![] }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
