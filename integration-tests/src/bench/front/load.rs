//! Clients that log in, ask, fetch, or do nothing, in the clear or inside TLS.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use super::{FrontEnd, null::MESSAGE_BYTES, peers::ACCOUNTS};

/// How many connections are opened at a time.
const OPENING_MAX: usize = 50;

/// What clients read and write.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Calls one front end.
#[derive(Clone)]
pub(super) struct Caller {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    first_account: u32,
}

/// One logged-in client.
pub(super) struct Session {
    wire: BufReader<Box<dyn Wire>>,
    line: Vec<u8>,
}

impl Caller {
    /// Calls a front end in the clear or inside TLS; `None` if it has none.
    pub(super) fn to(front: &FrontEnd, inside: bool, authority: &Path) -> Result<Option<Self>> {
        let first_account = front.first_account;
        if !inside {
            return Ok(Some(Self { address: front.plain, tls: None, first_account }));
        }
        let Some(address) = front.tls else { return Ok(None) };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority)?)?;
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // The one that all of them know: ours would choose X25519MLKEM768, which OpenSSL 3.0 does not have.
        provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Every handshake is a whole one, for all of them.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Some(Self { address, tls: Some(TlsConnector::from(Arc::new(config))), first_account }))
    }

    /// Logs one client in.
    async fn log_in(&self, number: u32) -> Result<Session> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let wire: Box<dyn Wire> = match &self.tls {
            Some(tls) => Box::new(tls.connect(ServerName::try_from("localhost")?, tcp).await?),
            None => Box::new(tcp),
        };
        let mut session = Session { wire: BufReader::with_capacity(512, wire), line: Vec::new() };
        session.read_line().await?;
        let account = self.first_account + number % ACCOUNTS;
        session.ask(&format!("LOGIN user{account}@example.org secret")).await?;
        Ok(session)
    }

    /// Logs in and out for some time; returns how often.
    pub(super) async fn logins(&self, clients: u32, time: Duration) -> Result<usize> {
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let caller = self.clone();
            tasks.spawn(async move {
                let mut count = 0;
                while Instant::now() < end {
                    caller.log_in(client).await?.ask("LOGOUT").await?;
                    count += 1;
                }
                Ok::<_, anyhow::Error>(count)
            });
        }
        sum(tasks).await
    }

    /// How long each of so many commands takes.
    pub(super) async fn noops(&self, count: usize) -> Result<Vec<Duration>> {
        let mut session = self.log_in(0).await?;
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begin = Instant::now();
            session.ask("NOOP").await?;
            times.push(begin.elapsed());
        }
        session.ask("LOGOUT").await?;
        Ok(times)
    }

    /// Fetches for some time; returns how many bytes came.
    pub(super) async fn bytes(&self, clients: u32, time: Duration) -> Result<usize> {
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let caller = self.clone();
            tasks.spawn(async move {
                let mut session = caller.log_in(client).await?;
                let mut bytes = 0;
                while Instant::now() < end {
                    session.fetch().await?;
                    bytes += MESSAGE_BYTES;
                }
                Ok::<_, anyhow::Error>(bytes)
            });
        }
        sum(tasks).await
    }

    /// Opens sessions that then do nothing.
    pub(super) async fn open(&self, count: usize) -> Result<Vec<Session>> {
        let mut open = Vec::with_capacity(count);
        while open.len() < count {
            let mut tasks = JoinSet::new();
            for client in (0..ACCOUNTS).cycle().take(OPENING_MAX.min(count - open.len())) {
                let caller = self.clone();
                tasks.spawn(async move { caller.log_in(client).await });
            }
            while let Some(session) = tasks.join_next().await {
                open.push(session?.with_context(|| format!("after {} connections", open.len()))?);
            }
        }
        Ok(open)
    }
}

impl Session {
    async fn ask(&mut self, command: &str) -> Result<()> {
        self.wire.write_all(format!("a {command}\r\n").as_bytes()).await?;
        self.wire.flush().await?;
        loop {
            let line = self.read_line().await?;
            if let Some(answer) = line.strip_prefix(b"a ") {
                ensure!(answer.starts_with(b"OK"), "{command}: {}", answer.escape_ascii());
                return Ok(());
            }
        }
    }

    async fn fetch(&mut self) -> Result<()> {
        self.wire.write_all(b"a FETCH 1 BODY[]\r\n").await?;
        self.wire.flush().await?;
        self.read_line().await?;
        let mut left = MESSAGE_BYTES as u64;
        let mut sink = vec![0; 256 << 10];
        while left > 0 {
            let room = sink.len().min(usize::try_from(left)?);
            let read = self.wire.read(sink.get_mut(..room).unwrap_or_default()).await?;
            ensure!(read > 0, "the message ends early");
            left -= read as u64;
        }
        self.read_line().await?;
        let answer = self.read_line().await?;
        ensure!(answer.starts_with(b"a OK"), "{}", answer.escape_ascii());
        Ok(())
    }

    async fn read_line(&mut self) -> Result<&[u8]> {
        self.line.clear();
        ensure!(self.wire.read_until(b'\n', &mut self.line).await? > 0, "the connection ends");
        Ok(&self.line)
    }
}

async fn sum(mut tasks: JoinSet<Result<usize>>) -> Result<usize> {
    let mut sum = 0;
    while let Some(count) = tasks.join_next().await {
        sum += count??;
    }
    Ok(sum)
}
