//! A back end that costs as little as one can: it accepts every login, and its one message is always the same.

use std::sync::Arc;

use anyhow::Result;
use laniakea_router::drive::header::receive_preamble;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// The one message.
pub(super) const MESSAGE_BYTES: usize = 8 << 20;

/// Where the back end listens.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Ports {
    /// IMAP, as any server speaks it.
    pub(super) imap: u16,
    /// IMAP behind a preamble, as a member speaks it.
    pub(super) handoff: u16,
    /// The answers that nginx asks for.
    pub(super) auth: u16,
}

/// Serves, and prints the `Ports`.
///
/// # Errors
/// If it cannot listen.
pub async fn serve() -> Result<()> {
    let listen = async || TcpListener::bind("127.0.0.1:0").await;
    let (imap, handoff, auth) = (listen().await?, listen().await?, listen().await?);
    let port = |listener: &TcpListener| Ok::<_, std::io::Error>(listener.local_addr()?.port());
    let ports = Ports { imap: port(&imap)?, handoff: port(&handoff)?, auth: port(&auth)? };
    println!("{}", serde_json::to_string(&ports)?);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = auth.accept().await {
            tokio::spawn(answer_nginx(tcp, ports.imap));
        }
    });
    let message: Arc<[u8]> = vec![b'x'; MESSAGE_BYTES].into();
    loop {
        tokio::select! {
            accepted = imap.accept() => drop(tokio::spawn(serve_imap(accepted?.0, message.clone()))),
            accepted = handoff.accept() => drop(tokio::spawn(serve_handoff(accepted?.0, message.clone()))),
        }
    }
}

async fn serve_handoff(mut tcp: TcpStream, message: Arc<[u8]>) -> Result<()> {
    receive_preamble(&mut tcp).await?;
    serve_imap(tcp, message).await
}

async fn serve_imap(tcp: TcpStream, message: Arc<[u8]>) -> Result<()> {
    tcp.set_nodelay(true)?;
    let mut tcp = BufReader::with_capacity(512, tcp);
    tcp.write_all(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] null ready\r\n").await?;
    let mut line = String::new();
    let mut tag = String::new();
    loop {
        line.clear();
        if tcp.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        if tag.is_empty() {
            tag = line.split(' ').next().unwrap_or_default().to_owned();
        }
        // nginx sends names and passwords as literals, and waits for leave.
        if line.ends_with("}\r\n") {
            tcp.write_all(b"+ go ahead\r\n").await?;
            continue;
        }
        let word = line.split_whitespace().nth(1).unwrap_or_default().to_ascii_uppercase();
        match word.as_str() {
            "CAPABILITY" => tcp.write_all(b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\n").await?,
            "ID" => tcp.write_all(b"* ID NIL\r\n").await?,
            "FETCH" => {
                tcp.write_all(format!("* 1 FETCH (BODY[] {{{MESSAGE_BYTES}}}\r\n").as_bytes()).await?;
                tcp.write_all(&message).await?;
                tcp.write_all(b")\r\n").await?;
            }
            "LOGOUT" => tcp.write_all(b"* BYE\r\n").await?,
            _ => {}
        }
        tcp.write_all(format!("{tag} OK done\r\n").as_bytes()).await?;
        if word == "LOGOUT" {
            return Ok(());
        }
        tag.clear();
    }
}

/// Says yes to everybody, as `auth_http` wants it.
async fn answer_nginx(mut tcp: TcpStream, port: u16) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if tcp.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let answer = format!(
        "HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: 127.0.0.1\r\nAuth-Port: {port}\r\nContent-Length: 0\r\n\r\n"
    );
    Ok(tcp.write_all(answer.as_bytes()).await?)
}
