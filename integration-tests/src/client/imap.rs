//! IMAP as a client sees it (RFC 9051).

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use super::Connection;

/// What a command was answered with.
#[derive(Debug)]
pub struct Response {
    /// Untagged responses, literals included.
    pub untagged: Vec<Vec<u8>>,
    /// What follows the tag: `OK …`, `NO …`, `BAD …`.
    pub tagged: String,
}

impl Response {
    /// Whether the command was done.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.tagged.starts_with("OK")
    }

    /// The untagged responses as text.
    #[must_use]
    pub fn text(&self) -> String {
        self.untagged.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>().join("\n")
    }

    /// Number of messages, from `* n EXISTS`.
    #[must_use]
    pub fn exists(&self) -> Option<u32> {
        let text = self.text();
        text.lines().rev().find_map(|line| line.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse().ok())
    }
}

/// A connection.
pub struct Imap {
    /// The lines below.
    pub connection: Connection,
    /// What the server said first.
    pub greeting: String,
    tag: u32,
}

impl Imap {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    /// If nobody greets.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let mut connection = Connection::open(address).await?;
        let greeting = String::from_utf8_lossy(&connection.line().await?).into_owned();
        Ok(Self { connection, greeting, tag: 0 })
    }

    /// Connects and logs in.
    ///
    /// # Errors
    /// If the login is refused.
    pub async fn login(address: SocketAddr, name: &str, password: &str) -> Result<Self> {
        let mut imap = Self::connect(address).await?;
        let response = imap.command(&format!("LOGIN \"{name}\" \"{password}\"")).await?;
        ensure!(response.is_ok(), "login of {name}: {}", response.tagged);
        Ok(imap)
    }

    /// Sends a command and reads its answer.
    ///
    /// # Errors
    /// If the connection ends first.
    pub async fn command(&mut self, command: &str) -> Result<Response> {
        let tag = self.next_tag();
        self.connection.send_line(&format!("{tag} {command}")).await?;
        self.answer(&tag).await
    }

    /// Sends a command that must be answered with OK.
    ///
    /// # Errors
    /// If it is not.
    pub async fn ok(&mut self, command: &str) -> Result<Response> {
        let response = self.command(command).await?;
        ensure!(response.is_ok(), "{command}: {}\n{}", response.tagged, response.text());
        Ok(response)
    }

    /// Appends a message with a synchronising literal.
    ///
    /// # Errors
    /// If the connection ends first.
    pub async fn append(&mut self, mailbox: &str, message: &[u8]) -> Result<Response> {
        let tag = self.next_tag();
        self.connection.send_line(&format!("{tag} APPEND \"{mailbox}\" {{{}}}", message.len())).await?;
        let line = self.connection.line().await?;
        if !line.starts_with(b"+") {
            let text = String::from_utf8_lossy(&line).into_owned();
            let tagged =
                text.strip_prefix(&format!("{tag} ")).with_context(|| format!("neither `+` nor an answer: {text}"))?;
            return Ok(Response { untagged: Vec::new(), tagged: tagged.to_owned() });
        }
        self.connection.send(message).await?;
        self.connection.send(b"\r\n").await?;
        self.answer(&tag).await
    }

    /// Reads one response, its literals included.
    ///
    /// # Errors
    /// If the connection ends first.
    pub async fn response(&mut self) -> Result<Vec<u8>> {
        let mut whole = self.connection.line().await?;
        while let Some(length) = announced(&whole) {
            let literal = self.connection.bytes(length).await?;
            whole.extend_from_slice(b"\r\n");
            whole.extend_from_slice(&literal);
            whole.extend_from_slice(&self.connection.line().await?);
        }
        Ok(whole)
    }

    /// The value of a header field in each message of a mailbox, with the UID.
    ///
    /// # Errors
    /// If the mailbox cannot be read.
    pub async fn header_fields(&mut self, mailbox: &str, field: &str) -> Result<Vec<String>> {
        let selected = self.ok(&format!("EXAMINE \"{mailbox}\"")).await?;
        if selected.exists().is_none_or(|count| count == 0) {
            return Ok(Vec::new());
        }
        let fetched = self.ok(&format!("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS ({field})])")).await?;
        let prefix = format!("{}:", field.to_ascii_lowercase());
        let value = |response: &Vec<u8>| {
            let text = String::from_utf8_lossy(response).into_owned();
            let line = text.lines().find(|line| line.to_ascii_lowercase().starts_with(&prefix))?.to_owned();
            Some(line.get(prefix.len()..)?.trim().to_owned())
        };
        Ok(fetched.untagged.iter().filter_map(value).collect())
    }

    /// Begins IDLE.
    ///
    /// # Errors
    /// If the server does not agree.
    pub async fn idle(&mut self) -> Result<String> {
        let tag = self.next_tag();
        self.connection.send_line(&format!("{tag} IDLE")).await?;
        let line = self.connection.line().await?;
        ensure!(line.starts_with(b"+"), "IDLE: {}", String::from_utf8_lossy(&line));
        Ok(tag)
    }

    /// Ends IDLE.
    ///
    /// # Errors
    /// If the connection ends first.
    pub async fn done(&mut self, tag: &str) -> Result<Response> {
        self.connection.send_line("DONE").await?;
        self.answer(tag).await
    }

    fn next_tag(&mut self) -> String {
        self.tag += 1;
        format!("t{}", self.tag)
    }

    async fn answer(&mut self, tag: &str) -> Result<Response> {
        let prefix = format!("{tag} ");
        let mut untagged = Vec::new();
        loop {
            let response = self.response().await?;
            match response.strip_prefix(prefix.as_bytes()) {
                Some(rest) => return Ok(Response { untagged, tagged: String::from_utf8_lossy(rest).into_owned() }),
                None => untagged.push(response),
            }
        }
    }
}

/// The length of the literal that a line announces at its end.
fn announced(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}")?;
    let open = line.iter().rposition(|byte| *byte == b'{')?;
    std::str::from_utf8(line.get(open + 1..)?).ok()?.parse().ok()
}
