//! One request to a metrics listener.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The answer.
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its body.
    pub body: String,
}

/// Asks for `path`.
///
/// # Errors
/// If there is no answer in HTTP.
pub async fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    get_as(address, path, None).await
}

/// Asks for `path`, with a bearer token if there is one.
///
/// # Errors
/// If there is no answer in HTTP.
pub async fn get_as(address: SocketAddr, path: &str, token: Option<&str>) -> Result<Answer> {
    let mut stream = TcpStream::connect(address).await?;
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").context("no end of the head")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Answer { status, body: body.to_owned() })
}
