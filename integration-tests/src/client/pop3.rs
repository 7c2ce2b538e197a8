//! POP3 as a client sees it (RFC 1939).

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use super::Connection;

/// A connection.
pub struct Pop3 {
    /// The lines below.
    pub connection: Connection,
}

impl Pop3 {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    /// If nobody greets.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let mut connection = Connection::open(address).await?;
        let greeting = connection.line().await?;
        ensure!(greeting.starts_with(b"+OK"), "greeting: {}", String::from_utf8_lossy(&greeting));
        Ok(Self { connection })
    }

    /// Connects and logs in.
    ///
    /// # Errors
    /// If the login is refused.
    pub async fn login(address: SocketAddr, name: &str, password: &str) -> Result<Self> {
        let mut pop3 = Self::connect(address).await?;
        pop3.ok(&format!("USER {name}")).await?;
        pop3.ok(&format!("PASS {password}")).await?;
        Ok(pop3)
    }

    /// Sends a command and reads the first line of its answer.
    ///
    /// # Errors
    /// If the connection ends first.
    pub async fn command(&mut self, command: &str) -> Result<String> {
        self.connection.send_line(command).await?;
        Ok(String::from_utf8_lossy(&self.connection.line().await?).into_owned())
    }

    /// Sends a command that must be answered with `+OK`.
    ///
    /// # Errors
    /// If it is not.
    pub async fn ok(&mut self, command: &str) -> Result<String> {
        let line = self.command(command).await?;
        ensure!(line.starts_with("+OK"), "{command}: {line}");
        Ok(line)
    }

    /// Sends a command whose answer has many lines, and returns them.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn lines(&mut self, command: &str) -> Result<Vec<u8>> {
        self.ok(command).await?;
        let mut text = Vec::new();
        loop {
            let line = self.connection.line().await?;
            match line.as_slice() {
                b"." => return Ok(text),
                [b'.', rest @ ..] => text.extend_from_slice(rest),
                line => text.extend_from_slice(line),
            }
            text.extend_from_slice(b"\r\n");
        }
    }
}
