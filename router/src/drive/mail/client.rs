//! The client side of SMTP and LMTP: one connection to a member, or to a server of another kind.
//!
//! MAIL, RCPT and DATA go out in one group (RFC 2920), so that a transaction costs two round trips. Every wait has a
//! deadline; after any error the connection is of no use and is dropped.

use std::{io, net::IpAddr, time::Duration};

use laniakea_directory::Secret;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use zeroize::Zeroizing;

use crate::{
    drive::Stream,
    handoff::Preamble,
    session::foreign::Introduction,
    session::smtp::{Dialect, Envelope, Recipient},
    wire::sasl::encode_plain,
    wire::smtp::{DotStuffer, MailParameters, Mailbox, Reply, ReplyFault, parse_reply},
};

/// How long a greeting or the answer to a command may take. RFC 5321 §4.5.3.2 allows minutes to strangers; these are
/// our own processes, and somebody waits.
const COMMAND_DEADLINE: Duration = Duration::from_secs(20);
/// How long a member may take to accept a piece of content.
const CONTENT_DEADLINE: Duration = Duration::from_secs(30);
/// How long the reply to content may take (RFC 5321 §4.5.3.2.6).
const END_DEADLINE: Duration = Duration::from_secs(600);
/// Content is written in pieces of about this size.
const PIECE_BYTES: usize = 256 << 10;

/// Whom we pose as when handing mail to one of our own.
#[derive(Debug, Clone)]
pub struct Handover {
    /// Whose connection it is.
    pub preamble: Preamble,
    /// What the client called itself.
    pub hello: String,
}

/// One transaction as it goes out.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Where failures are reported; none for `<>`.
    pub reverse_path: Option<&'a Mailbox>,
    /// What MAIL says besides.
    pub parameters: &'a MailParameters,
    /// Whom this part of the message is for.
    pub recipients: &'a [Recipient],
}

impl<'a> Outgoing<'a> {
    /// A transaction, for some of its recipients.
    #[must_use]
    pub fn of(envelope: &'a Envelope, recipients: &'a [Recipient]) -> Self {
        Self { reverse_path: envelope.reverse_path.as_ref(), parameters: &envelope.parameters, recipients }
    }
}

/// Why a server did not take a message.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed or was too slow.
    #[error("talk to the mail server")]
    Io(#[from] io::Error),
    /// What came was no reply.
    #[error(transparent)]
    Reply(#[from] ReplyFault),
    /// The server refused, before any content was sent.
    #[error("the mail server refused: {0}")]
    Refused(Reply),
}

impl From<tokio::time::error::Elapsed> for ClientError {
    fn from(elapsed: tokio::time::error::Elapsed) -> Self {
        Self::Io(elapsed.into())
    }
}

/// A connection that has been greeted.
#[derive(Debug)]
pub struct MailClient {
    stream: Stream,
    dialect: Dialect,
    received: Vec<u8>,
    extensions: Extensions,
    stuffer: DotStuffer,
    outgoing: Vec<u8>,
}

/// What the server offers.
#[derive(Debug, Default)]
struct Extensions {
    size: bool,
    eight_bit: bool,
    smtputf8: bool,
    dsn: bool,
    ours: bool,
    starttls: bool,
    auth_plain: bool,
    /// What XCLIENT may say.
    xclient: Vec<String>,
}

impl MailClient {
    /// Hands a connection over to one of our own: preamble and greeting in one packet.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn hand_over(stream: Stream, dialect: Dialect, handover: &Handover) -> Result<Self, ClientError> {
        let mut client = Self::on(stream, dialect);
        client.outgoing = handover.preamble.encode();
        client.say_hello(&handover.hello).await?;
        Ok(client)
    }

    /// Greets a server of another kind.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn connect(stream: Stream, dialect: Dialect, hello: &str) -> Result<Self, ClientError> {
        let mut client = Self::on(stream, dialect);
        client.expect_greeting().await?;
        client.say_hello_after_greeting(hello).await?;
        Ok(client)
    }

    /// Asks for TLS (RFC 3207): the connection on which to do the handshake, after which [`Self::resume`] goes on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn start_tls(mut self) -> Result<Stream, ClientError> {
        if !self.extensions.starttls {
            return Err(ClientError::Refused(Reply::new(451, (4, 7, 0), "the next server lacks STARTTLS")));
        }
        self.outgoing.extend_from_slice(b"STARTTLS\r\n");
        let reply = self.exchange(1).await?.pop().ok_or(ReplyFault::Syntax)?;
        // What came behind the reply would be taken for bytes from inside TLS (CVE-2011-0411).
        if reply.code != 220 || !self.received.is_empty() {
            return Err(ClientError::Refused(Reply::new(451, (4, 7, 0), "the next server refuses STARTTLS")));
        }
        Ok(self.stream)
    }

    /// Goes on inside TLS, where everything that was said before is forgotten.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn resume(stream: Stream, dialect: Dialect, hello: &str) -> Result<Self, ClientError> {
        let mut client = Self::on(stream, dialect);
        client.say_hello_after_greeting(hello).await?;
        Ok(client)
    }

    /// Tells the server whose connection it is, as far as it wants to know, and greets it anew.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn introduce(&mut self, introduction: &Introduction, hello: &str) -> Result<(), ClientError> {
        let Some(command) = xclient(&self.extensions.xclient, introduction) else { return Ok(()) };
        self.outgoing.extend_from_slice(command.as_bytes());
        let reply = self.exchange(1).await?.pop().ok_or(ReplyFault::Syntax)?;
        // One that does not believe us takes the mail all the same.
        if reply.is_success() { self.say_hello_after_greeting(hello).await } else { Ok(()) }
    }

    /// Logs in with PLAIN (RFC 4954).
    ///
    /// # Errors
    /// [`ClientError::Refused`] also if the server offers no such login.
    pub async fn authenticate(&mut self, user: &str, password: &Secret) -> Result<(), ClientError> {
        if !self.extensions.auth_plain {
            return Err(ClientError::Refused(Reply::new(451, (4, 7, 0), "the next server lacks AUTH PLAIN")));
        }
        let command = Zeroizing::new(format!("AUTH PLAIN {}\r\n", *encode_plain(None, user, password)));
        self.outgoing.extend_from_slice(command.as_bytes());
        let reply = self.exchange(1).await?.pop().ok_or(ReplyFault::Syntax)?;
        if reply.code == 235 { Ok(()) } else { Err(ClientError::Refused(reply)) }
    }

    fn on(stream: Stream, dialect: Dialect) -> Self {
        Self {
            stream,
            dialect,
            received: Vec::new(),
            extensions: Extensions::default(),
            stuffer: DotStuffer::default(),
            outgoing: Vec::new(),
        }
    }

    /// Opens a transaction: the server's word on each recipient, at least one of them accepted, and content may follow.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the server takes the message for nobody; the connection is dropped by the caller.
    pub async fn begin(&mut self, message: Outgoing<'_>) -> Result<Vec<Reply>, ClientError> {
        if message.parameters.smtputf8 && !self.extensions.smtputf8 {
            // RFC 6531 §3.5: such a message must not go to a server that does not know what it is.
            return Err(ClientError::Refused(Reply::new(550, (5, 6, 7), "the next server lacks SMTPUTF8")));
        }
        self.outgoing.extend_from_slice(self.mail_command(message).as_bytes());
        for recipient in message.recipients {
            self.outgoing.extend_from_slice(self.rcpt_command(recipient).as_bytes());
        }
        self.outgoing.extend_from_slice(b"DATA\r\n");
        let mut replies = self.exchange(message.recipients.len() + 2).await?.into_iter();
        let mail = replies.next().ok_or(ReplyFault::Syntax)?;
        let recipients: Vec<Reply> = replies.by_ref().take(message.recipients.len()).collect();
        let data = replies.next().ok_or(ReplyFault::Syntax)?;
        if !mail.is_success() {
            return Err(ClientError::Refused(mail));
        }
        if data.code != 354 {
            let refused = recipients.into_iter().find(|reply| !reply.is_success());
            return Err(ClientError::Refused(refused.unwrap_or(data)));
        }
        self.stuffer = DotStuffer::default();
        Ok(recipients)
    }

    /// Sends some content.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn content(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        for piece in bytes.chunks(PIECE_BYTES) {
            self.stuffer.write(piece, &mut self.outgoing);
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends the end of the content and reads so many replies: in LMTP one for each accepted recipient. Replies that came
    /// before an error count (RFC 2033 §5); of the rest nobody knows whether the message was taken.
    pub async fn end(&mut self, replies: usize) -> (Vec<Reply>, Result<(), ClientError>) {
        let mut all = Vec::with_capacity(replies);
        let outcome = self.end_into(replies, &mut all).await;
        (all, outcome)
    }

    /// Which protocol is spoken.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    async fn end_into(&mut self, replies: usize, all: &mut Vec<Reply>) -> Result<(), ClientError> {
        std::mem::take(&mut self.stuffer).finish(&mut self.outgoing);
        self.flush().await?;
        for _ in 0..replies {
            all.push(timeout(END_DEADLINE, self.read_reply()).await??);
        }
        Ok(())
    }

    async fn say_hello(&mut self, name: &str) -> Result<(), ClientError> {
        // Our own members take commands before the greeting from one of us.
        self.outgoing.extend_from_slice(self.hello_command(name).as_bytes());
        self.flush().await?;
        self.expect_greeting().await?;
        let hello = timeout(COMMAND_DEADLINE, self.read_reply()).await??;
        self.on_hello(hello)
    }

    async fn say_hello_after_greeting(&mut self, name: &str) -> Result<(), ClientError> {
        self.outgoing.extend_from_slice(self.hello_command(name).as_bytes());
        let hello = self.exchange(1).await?.pop().ok_or(ReplyFault::Syntax)?;
        self.on_hello(hello)
    }

    fn hello_command(&self, name: &str) -> String {
        let verb = match self.dialect {
            Dialect::Smtp => "EHLO",
            Dialect::Lmtp => "LHLO",
        };
        format!("{verb} {name}\r\n")
    }

    async fn expect_greeting(&mut self) -> Result<(), ClientError> {
        let greeting = timeout(COMMAND_DEADLINE, self.read_reply()).await??;
        if greeting.is_success() { Ok(()) } else { Err(ClientError::Refused(greeting)) }
    }

    fn on_hello(&mut self, reply: Reply) -> Result<(), ClientError> {
        if !reply.is_success() {
            return Err(ClientError::Refused(reply));
        }
        let offers = |keyword: &str| {
            reply
                .lines
                .iter()
                .skip(1)
                .any(|line| line.split(' ').next().is_some_and(|word| word.eq_ignore_ascii_case(keyword)))
        };
        let ours = offers("XDELIVERYID");
        let auth = reply.lines.iter().skip(1).find_map(|line| line.strip_prefix("AUTH "));
        let auth_plain = auth.is_some_and(|names| names.split(' ').any(|name| name.eq_ignore_ascii_case("PLAIN")));
        let xclient = reply.lines.iter().skip(1).find_map(|line| line.strip_prefix("XCLIENT "));
        let xclient = xclient.map(|names| names.split(' ').map(str::to_ascii_uppercase).collect()).unwrap_or_default();
        self.extensions = Extensions {
            size: offers("SIZE"),
            eight_bit: offers("8BITMIME"),
            smtputf8: offers("SMTPUTF8"),
            // Our own members keep these for bounces without offering DSN to strangers.
            dsn: offers("DSN") || ours,
            ours,
            starttls: offers("STARTTLS"),
            auth_plain,
            xclient,
        };
        Ok(())
    }

    /// A server gets only the parameters it offers (RFC 5321 §4.1.1.11).
    fn mail_command(&self, message: Outgoing<'_>) -> String {
        let mut parameters = message.parameters.clone();
        let offered = &self.extensions;
        if !offered.size {
            parameters.size = None;
        }
        if !offered.eight_bit {
            parameters.body = crate::wire::smtp::Body::SevenBit;
        }
        if !offered.dsn {
            (parameters.ret, parameters.envid) = (None, None);
        }
        let path = message.reverse_path.map_or("", Mailbox::as_str);
        format!("MAIL FROM:<{path}>{}\r\n", parameters.encode())
    }

    fn rcpt_command(&self, recipient: &Recipient) -> String {
        let mut parameters = recipient.parameters.clone();
        if !self.extensions.dsn {
            (parameters.notify, parameters.orcpt) = (None, None);
        }
        if !self.extensions.ours {
            parameters.delivery_id = None;
        }
        format!("RCPT TO:<{}>{}\r\n", recipient.address, parameters.encode())
    }

    /// Writes what is collected and reads so many replies, at the same time: a long group must not block both sides
    /// (RFC 2920 §3.1).
    async fn exchange(&mut self, replies: usize) -> Result<Vec<Reply>, ClientError> {
        let outgoing = std::mem::take(&mut self.outgoing);
        let (mut reading, mut writing) = tokio::io::split(&mut self.stream);
        let received = &mut self.received;
        let read_all = async {
            let mut all = Vec::with_capacity(replies);
            for _ in 0..replies {
                all.push(timeout(COMMAND_DEADLINE, read_reply(&mut reading, received)).await??);
            }
            Ok::<_, ClientError>(all)
        };
        let write_all = async {
            timeout(CONTENT_DEADLINE, write_all(&mut writing, &outgoing)).await??;
            Ok::<_, ClientError>(())
        };
        let (all, ()) = tokio::try_join!(read_all, write_all)?;
        Ok(all)
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        timeout(CONTENT_DEADLINE, write_all(&mut self.stream, &self.outgoing)).await??;
        self.outgoing.clear();
        Ok(())
    }

    async fn read_reply(&mut self) -> Result<Reply, ClientError> {
        read_reply(&mut self.stream, &mut self.received).await
    }
}

async fn write_all(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// The attributes that the server takes (Postfix's XCLIENT; SESSION and TTL are Dovecot's).
fn xclient(taken: &[String], introduction: &Introduction) -> Option<String> {
    let ip = match introduction.client.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("IPV6:{ip}"),
    };
    let known = [
        ("ADDR", ip),
        ("PORT", introduction.client.port().to_string()),
        ("SESSION", introduction.session.to_string()),
        ("TTL", introduction.ttl.to_string()),
    ];
    let told: String = known
        .iter()
        .filter(|(name, _)| taken.iter().any(|taken| taken == name))
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    (!told.is_empty()).then(|| format!("XCLIENT{told}\r\n"))
}

async fn read_reply(stream: &mut (impl AsyncReadExt + Unpin), received: &mut Vec<u8>) -> Result<Reply, ClientError> {
    loop {
        if let Some((reply, used)) = parse_reply(received)? {
            received.drain(..used);
            return Ok(reply);
        }
        if stream.read_buf(received).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}
