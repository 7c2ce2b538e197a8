//! The front door while it is worked on: certificates that change, routers that are replaced, sessions that stay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    client::Imap,
    tool,
    up::{Shape, Up, is_alive, program},
};
use laniakea_config::Config;
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to do what a signal tells it.
const DEADLINE: Duration = Duration::from_secs(30);

/// The certificate that a client of `host` is shown, as OpenSSL sees it.
fn shown(openssl: &Path, address: SocketAddr, host: &str) -> Result<String> {
    let address = address.to_string();
    let mut command = Command::new(openssl);
    command.args(["s_client", "-connect", &address, "-servername", host]).stdin(Stdio::null());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let (_, rest) = said.split_once(begin).with_context(|| format!("no certificate: {said}"))?;
    Ok(rest.split_once(end).context("a certificate without an end")?.0.split_whitespace().collect())
}

/// Writes a certificate for `host` and its key; returns what clients are to see of it.
fn make(folder: &Path, host: &str) -> Result<String> {
    let made = rcgen::generate_simple_self_signed([host.to_owned()])?;
    fs::write(folder.join(format!("{host}.pem")), made.cert.pem())?;
    fs::write(folder.join(format!("{host}.key")), made.signing_key.serialize_pem())?;
    Ok(made.cert.pem().lines().filter(|line| !line.starts_with("-----")).collect())
}

async fn until_shown(openssl: &Path, address: SocketAddr, host: &str, expected: &str) -> Result<()> {
    let waiting = async {
        while shown(openssl, address, host)? != expected {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    tokio::time::timeout(DEADLINE, waiting).await.with_context(|| format!("{host} is not shown its certificate"))?
}

#[tokio::test]
async fn certificates_change_on_sighup_and_sessions_stay() -> Result<()> {
    let Some(openssl) = tool::find("openssl", "openssl")? else { return Ok(()) };
    let up = Up::start_as(Shape { clusters: 1, members: 1, accounts: 1, ..Shape::default() }).await?;
    let router = up.router()?;
    let imaps = router.imaps.context("no imaps")?;
    let default = shown(&openssl, imaps, "mail.example.net")?;
    let mut session = Imap::login(router.imap()?, &up.account(1), up.password()).await?;

    let tls = up.data().join("tls");
    let made = make(&tls, "mail.example.net")?;
    let text = fs::read_to_string(up.config())?;
    let others = "  others:\n    - {certificate_file: tls/mail.example.net.pem, key_file: tls/mail.example.net.key}\n";
    let key = text.lines().find(|line| line.trim_start().starts_with("key_file: tls/")).context("no key_file")?;
    fs::write(up.config(), text.replacen(&format!("{key}\n"), &format!("{key}\n{others}"), 1))?;
    up.hang_up(&router.name)?;
    until_shown(&openssl, imaps, "mail.example.net", &made).await?;
    ensure!(shown(&openssl, imaps, "mail.example.org")? == default);

    // One file is new and whole, the other is not: nothing changes.
    make(&tls, "mail.example.net")?;
    let server = fs::read(tls.join("server.pem"))?;
    fs::write(tls.join("server.pem"), "not yet written")?;
    up.hang_up(&router.name)?;
    let log = || fs::read_to_string(up.data().join(format!("logs/{}.log", router.name)));
    let waiting = async {
        while !log()?.contains("the old ones stay") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::time::timeout(DEADLINE, waiting).await??;
    ensure!(shown(&openssl, imaps, "mail.example.net")? == made);
    ensure!(shown(&openssl, imaps, "mail.example.org")? == default);

    // The same, mended.
    fs::write(tls.join("server.pem"), server)?;
    let renewed = make(&tls, "mail.example.net")?;
    up.hang_up(&router.name)?;
    until_shown(&openssl, imaps, "mail.example.net", &renewed).await?;
    session.command("NOOP").await?;

    // The embedded directory does the same with the certificate it has.
    let config = Config::load(&up.config()).map_err(|faults| anyhow::anyhow!("{faults}"))?;
    let ldaps = config.directory.embedded.and_then(|embedded| embedded.listen_tls).context("no LDAPS")?;
    ensure!(shown(&openssl, ldaps, "localhost")? == default);
    fs::copy(tls.join("mail.example.net.pem"), tls.join("server.pem"))?;
    fs::copy(tls.join("mail.example.net.key"), tls.join("server.key"))?;
    let directory = up.endpoints.directory.pid.and_then(Pid::from_raw).context("no directory")?;
    kill_process(directory, Signal::HUP)?;
    until_shown(&openssl, ldaps, "localhost", &renewed).await?;
    Ok(())
}

/// A router that is killed with the value.
struct Successor(Child);

impl Successor {
    /// Starts a router in the place of the one that runs.
    fn start(up: &Up, name: &str) -> Result<Self> {
        Self::spawn(up, name, Command::new(program()?))
    }

    /// The same, with few files to open.
    fn start_with_descriptors(up: &Up, name: &str, count: usize) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {count}; exec \"$0\" \"$@\"")]).arg(program()?);
        Self::spawn(up, name, shell)
    }

    fn spawn(up: &Up, name: &str, mut command: Command) -> Result<Self> {
        let log = fs::OpenOptions::new().append(true).create(true).open(up.data().join("logs/successors.log"))?;
        command.args(["router", "--name", name, "--replace", "--config"]).arg(up.config());
        Ok(Self(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?))
    }

    fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_some_and(|status| status.success()))
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many of the lines in the routers' logs say this.
fn told(up: &Up, what: &str) -> Result<usize> {
    let mut text = fs::read_to_string(up.data().join("logs/router-1.log"))?;
    text += &fs::read_to_string(up.data().join("logs/successors.log")).unwrap_or_default();
    Ok(text.lines().filter(|line| line.contains(what)).count())
}

async fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let waiting = async {
        while !is_so()? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(DEADLINE, waiting).await.with_context(|| what.to_owned())?
}

#[tokio::test]
async fn a_router_is_replaced_under_load_and_nobody_is_refused() -> Result<()> {
    const CLIENTS: u32 = 8;
    const ROUNDS: usize = 3;
    let up = Up::start_as(Shape { clusters: 1, members: 1, accounts: CLIENTS, ..Shape::default() }).await?;
    let router = up.router()?;
    let (imap, first) = (router.imap()?, router.pid);
    let (stop, logins) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for number in 1..=CLIENTS {
        let (account, password) = (up.account(number), up.password().to_owned());
        let (stop, logins) = (stop.clone(), logins.clone());
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // A connection that is refused, reset, or ended before it has said LOGOUT fails the test.
                let mut session = Imap::login(imap, &account, &password).await?;
                session.ok("NOOP").await?;
                session.ok("LOGOUT").await?;
                logins.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    let mut open = vec![Imap::login(imap, &up.account(1), up.password()).await?];
    let mut successors = Vec::new();
    for round in 1..=ROUNDS {
        successors.push(Successor::start(&up, &router.name)?);
        until("no successor takes over", || Ok(told(&up, "a successor accepts")? == round)).await?;
        // Of the new one, and with some work done by it.
        let before = logins.load(Ordering::Relaxed);
        until("nobody logs in any more", || Ok(logins.load(Ordering::Relaxed) > before + 20 || clients.is_empty()))
            .await?;
        open.push(Imap::login(imap, &up.account(1), up.password()).await?);
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = clients.join_next().await {
        done?.context("a client noticed")?;
    }
    // Every session is still where it was, and its router with it.
    ensure!(is_alive(first));
    for session in &mut open {
        session.ok("NOOP").await?;
    }
    let last = open.pop().context("no session")?;
    for mut session in open {
        session.ok("LOGOUT").await?;
    }
    let mut current = successors.pop().context("no successor")?;
    until("a router does not end after its last session", || {
        let have_ended = successors.iter_mut().map(Successor::has_ended).collect::<Result<Vec<_>>>()?;
        Ok(!is_alive(first) && have_ended.into_iter().all(|ended| ended))
    })
    .await?;
    says_goodbye(&mut current, last).await
}

/// A router that is told to end says so to a client that is between two commands, and ends.
async fn says_goodbye(router: &mut Successor, mut session: Imap) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(router.0.id().cast_signed()).context("no process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let line = session.connection.line().await?;
    ensure!(line.starts_with(b"* BYE"), "{}", String::from_utf8_lossy(&line));
    session.connection.until_closed(DEADLINE).await?;
    until("the router does not end", || router.has_ended()).await
}

#[tokio::test]
async fn a_flood_beyond_the_descriptors_pauses_and_nothing_dies() -> Result<()> {
    const DESCRIPTORS: usize = 256;
    let up = Up::start_as(Shape { clusters: 1, members: 1, accounts: 1, ..Shape::default() }).await?;
    let router = up.router()?;
    let mut small = Successor::start_with_descriptors(&up, &router.name, DESCRIPTORS)?;
    until("no successor takes over", || Ok(told(&up, "a successor accepts")? == 1)).await?;
    let mut session = Imap::login(router.imap()?, &up.account(1), up.password()).await?;
    // Those that find no place wait in the kernel's queue, without a greeting.
    let mut flood = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        flood.push(tokio::net::TcpStream::connect(router.imap()?).await?);
    }
    session.ok("NOOP").await?;
    ensure!(integration_tests::client::http::get(router.metrics, "/readyz").await?.status == 200);
    drop(flood);
    let mut next = Imap::login(router.imap()?, &up.account(1), up.password()).await?;
    next.ok("LOGOUT").await?;
    session.ok("LOGOUT").await?;
    ensure!(!small.has_ended()?);
    Ok(())
}
