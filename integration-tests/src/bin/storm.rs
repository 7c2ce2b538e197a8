//! Loads any IMAP or LMTP server with logins or deliveries and says how many it did, and how long each took.
//!
//! It knows nothing of Laniakea, so that peers are measured with the same tool in the same run.
//!
//! ```text
//! storm logins  --at 127.0.0.1:10143 --user user%d@example.org --users 10 --password PW --connections 20 --count 2000
//! storm deliver --at 127.0.0.1:10024 --user user%d@example.org --users 10 --bytes 4096 --connections 20 --count 5000
//! ```

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// A step that takes longer counts as an error.
const STEP_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
struct Load {
    mode: Mode,
    at: SocketAddr,
    user: String,
    users: usize,
    password: String,
    bytes: usize,
    connections: usize,
    count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Logins,
    Deliver,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let load = Arc::new(Load::from_args(std::env::args().skip(1))?);
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let workers: Vec<_> = (0..load.connections).map(|_| tokio::spawn(work(load.clone(), next.clone()))).collect();
    let (mut times, mut errors) = (Vec::new(), 0);
    for worker in workers {
        let (took, failed) = worker.await?;
        times.extend(took);
        errors += failed;
    }
    let elapsed = started.elapsed();
    times.sort_unstable();
    let at =
        |share: f64| times.get((times.len() as f64 * share) as usize).map_or(0.0, |took| took.as_secs_f64() * 1000.0);
    println!(
        "{{\"mode\":\"{:?}\",\"done\":{},\"errors\":{errors},\"per_second\":{:.0},\"p50_ms\":{:.2},\"p99_ms\":{:.2}}}",
        load.mode,
        times.len(),
        times.len() as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99)
    );
    Ok(())
}

impl Load {
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mode = match args.next().as_deref() {
            Some("logins") => Mode::Logins,
            Some("deliver") => Mode::Deliver,
            _ => bail!(
                "usage: storm logins|deliver --at ADDR [--user PATTERN] [--users N] [--password PW] [--bytes N] [--connections N] [--count N]"
            ),
        };
        let mut load = Self {
            mode,
            at: SocketAddr::from(([127, 0, 0, 1], 0)),
            user: "user%d@example.org".into(),
            users: 10,
            password: String::new(),
            bytes: 4096,
            connections: 20,
            count: 1000,
        };
        while let Some(flag) = args.next() {
            let value = args.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--at" => load.at = value.parse()?,
                "--user" => load.user = value,
                "--users" => load.users = value.parse()?,
                "--password" => load.password = value,
                "--bytes" => load.bytes = value.parse()?,
                "--connections" => load.connections = value.parse()?,
                "--count" => load.count = value.parse()?,
                other => bail!("unknown flag {other}"),
            }
        }
        ensure!(load.at.port() != 0, "--at ADDR:PORT is missing");
        Ok(load)
    }

    fn user(&self, turn: usize) -> String {
        self.user.replace("%d", &(turn % self.users + 1).to_string())
    }

    fn message(&self, turn: usize) -> Vec<u8> {
        let mut text = format!(
            "From: <storm@example.net>\r\nSubject: storm {turn}\r\nMessage-ID: <storm-{turn}@example.net>\r\n\r\n"
        )
        .into_bytes();
        while text.len() < self.bytes {
            text.extend_from_slice(b"All work and no play makes a mail server a dull thing to measure at night.\r\n");
        }
        text.extend_from_slice(b".\r\n");
        text
    }
}

async fn work(load: Arc<Load>, next: Arc<AtomicUsize>) -> (Vec<Duration>, usize) {
    let (mut times, mut errors) = (Vec::new(), 0);
    let mut line = None;
    loop {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        if turn >= load.count {
            return (times, errors);
        }
        let started = Instant::now();
        let outcome = match load.mode {
            Mode::Logins => log_in(&load, turn).await,
            Mode::Deliver => deliver(&load, turn, &mut line).await,
        };
        match outcome {
            Ok(()) => times.push(started.elapsed()),
            Err(error) => {
                if errors == 0 {
                    eprintln!("first error: {error:#}");
                }
                errors += 1;
                line = None;
            }
        }
    }
}

type Line = BufReader<TcpStream>;

async fn connect(load: &Load) -> Result<Line> {
    let tcp = timeout(STEP_DEADLINE, TcpStream::connect(load.at)).await??;
    tcp.set_nodelay(true)?;
    Ok(BufReader::new(tcp))
}

async fn read_line(line: &mut Line) -> Result<String> {
    let mut text = String::new();
    let read = timeout(STEP_DEADLINE, line.read_line(&mut text)).await??;
    ensure!(read > 0, "the server closed the connection");
    Ok(text)
}

/// Connect, greeting, LOGIN, OK, LOGOUT, BYE.
async fn log_in(load: &Load, turn: usize) -> Result<()> {
    let mut line = connect(load).await?;
    ensure!(read_line(&mut line).await?.starts_with("* OK"), "no greeting");
    let command = format!("a LOGIN \"{}\" \"{}\"\r\n", load.user(turn), load.password);
    line.get_mut().write_all(command.as_bytes()).await?;
    expect_tagged(&mut line, "a ").await?;
    line.get_mut().write_all(b"b LOGOUT\r\n").await?;
    expect_tagged(&mut line, "b ").await
}

async fn expect_tagged(line: &mut Line, tag: &str) -> Result<()> {
    loop {
        let text = read_line(line).await?;
        if let Some(rest) = text.strip_prefix(tag) {
            ensure!(rest.starts_with("OK"), "refused: {}", text.trim_end());
            return Ok(());
        }
    }
}

/// One LMTP transaction on a connection that is kept.
async fn deliver(load: &Load, turn: usize, kept: &mut Option<Line>) -> Result<()> {
    if kept.is_none() {
        let mut line = connect(load).await?;
        expect_code(&mut line, "220").await?;
        line.get_mut().write_all(b"LHLO storm.example.net\r\n").await?;
        expect_code(&mut line, "250").await?;
        *kept = Some(line);
    }
    let Some(line) = kept else { bail!("no connection") };
    let envelope = format!("MAIL FROM:<storm@example.net>\r\nRCPT TO:<{}>\r\nDATA\r\n", load.user(turn));
    line.get_mut().write_all(envelope.as_bytes()).await?;
    expect_code(line, "250").await?;
    expect_code(line, "250").await?;
    expect_code(line, "354").await?;
    line.get_mut().write_all(&load.message(turn)).await?;
    expect_code(line, "250").await
}

async fn expect_code(line: &mut Line, code: &str) -> Result<()> {
    loop {
        let text = read_line(line).await?;
        ensure!(text.starts_with(code), "expected {code}, got: {}", text.trim_end());
        if text.as_bytes().get(3) == Some(&b' ') {
            return Ok(());
        }
    }
}
