//! Lines over TCP with a deadline, and a record of what was said.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long any single answer may take: longer than a takeover, shorter than a patient person.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a balancer says first (PROXY protocol, version 1).
const BALANCER: &[u8] = b"PROXY TCP4 127.0.0.1 127.0.0.1 1024 1024\r\n";

/// A connection that speaks lines.
pub struct Connection {
    stream: BufReader<TcpStream>,
    /// What was said so far, for messages.
    pub transcript: String,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens there.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = timeout(DEADLINE, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream: BufReader::new(stream), transcript: String::new() };
        if !address.ip().is_loopback() {
            // Between hosts of a test we are the balancer: its client is on this machine and needs no TLS.
            connection.send(BALANCER).await?;
        }
        Ok(connection)
    }

    /// Our end of the connection.
    ///
    /// # Errors
    /// If it is gone.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.stream.get_ref().local_addr()?)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the peer is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.note("C", bytes);
        timeout(DEADLINE, self.stream.get_mut().write_all(bytes)).await.context("the peer takes nothing")??;
        Ok(())
    }

    /// Sends a line.
    ///
    /// # Errors
    /// If the peer is gone.
    pub async fn send_line(&mut self, line: &str) -> Result<()> {
        self.send(format!("{line}\r\n").as_bytes()).await
    }

    /// Reads a line, without its CRLF.
    ///
    /// # Errors
    /// If none comes in time, or the connection ends first.
    pub async fn line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        let read = timeout(DEADLINE, self.stream.read_until(b'\n', &mut line));
        read.await.with_context(|| format!("no answer within {DEADLINE:?}; so far:\n{}", self.transcript))??;
        if line.is_empty() {
            bail!("the connection was closed; so far:\n{}", self.transcript);
        }
        self.note("S", &line);
        if !line.ends_with(b"\r\n") {
            bail!("a line without CRLF: {:?}", String::from_utf8_lossy(&line));
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }

    /// Reads exactly so many bytes.
    ///
    /// # Errors
    /// If they do not come in time.
    pub async fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        timeout(DEADLINE, self.stream.read_exact(&mut bytes)).await.context("the rest does not come")??;
        Ok(bytes)
    }

    /// Reads until the peer closes, and returns everything it still said.
    ///
    /// # Errors
    /// If it does not close within `deadline`.
    pub async fn until_closed(&mut self, deadline: Duration) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match timeout(deadline, self.stream.read_to_end(&mut bytes)).await {
            // A reset is a close as well.
            Ok(Ok(_) | Err(_)) => {
                self.note("S", &bytes);
                Ok(bytes)
            }
            Err(_) => bail!("the connection stays open; so far:\n{}", self.transcript),
        }
    }

    fn note(&mut self, who: &str, bytes: &[u8]) {
        const SHOWN: usize = 400;
        let shown = String::from_utf8_lossy(bytes.get(..SHOWN).unwrap_or(bytes)).trim_end().to_owned();
        let more = if bytes.len() > SHOWN { format!(" … ({} bytes)", bytes.len()) } else { String::new() };
        self.transcript.push_str(&format!("{who}: {shown}{more}\n"));
    }
}
