//! Mail to servers of other kinds: by LMTP where the settings name a port for it, else by SMTP.

use super::{ClientError, MailClient, Outgoing};
use crate::{
    drive::foreign::{ForeignError, ForeignServer, ForeignServers},
    handoff::{Preamble, Protocol},
    session::smtp::Dialect,
    wire::smtp::Reply,
};

/// Finds the server and opens a transaction there: the connection, and the server's word on each recipient.
///
/// # Errors
/// What the server said, or a temporary failure.
pub async fn engage_foreign(
    servers: &ForeignServers,
    host: &str,
    preamble: &Preamble,
    hello: &str,
    outgoing: Outgoing<'_>,
) -> Result<(MailClient, Vec<Reply>), Reply> {
    let server = servers.find(host).map_err(|error| refusal(host, &error))?;
    let dialect = if server.settings.ports.lmtp.is_some() { Dialect::Lmtp } else { Dialect::Smtp };
    let mut client = greet(server, dialect, preamble, hello).await.map_err(|error| match error {
        Failure::Server(error) => refusal(host, &error),
        Failure::Client(error) => unable(host, error),
    })?;
    let recipients = client.begin(outgoing).await.map_err(|error| unable(host, error))?;
    Ok((client, recipients))
}

enum Failure {
    Server(ForeignError),
    Client(ClientError),
}

impl From<ForeignError> for Failure {
    fn from(error: ForeignError) -> Self {
        Self::Server(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

async fn greet(
    server: ForeignServer<'_>,
    dialect: Dialect,
    preamble: &Preamble,
    hello: &str,
) -> Result<MailClient, Failure> {
    let protocol = match dialect {
        Dialect::Lmtp => Protocol::Lmtp,
        Dialect::Smtp => Protocol::Smtp,
    };
    let preamble = Preamble { protocol, ..preamble.clone() };
    let mut client = MailClient::connect(server.connect(&preamble).await?, dialect, hello).await?;
    if server.starts_tls(protocol) {
        let stream = server.encrypt(client.start_tls().await?).await?;
        client = MailClient::resume(stream, dialect, hello).await?;
    }
    if let Some(introduction) = server.introduction(&preamble) {
        client.introduce(&introduction, hello).await?;
    }
    Ok(client)
}

/// Nothing permanent follows from a server that cannot be reached, nor from settings that may be mended.
fn refusal(host: &str, error: &ForeignError) -> Reply {
    tracing::warn!(host, %error, "no mail for a server of another kind");
    Reply::new(451, (4, 4, 1), "the account's server cannot be reached")
}

fn unable(host: &str, error: ClientError) -> Reply {
    match error {
        ClientError::Refused(reply) => reply,
        ClientError::Io(_) | ClientError::Reply(_) => {
            tracing::warn!(host, %error, "no mail for a server of another kind");
            Reply::new(451, (4, 4, 1), "the account's server cannot be reached")
        }
    }
}
