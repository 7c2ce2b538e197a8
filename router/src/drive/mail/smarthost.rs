//! The server that takes our mail for other sites.

use std::{fs, io, sync::Arc, time::Duration};

use laniakea_config::{ForeignTls, SmarthostSettings};
use laniakea_directory::Secret;
use tokio::{net::lookup_host, time::timeout};

use super::{ClientError, MailClient, Outgoing};
use crate::{
    drive::{Dialler, Stream, foreign::ClientTls, tls::TlsError},
    session::smtp::Dialect,
    wire::smtp::Reply,
};

/// How long it may take to find an address, to connect, and to do a handshake, each.
const DEADLINE: Duration = Duration::from_secs(20);

/// A server that takes our mail for other sites; cheap to clone.
#[derive(Clone)]
pub struct Smarthost {
    settings: Arc<SmarthostSettings>,
    tls: ClientTls,
    password: Arc<Secret>,
}

impl Smarthost {
    /// Prepares certificates and password.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn load(settings: &SmarthostSettings) -> Result<Self, TlsError> {
        let password = match &settings.password {
            Some(path) => fs::read(path).map_err(|source| TlsError::Read { path: path.clone(), source })?,
            None => Vec::new(),
        };
        Ok(Self {
            tls: ClientTls::load(settings.tls, settings.verify, settings.ca.as_deref())?,
            password: Arc::new(Secret::new(password.trim_ascii_end().to_vec())),
            settings: Arc::new(settings.clone()),
        })
    }

    /// Opens a transaction: the connection, and the server's word on each recipient.
    ///
    /// # Errors
    /// What it said of the message, or a temporary failure: what is wrong between it and us may be mended.
    pub async fn engage(&self, hello: &str, outgoing: Outgoing<'_>) -> Result<(MailClient, Vec<Reply>), Reply> {
        let mut client = self.greet(hello).await.map_err(|error| {
            tracing::warn!(host = self.settings.host, %error, cause = ?std::error::Error::source(&error), "the smarthost cannot be used");
            Reply::new(451, (4, 4, 1), "the smarthost cannot be used at the moment")
        })?;
        let recipients = client.begin(outgoing).await.map_err(|error| match error {
            ClientError::Refused(reply) => reply,
            ClientError::Io(_) | ClientError::Reply(_) => Reply::new(451, (4, 4, 2), "the smarthost was lost"),
        })?;
        Ok((client, recipients))
    }

    async fn greet(&self, hello: &str) -> Result<MailClient, ClientError> {
        let settings = &self.settings;
        let addresses = timeout(DEADLINE, lookup_host((settings.host.as_str(), settings.port))).await??;
        let mut tcp = Err(io::Error::from(io::ErrorKind::NotFound));
        for address in addresses {
            tcp = Dialler::default().dial(address, DEADLINE).await;
            if tcp.is_ok() {
                break;
            }
        }
        let mut stream = Stream::plain(tcp?);
        if settings.tls == ForeignTls::Implicit {
            stream = timeout(DEADLINE, self.tls.connect(stream, &settings.host)).await??;
        }
        let mut client = MailClient::connect(stream, Dialect::Smtp, hello).await?;
        if settings.tls == ForeignTls::StartTls {
            let stream = timeout(DEADLINE, self.tls.connect(client.start_tls().await?, &settings.host)).await??;
            client = MailClient::resume(stream, Dialect::Smtp, hello).await?;
        }
        if let Some(user) = &settings.user {
            client.authenticate(user, &self.password).await?;
        }
        Ok(client)
    }
}
