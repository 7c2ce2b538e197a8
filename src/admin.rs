//! A small HTTP client for the processes of the installation: health, and the admin API with its token.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// How long one question may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long a command may take: the cluster may be looking for a controller.
const COMMAND_DEADLINE: Duration = Duration::from_secs(12);

/// Largest answer taken.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Asks processes as an administrator.
pub struct Admin {
    token: String,
}

impl Admin {
    /// Reads the token from its file.
    pub fn new(token_file: &Path) -> anyhow::Result<Self> {
        let token = fs::read_to_string(token_file)
            .with_context(|| format!("read the admin token from {}", token_file.display()))?;
        Ok(Self { token: token.trim().to_owned() })
    }

    /// Asks one question; the path follows `/admin/v1/`.
    pub async fn get(&self, address: SocketAddr, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, address, path).await
    }

    /// Asks or commands; the path follows `/admin/v1/`.
    pub async fn send(&self, method: Method, address: SocketAddr, path: &str) -> anyhow::Result<Value> {
        let (status, body) = send(method, address, &format!("/admin/v1/{path}"), Some(&self.token)).await?;
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        match (status, value) {
            (StatusCode::OK, Some(value)) => Ok(value),
            (StatusCode::UNAUTHORIZED, _) => bail!("{address} does not accept this installation's admin token"),
            (status, value) => {
                let text =
                    value.as_ref().and_then(|value| value.get("error")?.as_str()).unwrap_or("no further explanation");
                bail!("{address} answered {status}: {text}")
            }
        }
    }
}

/// Whether the process with this metrics listener is ready to serve.
pub async fn is_ready(address: SocketAddr) -> bool {
    matches!(send(Method::GET, address, "/readyz", None).await, Ok((StatusCode::OK, _)))
}

async fn send(
    method: Method,
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let deadline = if method == Method::GET { DEADLINE } else { COMMAND_DEADLINE };
    match tokio::time::timeout(deadline, exchange(method, address, path, token)).await {
        Ok(answer) => answer,
        Err(_) => bail!("{address} did not answer within {} s", deadline.as_secs()),
    }
}

async fn exchange(
    method: Method,
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", address.to_string());
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
    driver.abort();
    match body {
        Ok(body) => Ok((status, body.to_bytes())),
        Err(error) => bail!("read the answer of {address}: {error}"),
    }
}
