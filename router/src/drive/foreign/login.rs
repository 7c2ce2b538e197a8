//! Logs a client in at a server of another kind: carries out what the machines of [`crate::session::foreign`] decide.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{ForeignError, ForeignServer};
use crate::{
    drive::{Stream, reach::Reached},
    handoff::{Preamble, Protocol},
    session::{
        Fault, LoginRequest,
        foreign::{Approach, ForeignLogin, ImapForeign, Input, Output, Pop3Foreign, Verdict},
    },
};

/// How long a login may take, from the connection to the verdict. Servers delay their answer to a wrong password.
const LOGIN_DEADLINE: Duration = Duration::from_secs(20);
const READ_BYTES: usize = 4096;

/// Logs in.
///
/// # Errors
///
/// With what the client is to be told.
pub async fn log_in(server: ForeignServer<'_>, preamble: &Preamble, request: &LoginRequest) -> Result<Reached, Fault> {
    let tried = async { timeout(LOGIN_DEADLINE, log_in_by(server, preamble, request)).await? }.await;
    tried.unwrap_or_else(|error| {
        tracing::warn!(login = %request.login, host = server.host, %error, cause = ?std::error::Error::source(&error), "no login at a server of another kind");
        Err(Fault::Unavailable)
    })
}

async fn log_in_by(
    server: ForeignServer<'_>,
    preamble: &Preamble,
    request: &LoginRequest,
) -> Result<Result<Reached, Fault>, ForeignError> {
    let approach = Approach {
        request: request.clone(),
        start_tls: server.starts_tls(preamble.protocol),
        introduction: server.introduction(preamble),
    };
    let stream = server.connect(preamble).await?;
    match preamble.protocol {
        Protocol::Pop3 => converse(server, stream, Pop3Foreign::new(approach)).await,
        // The others have no login of this kind.
        Protocol::Imap | Protocol::Smtp | Protocol::Lmtp | Protocol::Submission | Protocol::Http => {
            converse(server, stream, ImapForeign::new(approach)).await
        }
    }
}

async fn converse(
    server: ForeignServer<'_>,
    mut stream: Stream,
    mut login: impl ForeignLogin,
) -> Result<Result<Reached, Fault>, ForeignError> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        while let Some(output) = login.poll() {
            match output {
                Output::Write(bytes) => {
                    stream.write_all(&bytes).await?;
                    stream.flush().await?;
                }
                Output::StartTls(_proof) => {
                    stream = server.encrypt(stream).await?;
                    login.handle(Input::TlsDone);
                }
                Output::End(Verdict::LoggedIn { reply_lines, unread }) => {
                    return Ok(Ok(Reached { member: None, stream, reply_line: reply_lines, unread }));
                }
                Output::End(Verdict::Refused(fault)) => return Ok(Err(fault)),
                Output::End(Verdict::Unusable(why)) => return Err(ForeignError::Unusable(why)),
            }
        }
        match stream.read(&mut buffer).await? {
            0 => return Err(ForeignError::Unusable("it closed the connection")),
            length => login.handle(Input::Bytes(buffer.get(..length).unwrap_or_default())),
        }
    }
}
