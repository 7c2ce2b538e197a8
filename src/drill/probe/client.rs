//! The little IMAP and LMTP that a probe speaks.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};

/// Longest line taken; nothing here asks for long ones.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A connection that is spoken to in lines.
pub struct Lines {
    pub reader: LineReader,
    pub writer: OwnedWriteHalf,
}

/// Its reading end.
pub struct LineReader(BufReader<OwnedReadHalf>);

impl Lines {
    /// Connects to the first of these that takes connections.
    pub async fn connect(addresses: &[SocketAddr]) -> io::Result<Self> {
        let tcp = TcpStream::connect(addresses).await?;
        tcp.set_nodelay(true)?;
        let (reader, writer) = tcp.into_split();
        Ok(Self { reader: LineReader(BufReader::new(reader)), writer })
    }

    pub async fn send(&mut self, line: &str) -> io::Result<()> {
        self.writer.write_all(format!("{line}\r\n").as_bytes()).await
    }
}

impl LineReader {
    /// Reads a line, without its end; an error at the end of the stream.
    pub async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut limited = (&mut self.0).take(LINE_BYTES_MAX);
        limited.read_until(b'\n', &mut line).await?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned())
    }
}

/// Logs in over IMAP and opens the INBOX.
pub async fn open_inbox(addresses: &[SocketAddr], login: &str, password: &str) -> io::Result<Lines> {
    let mut lines = Lines::connect(addresses).await?;
    let greeting = lines.reader.line().await?;
    if !greeting.starts_with("* OK") {
        return Err(refused(&greeting));
    }
    imap(&mut lines, &format!("LOGIN \"{login}\" \"{password}\"")).await?;
    imap(&mut lines, "SELECT INBOX").await?;
    Ok(lines)
}

/// Sends one command and reads to its completion; returns what came before. The tag says nothing to probes.
pub async fn imap(lines: &mut Lines, command: &str) -> io::Result<Vec<String>> {
    lines.send(&format!("c {command}")).await?;
    let mut untagged = Vec::new();
    loop {
        let line = lines.reader.line().await?;
        match line.strip_prefix("c ") {
            Some(reply) if reply.starts_with("OK") => return Ok(untagged),
            Some(reply) => return Err(refused(reply)),
            None => untagged.push(line),
        }
    }
}

/// Delivers a message whose subject is `name` over LMTP; without an error it was accepted.
pub async fn deliver(addresses: &[SocketAddr], recipient: &str, name: &str) -> io::Result<()> {
    let mut lines = Lines::connect(addresses).await?;
    lmtp_reply(&mut lines, '2').await?;
    for command in ["LHLO drill.invalid", "MAIL FROM:<drill@drill.invalid>", &format!("RCPT TO:<{recipient}>")] {
        lines.send(command).await?;
        lmtp_reply(&mut lines, '2').await?;
    }
    lines.send("DATA").await?;
    lmtp_reply(&mut lines, '3').await?;
    lines.send(&format!("Subject: {name}\r\n\r\nA probe of laniakea drill.\r\n.")).await?;
    lmtp_reply(&mut lines, '2').await
}

/// Reads a reply, which begins with this digit if all is well.
async fn lmtp_reply(lines: &mut Lines, class: char) -> io::Result<()> {
    loop {
        let line = lines.reader.line().await?;
        match line.chars().nth(3) {
            Some('-') => {}
            _ if line.starts_with(class) => return Ok(()),
            _ => return Err(refused(&line)),
        }
    }
}

fn refused(reply: &str) -> io::Error {
    io::Error::other(reply.to_owned())
}
