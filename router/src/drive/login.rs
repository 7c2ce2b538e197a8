//! Logs a client in at a member: preamble, then the native protocol, written anew from parsed values.
//!
//! Used by routers, and by members that pass a client on to the owner. With a ticket in the preamble no password is sent:
//! the owner greets the authenticated session. Everything has a deadline here except the wait for a member's verdict,
//! which the caller limits: a member may be waiting for a takeover.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use laniakea_directory::Secret;
use tokio::{io::AsyncWriteExt, time::timeout_at};
use zeroize::Zeroizing;

use super::{Handoffs, Stream};
use crate::{
    handoff::{Moved, Preamble, Protocol, SessionId},
    route::LOST_AFTER,
    session::{Fault, LoginRequest, smtp::Hello},
    wire::{
        line::LineBuffer,
        sasl::{decode, encode},
    },
};

/// How long a member may take to greet. A process that runs greets at once; one that is frozen never does.
const GREETING_DEADLINE: Duration = LOST_AFTER;
/// How long an owner may take to greet a session that has a ticket: it may have to open the account first.
const OPENING_DEADLINE: Duration = Duration::from_secs(3);
/// Longest line of a member: a ticket in base64 and some text.
const LINE_BYTES_MAX: usize = 8192;
/// Lines of a member before its verdict.
const LINES_MAX: usize = 20;

/// What a member said to a login.
#[derive(Debug)]
pub enum MemberLogin {
    /// The account is open.
    LoggedIn {
        /// The connection to the member.
        stream: Stream,
        /// The member's last words, as the client is to get them, with their CRLF.
        reply_line: Vec<u8>,
        /// What the member sent behind them.
        unread: Vec<u8>,
    },
    /// The member wants to hear more of the client.
    Asks(Asking),
    /// Another member has the account.
    Moved(Moved),
    /// No.
    Refused {
        /// Why, as far as the member says.
        fault: Fault,
        /// The member's words, without their CRLF.
        reply_line: String,
    },
}

/// A member that waits for the client's next message.
#[derive(Debug)]
pub struct Asking {
    /// What it says to the client.
    pub challenge: Vec<u8>,
    conversation: Conversation,
}

impl Asking {
    /// Passes the client's answer on.
    ///
    /// # Errors
    ///
    /// If the member cannot be reached any more.
    pub async fn answer(self, answer: &Secret) -> Result<MemberLogin, DialError> {
        let mut member = self.conversation;
        let line = Zeroizing::new(format!("{}\r\n", *encode(answer.expose())));
        member.stream.write_all(line.as_bytes()).await.map_err(DialError::of)?;
        member.verdict().await
    }
}

/// Why a member gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No connection.
    #[error("connect to the member")]
    Connect(#[source] io::Error),
    /// The member shows no certificate that counts, takes none of ours, or speaks no TLS.
    #[error("agree with the member on TLS: {0}")]
    Tls(io::Error),
    /// A connection, and then silence where the greeting belongs.
    #[error("wait for the member's greeting")]
    Silent,
    /// Others have found out meanwhile that the member cannot be reached.
    #[error("wait for a member that others cannot reach")]
    Doubted,
    /// The connection broke.
    #[error("talk to the member")]
    Broken(#[source] io::Error),
    /// What came is not the protocol.
    #[error("understand the member")]
    Protocol,
}

impl DialError {
    /// Tells what TLS says from what the network does. A server's word on our certificate comes after the handshake (RFC 8446 §4.4.4).
    #[must_use]
    pub fn of(error: io::Error) -> Self {
        match error.get_ref() {
            Some(inner) if inner.is::<rustls::Error>() => Self::Tls(error),
            _ => Self::Broken(error),
        }
    }

    /// Whether nothing at all came back. A member that stops refuses connections, and may still serve those it has.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        match self {
            Self::Connect(error) => error.kind() == io::ErrorKind::TimedOut,
            Self::Silent => true,
            Self::Tls(_) | Self::Doubted | Self::Broken(_) | Self::Protocol => false,
        }
    }

    /// Whether the member itself must be thought of as down, and not only this connection as broken.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Tls(_) | Self::Silent => true,
            Self::Doubted | Self::Broken(_) | Self::Protocol => false,
        }
    }
}

/// Logs in over IMAP, under the client's own tag.
///
/// # Errors
///
/// If the member cannot be reached or does not speak IMAP.
pub async fn imap_to_member(
    handoffs: &Handoffs,
    member: SocketAddr,
    preamble: &Preamble,
    request: &LoginRequest,
) -> Result<MemberLogin, DialError> {
    let tag = &request.tag;
    let (mechanism, initial) = request.initial();
    let command = Zeroizing::new(format!("{tag} AUTHENTICATE {} {}\r\n", mechanism.name(), *initial));
    let mut member = Conversation::begin(handoffs, member, preamble, tag, &command).await?;
    let greeting = member.greeting(preamble).await?;
    match imap_greeting(&greeting, preamble, tag)? {
        Some(verdict) => Ok(member.end(verdict)),
        None => member.verdict().await,
    }
}

/// Logs in over POP3.
///
/// # Errors
///
/// If the member cannot be reached or does not speak POP3.
pub async fn pop3_to_member(
    handoffs: &Handoffs,
    member: SocketAddr,
    preamble: &Preamble,
    request: &LoginRequest,
) -> Result<MemberLogin, DialError> {
    let (mechanism, initial) = request.initial();
    let command = Zeroizing::new(format!("AUTH {} {}\r\n", mechanism.name(), *initial));
    let mut member = Conversation::begin(handoffs, member, preamble, "", &command).await?;
    let greeting = member.greeting(preamble).await?;
    if preamble.ticket.is_some() || !greeting.starts_with("+OK") {
        return Ok(member.end(pop3_reply(&greeting)?));
    }
    member.verdict().await
}

/// Logs in for submission (RFC 4954). The member is one of our own: it takes commands before its greeting.
///
/// # Errors
///
/// If the member cannot be reached or does not speak SMTP.
pub async fn submission_to_member(
    handoffs: &Handoffs,
    member: SocketAddr,
    preamble: &Preamble,
    request: &LoginRequest,
) -> Result<MemberLogin, DialError> {
    let (mechanism, initial) = request.initial();
    let (verb, name) = match &request.hello {
        Some(Hello { name, extended: false }) => ("HELO", name.as_str()),
        Some(Hello { name, extended: true }) => ("EHLO", name.as_str()),
        None => return Err(DialError::Protocol),
    };
    let command = Zeroizing::new(format!("{verb} {name}\r\nAUTH {} {}\r\n", mechanism.name(), *initial));
    let mut member = Conversation::begin(handoffs, member, preamble, "", &command).await?;
    let greeting = member.greeting(preamble).await?;
    if !greeting.starts_with("220 ") {
        return Err(DialError::Protocol);
    }
    member.verdict().await
}

/// Asks a member for its greeting, and for nothing else.
///
/// # Errors
///
/// If the member cannot be reached or does not greet.
pub async fn probe(handoffs: &Handoffs, member: SocketAddr) -> Result<(), DialError> {
    let stream = handoffs.dial(member).await?;
    let local = stream.local_addr().map_err(DialError::Connect)?;
    let preamble = Preamble {
        client: local,
        local: member,
        protocol: Protocol::Imap,
        tls: None,
        session: SessionId::random(),
        hops: 0,
        ticket: None,
    };
    let mut member = Conversation::over(stream, preamble.protocol, "");
    let command = [preamble.encode().as_slice(), b"probe LOGOUT\r\n"].concat();
    member.stream.write_all(&command).await.map_err(DialError::of)?;
    member.greeting(&preamble).await.map(drop)
}

/// What a line decides.
enum Verdict {
    Asks(Vec<u8>),
    LoggedIn { reply_line: String },
    Moved(Moved),
    Refused { fault: Fault, reply_line: String },
}

/// Reads the greeting; `None` if the verdict is still to come.
fn imap_greeting(line: &str, preamble: &Preamble, tag: &str) -> Result<Option<Verdict>, DialError> {
    let greeting = line.strip_prefix("* ").ok_or(DialError::Protocol)?;
    let (word, rest) = greeting.split_once(' ').unwrap_or((greeting, ""));
    match (word, &preamble.ticket) {
        ("OK", None) => Ok(None),
        ("PREAUTH", Some(_)) => Ok(Some(Verdict::LoggedIn { reply_line: format!("{tag} OK {rest}\r\n") })),
        ("BYE", _) => {
            let fault = Fault::of_imap_reply(&format!("NO {rest}"));
            Ok(Some(Verdict::Refused { fault, reply_line: line.to_owned() }))
        }
        // PREAUTH without a ticket would be a session that nobody has proved to be theirs; OK with one, a stranger.
        _ => Err(DialError::Protocol),
    }
}

/// Reads a line before the verdict, or the verdict itself.
fn imap_line(tag: &str, line: &str) -> Result<Option<Verdict>, DialError> {
    if let Some(challenge) = line.strip_prefix("+ ") {
        return asks(challenge).map(Some);
    }
    match line.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
        Some(reply) => imap_reply(reply, line).map(Some),
        // Untagged lines are capabilities and the like: the verdict repeats what matters.
        None if line.starts_with("* ") => Ok(None),
        None => Err(DialError::Protocol),
    }
}

fn asks(challenge: &str) -> Result<Verdict, DialError> {
    let challenge = decode(challenge.as_bytes()).map_err(|_| DialError::Protocol)?;
    Ok(Verdict::Asks(challenge.to_vec()))
}

/// Reads what follows the tag.
fn imap_reply(reply: &str, line: &str) -> Result<Verdict, DialError> {
    if reply.starts_with("OK ") {
        return Ok(Verdict::LoggedIn { reply_line: format!("{line}\r\n") });
    }
    if let Some(moved) = reply.strip_prefix("NO ").and_then(moved_in) {
        return Ok(Verdict::Moved(moved));
    }
    if reply.starts_with("NO ") {
        let fault = Fault::of_imap_reply(reply);
        return Ok(Verdict::Refused { fault, reply_line: line.to_owned() });
    }
    Err(DialError::Protocol)
}

fn pop3_reply(line: &str) -> Result<Verdict, DialError> {
    if let Some(challenge) = line.strip_prefix("+ ") {
        return asks(challenge);
    }
    if line.starts_with("+OK") {
        return Ok(Verdict::LoggedIn { reply_line: format!("{line}\r\n") });
    }
    let refusal = line.strip_prefix("-ERR").ok_or(DialError::Protocol)?;
    match moved_in(refusal.trim_start()) {
        Some(moved) => Ok(Verdict::Moved(moved)),
        None => Ok(Verdict::Refused { fault: Fault::of_pop3_reply(line), reply_line: line.to_owned() }),
    }
}

fn submission_reply(line: String) -> Result<Option<Verdict>, DialError> {
    if line.starts_with("250") {
        return Ok(None);
    }
    if let Some(challenge) = line.strip_prefix("334") {
        return asks(challenge.trim_start()).map(Some);
    }
    if line.starts_with("235 ") {
        return Ok(Some(Verdict::LoggedIn { reply_line: format!("{line}\r\n") }));
    }
    Ok(Some(Verdict::Refused { fault: Fault::of_smtp_reply(&line), reply_line: line }))
}

/// Reads `[MOVED owner ticket] …`.
fn moved_in(text: &str) -> Option<Moved> {
    text.strip_prefix('[')?.split_once(']')?.0.parse().ok()
}

/// One connection to a member until its verdict.
#[derive(Debug)]
struct Conversation {
    stream: Stream,
    lines: LineBuffer,
    protocol: Protocol,
    /// The client's IMAP tag.
    tag: String,
}

impl Conversation {
    /// Connects and sends preamble and command together, without waiting for the greeting. With a ticket there is no
    /// command to send.
    async fn begin(
        handoffs: &Handoffs,
        member: SocketAddr,
        preamble: &Preamble,
        tag: &str,
        command: &str,
    ) -> Result<Self, DialError> {
        let mut stream = handoffs.dial(member).await?;
        let mut bytes = zeroize::Zeroizing::new(preamble.encode());
        if preamble.ticket.is_none() {
            bytes.extend_from_slice(command.as_bytes());
        }
        // Fits into any socket's buffer, so it needs no deadline.
        stream.write_all(&bytes).await.map_err(DialError::of)?;
        Ok(Self::over(stream, preamble.protocol, tag))
    }

    fn over(stream: Stream, protocol: Protocol, tag: &str) -> Self {
        Self { stream, lines: LineBuffer::new(LINE_BYTES_MAX), protocol, tag: tag.to_owned() }
    }

    /// Waits for the line that decides, or asks for more.
    async fn verdict(mut self) -> Result<MemberLogin, DialError> {
        for _ in 0..LINES_MAX {
            let line = self.line().await?;
            let verdict = match self.protocol {
                Protocol::Pop3 => Some(pop3_reply(&line)?),
                Protocol::Submission => submission_reply(line)?,
                // The others have no login of this kind.
                Protocol::Imap | Protocol::Smtp | Protocol::Lmtp | Protocol::Http => imap_line(&self.tag, &line)?,
            };
            if let Some(verdict) = verdict {
                return Ok(self.end(verdict));
            }
        }
        Err(DialError::Protocol)
    }

    async fn greeting(&mut self, preamble: &Preamble) -> Result<String, DialError> {
        let within = if preamble.ticket.is_some() { OPENING_DEADLINE } else { GREETING_DEADLINE };
        let until = Instant::now() + within;
        timeout_at(until.into(), self.line()).await.map_err(|_| DialError::Silent)?
    }

    async fn line(&mut self) -> Result<String, DialError> {
        loop {
            match self.lines.next_line() {
                Ok(Some(line)) => return String::from_utf8(line).map_err(|_| DialError::Protocol),
                Ok(None) => {}
                Err(_) => return Err(DialError::Protocol),
            }
            let lines = &mut self.lines;
            let read = self.stream.read_with(|bytes| {
                lines.push(bytes);
                bytes.len()
            });
            if read.await.map_err(DialError::of)? == 0 {
                return Err(DialError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn end(self, verdict: Verdict) -> MemberLogin {
        match verdict {
            Verdict::Asks(challenge) => MemberLogin::Asks(Asking { challenge, conversation: self }),
            Verdict::LoggedIn { reply_line } => MemberLogin::LoggedIn {
                stream: self.stream,
                reply_line: reply_line.into_bytes(),
                unread: self.lines.into_unread(),
            },
            Verdict::Moved(moved) => MemberLogin::Moved(moved),
            Verdict::Refused { fault, reply_line } => MemberLogin::Refused { fault, reply_line },
        }
    }
}
