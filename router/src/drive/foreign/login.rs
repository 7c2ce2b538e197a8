//! Logs a client in at a server of another kind: carries out what the machines of [`crate::session::foreign`] decide.

use std::time::{Duration, Instant};

use tokio::{io::AsyncWriteExt, time::timeout_at};

use super::{ForeignError, ForeignServer};
use crate::{
    drive::{Stream, prelogin::Prover, reach::Reached},
    handoff::{Preamble, Protocol},
    session::{
        Fault, LoginRequest,
        foreign::{Approach, ForeignLogin, ImapForeign, Input, Output, Pop3Foreign, Verdict},
    },
};

/// How long a login may take, from the connection or the client's last word to the verdict. Servers delay their answer to a wrong password.
const LOGIN_DEADLINE: Duration = Duration::from_secs(20);

/// Logs in.
///
/// # Errors
///
/// With what the client is to be told.
pub async fn log_in(
    server: ForeignServer<'_>,
    preamble: &Preamble,
    request: &LoginRequest,
    prover: &mut impl Prover,
) -> Result<Reached, Fault> {
    log_in_by(server, preamble, request, prover).await.unwrap_or_else(|error| {
        tracing::warn!(login = %request.login, host = server.host, %error, cause = ?std::error::Error::source(&error), "no login at a server of another kind");
        Err(Fault::Unavailable)
    })
}

async fn log_in_by(
    server: ForeignServer<'_>,
    preamble: &Preamble,
    request: &LoginRequest,
    prover: &mut impl Prover,
) -> Result<Result<Reached, Fault>, ForeignError> {
    let approach = Approach {
        request: request.clone(),
        start_tls: server.starts_tls(preamble.protocol),
        introduction: server.introduction(preamble),
    };
    let until = Instant::now() + LOGIN_DEADLINE;
    let stream = timeout_at(until.into(), server.connect(preamble)).await??;
    let conversation = Conversation { server, stream, until };
    match preamble.protocol {
        Protocol::Pop3 => conversation.run(Pop3Foreign::new(approach), prover).await,
        // The others have no login of this kind.
        Protocol::Imap | Protocol::Smtp | Protocol::Lmtp | Protocol::Submission | Protocol::Http => {
            conversation.run(ImapForeign::new(approach), prover).await
        }
    }
}

/// A connection to a server until its verdict.
struct Conversation<'a> {
    server: ForeignServer<'a>,
    stream: Stream,
    /// Until when the server has to have said something that decides.
    until: Instant,
}

impl Conversation<'_> {
    async fn run(
        mut self,
        mut login: impl ForeignLogin + Send,
        prover: &mut impl Prover,
    ) -> Result<Result<Reached, Fault>, ForeignError> {
        loop {
            while let Some(output) = login.poll() {
                match output {
                    Output::Write(bytes) => self.write(&bytes).await?,
                    Output::StartTls(_proof) => {
                        self.stream = timeout_at(self.until.into(), self.server.encrypt(self.stream)).await??;
                        login.handle(Input::TlsDone);
                    }
                    Output::Ask(challenge) => {
                        let Some(answer) = prover.ask(&challenge).await else { return Ok(Err(Fault::Abandoned)) };
                        // How long the client takes is not the server's fault.
                        self.until = Instant::now() + LOGIN_DEADLINE;
                        login.handle(Input::Answer(&answer));
                    }
                    Output::End(Verdict::LoggedIn { reply_lines, unread }) => {
                        return Ok(Ok(Reached { member: None, stream: self.stream, reply_line: reply_lines, unread }));
                    }
                    Output::End(Verdict::Refused(fault)) => return Ok(Err(fault)),
                    Output::End(Verdict::Unusable(why)) => return Err(ForeignError::Unusable(why)),
                }
            }
            let read = self.stream.read_with(|bytes| {
                login.handle(Input::Bytes(bytes));
                bytes.len()
            });
            if timeout_at(self.until.into(), read).await?? == 0 {
                return Err(ForeignError::Unusable("it closed the connection"));
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ForeignError> {
        let writing = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        Ok(timeout_at(self.until.into(), writing).await??)
    }
}
