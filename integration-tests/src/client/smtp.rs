//! SMTP and LMTP as a client sees them (RFC 5321, RFC 2033).

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use super::Connection;

/// A reply, all of its lines.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its code.
    pub code: u16,
    /// Its text, lines joined.
    pub text: String,
}

impl Reply {
    /// Whether it is a 2xx.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code / 100 == 2
    }
}

/// What became of one message.
#[derive(Debug)]
pub struct Mail {
    /// The reply to each RCPT, in order.
    pub recipients: Vec<Reply>,
    /// What came after the data: one reply, or in LMTP one for each accepted recipient.
    pub data: Vec<Reply>,
}

/// A connection.
pub struct Smtp {
    /// The lines below.
    pub connection: Connection,
    /// What the server answered to EHLO or LHLO.
    pub extensions: String,
    is_lmtp: bool,
}

impl Smtp {
    /// Connects and says EHLO.
    ///
    /// # Errors
    /// If nobody greets.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        Self::open(address, false).await
    }

    /// Connects and says LHLO.
    ///
    /// # Errors
    /// If nobody greets.
    pub async fn connect_lmtp(address: SocketAddr) -> Result<Self> {
        Self::open(address, true).await
    }

    async fn open(address: SocketAddr, is_lmtp: bool) -> Result<Self> {
        let connection = Connection::open(address).await?;
        let mut smtp = Self { connection, extensions: String::new(), is_lmtp };
        let greeting = smtp.reply().await?;
        ensure!(greeting.code == 220, "greeting: {greeting:?}");
        let hello = smtp.command(if is_lmtp { "LHLO tests.example" } else { "EHLO tests.example" }).await?;
        ensure!(hello.code == 250, "hello: {hello:?}");
        smtp.extensions = hello.text;
        Ok(smtp)
    }

    /// Sends a command and reads its reply.
    ///
    /// # Errors
    /// If the connection ends first.
    pub async fn command(&mut self, command: &str) -> Result<Reply> {
        self.connection.send_line(command).await?;
        self.reply().await
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// If the connection ends first.
    pub async fn reply(&mut self) -> Result<Reply> {
        let mut text = Vec::new();
        loop {
            let line = String::from_utf8_lossy(&self.connection.line().await?).into_owned();
            let code =
                line.get(..3).and_then(|code| code.parse().ok()).with_context(|| format!("not a reply: {line}"))?;
            text.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, text: text.join("\n") });
            }
        }
    }

    /// Sends one message in one transaction.
    ///
    /// # Errors
    /// If the connection ends before the last reply: then nobody knows whether the message was taken.
    pub async fn mail(&mut self, sender: &str, recipients: &[&str], message: &[u8]) -> Result<Mail> {
        let from = self.command(&format!("MAIL FROM:<{sender}>")).await?;
        ensure!(from.is_ok(), "MAIL: {from:?}");
        let mut mail = Mail { recipients: Vec::new(), data: Vec::new() };
        for recipient in recipients {
            mail.recipients.push(self.command(&format!("RCPT TO:<{recipient}>")).await?);
        }
        let accepted = mail.recipients.iter().filter(|reply| reply.is_ok()).count();
        if accepted == 0 {
            self.command("RSET").await?;
            return Ok(mail);
        }
        let go = self.command("DATA").await?;
        ensure!(go.code == 354, "DATA: {go:?}");
        self.connection.send(&stuffed(message)).await?;
        for _ in 0..if self.is_lmtp { accepted } else { 1 } {
            mail.data.push(self.reply().await?);
        }
        Ok(mail)
    }
}

/// The message with its dots doubled, and the end (RFC 5321 §4.5.2).
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.len() + 8);
    let mut at_start = true;
    for byte in message {
        if at_start && *byte == b'.' {
            bytes.push(b'.');
        }
        bytes.push(*byte);
        at_start = *byte == b'\n';
    }
    if !bytes.ends_with(b"\r\n") {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b".\r\n");
    bytes
}
