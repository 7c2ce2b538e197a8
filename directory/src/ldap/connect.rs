//! Opens one connection: TCP, TLS, bind.

use std::{fs, path::Path, sync::Arc, time::Duration};

use laniakea_config::DirectorySettings;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, StdStream};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{net::TcpStream, task::AbortHandle, time::timeout};

use crate::{
    error::{Outage, SetupError},
    name::Secret,
};

/// How to open connections to any of the servers.
pub(super) struct Connector {
    urls: Vec<Url>,
    bind_dn: String,
    bind_password: Secret,
    start_tls: bool,
    tls: Arc<ClientConfig>,
}

/// `ldap://host:port` or `ldaps://host:port`, checked.
struct Url {
    text: String,
    host: String,
    port: u16,
}

/// An open connection; the task that drives it ends with it.
pub(super) struct Live {
    /// Which server it leads to.
    pub(super) server: usize,
    ldap: Ldap,
    driver: AbortHandle,
}

impl Live {
    /// Returns a handle for one operation; many may be under way at once.
    pub(super) fn handle(&self) -> Ldap {
        self.ldap.clone()
    }

    /// Whether the peer has closed it. A silent peer has not.
    pub(super) fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Without this, a driver that waits for a silent peer would live for ever.
        self.driver.abort();
    }
}

impl Connector {
    pub(super) fn new(settings: &DirectorySettings) -> Result<Self, SetupError> {
        let urls = settings.urls.iter().map(|url| Url::parse(url)).collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() {
            return Err(SetupError::NoUrl);
        }
        let bind_password = match &settings.bind_password {
            Some(path) => read_secret(path)?,
            None => Secret::default(),
        };
        if !settings.bind_dn.is_empty() && bind_password.is_empty() {
            return Err(SetupError::NoPassword);
        }
        Ok(Self {
            urls,
            bind_dn: settings.bind_dn.clone(),
            bind_password,
            start_tls: settings.start_tls,
            tls: tls_config(settings.ca.as_deref())?,
        })
    }

    pub(super) fn servers(&self) -> usize {
        self.urls.len()
    }

    /// Names a server for logs and people.
    pub(super) fn name(&self, server: usize) -> &str {
        self.urls.get(server).map_or("", |url| url.text.as_str())
    }

    /// Connects, and binds as the settings say.
    pub(super) async fn open(&self, server: usize, limit: Duration) -> Result<Live, Outage> {
        timeout(limit, self.open_bound(server)).await.map_err(|_| Outage::TimedOut)?
    }

    /// Connects without binding: for a bind of its own.
    pub(super) async fn open_unbound(&self, server: usize, limit: Duration) -> Result<Live, Outage> {
        timeout(limit, self.connect(server)).await.map_err(|_| Outage::TimedOut)?
    }

    async fn open_bound(&self, server: usize) -> Result<Live, Outage> {
        let live = self.connect(server).await?;
        if self.bind_dn.is_empty() {
            return Ok(live);
        }
        let password = String::from_utf8_lossy(self.bind_password.expose()).into_owned();
        let bound = live.handle().simple_bind(&self.bind_dn, &password).await.map_err(|error| outage(&error))?;
        match bound.rc {
            0 => Ok(live),
            code => {
                tracing::error!(server = self.name(server), dn = %self.bind_dn, code, "the directory refuses our bind");
                Err(Outage::Refused(code))
            }
        }
    }

    async fn connect(&self, server: usize) -> Result<Live, Outage> {
        let url = self.urls.get(server).ok_or(Outage::NoServer)?;
        let socket = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|_| Outage::Broken)?;
        // Without this, Nagle's algorithm adds up to 40 ms to a handshake.
        socket.set_nodelay(true).map_err(|_| Outage::Broken)?;
        let socket = socket.into_std().map_err(|_| Outage::Broken)?;
        let settings = LdapConnSettings::new()
            .set_config(Arc::clone(&self.tls))
            .set_starttls(self.start_tls)
            .set_std_stream(StdStream::Tcp(socket));
        let (connection, ldap) = LdapConnAsync::with_settings(settings, &url.text).await.map_err(|error| {
            tracing::debug!(server = %url.text, %error, "open a connection to the directory");
            outage(&error)
        })?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!(%error, "a connection to the directory ended");
            }
        });
        Ok(Live { server, ldap, driver: driver.abort_handle() })
    }
}

/// Sorts the client library's errors.
pub(super) fn outage(error: &LdapError) -> Outage {
    match error {
        LdapError::Timeout { .. } => Outage::TimedOut,
        LdapError::LdapResult { result } => Outage::Refused(result.rc),
        _ => Outage::Broken,
    }
}

impl Url {
    fn parse(text: &str) -> Result<Self, SetupError> {
        let bad = || SetupError::BadUrl(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let default_port = match scheme {
            "ldap" => 389,
            "ldaps" => 636,
            _ => return Err(bad()),
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            // The last colon may be one of a bare IPv6 address.
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| bad())?),
            _ => (authority, default_port),
        };
        if host.is_empty() {
            return Err(bad());
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { text: text.to_owned(), host, port })
    }
}

fn read_secret(path: &Path) -> Result<Secret, SetupError> {
    let bytes = fs::read(path).map_err(|source| SetupError::File { path: path.to_owned(), source })?;
    Ok(Secret::new(bytes.trim_ascii_end().to_vec()))
}

/// Trusts the system's authorities, and those of the file.
fn tls_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, SetupError> {
    let mut roots = RootCertStore::empty();
    let (_used, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca {
        let unusable = || SetupError::Certificate(path.to_owned());
        let pem = fs::read(path).map_err(|source| SetupError::File { path: path.to_owned(), source })?;
        let certificates =
            CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(|_| unusable())?;
        let (used, _) = roots.add_parsable_certificates(certificates);
        if used == 0 {
            return Err(unusable());
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| SetupError::Certificate(ca.unwrap_or(Path::new("TLS")).to_owned()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_others_refused() {
        let url = |text| Url::parse(text).map(|url| (url.host, url.port)).ok();
        assert_eq!(url("ldap://ldap.example.org"), Some(("ldap.example.org".into(), 389)));
        assert_eq!(url("ldaps://ldap.example.org/"), Some(("ldap.example.org".into(), 636)));
        assert_eq!(url("ldap://127.0.0.1:10389"), Some(("127.0.0.1".into(), 10389)));
        assert_eq!(url("ldap://[::1]:389"), Some(("::1".into(), 389)));
        assert_eq!(url("ldap://[::1]"), Some(("::1".into(), 389)));
        for bad in ["", "ldap://", "http://x", "ldap.example.org", "ldap://x:port", "ldap://:389"] {
            assert_eq!(url(bad), None, "{bad}");
        }
    }
}
