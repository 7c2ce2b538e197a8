//! The directory is frozen, killed, silent, talks rubbish and comes back, while people log in and mail arrives.
//!
//! What is known goes on working, however old it is; what is not known is put off with a temporary error. Nothing is
//! bounced, nothing reaches the wrong account, and nobody has to restart anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use integration_tests::{
    client::{Imap, Pop3, Smtp, http},
    storm::Storm,
    up::{Shape, Up},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

/// A bound on every wait, not an expectation.
const PATIENCE: Duration = Duration::from_secs(60);

/// Accounts that were used before the outage, and one that was not.
const KNOWN: u32 = 4;
const STRANGER: u32 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_directory_loses_bounces_and_misroutes_nothing() -> Result<()> {
    let shape = Shape { accounts: STRANGER, restart_after: "2", ..Shape::default() };
    let mut up = Up::start_as(shape).await?;
    let known: Vec<String> = (1..=KNOWN).map(|number| up.account(number)).collect();
    let storm = Storm::begin(up.router()?.smtp()?, &known, 2);
    storm.until(20).await?;
    for account in &known {
        Imap::login(up.router()?.imap()?, account, up.password()).await?;
    }
    let knocking = Knocking::begin(up.router()?.smtp()?, known[0].clone(), up.account(STRANGER));

    let pid = Pid::from_raw(up.endpoints.directory.pid.context("a directory of our own")?).context("a process id")?;
    kill_process(pid, Signal::STOP)?;
    endures(&up, &storm, "frozen").await?;
    kill_process(pid, Signal::KILL)?;

    // The port is held, so that what `up` starts again does not get it; nobody listens.
    let held = hold(up.endpoints.directory.ldap).await?;
    endures(&up, &storm, "killed").await?;
    // What a router knew outlives it.
    let router = up.router()?.clone();
    up.terminate(&router.name)?;
    up.wait_restarted(&router.name, router.pid).await?;
    endures(&up, &storm, "killed, and the router begins anew").await?;

    held.set_reuseaddr(true)?;
    let impostor = Impostor::begin(held.listen(64)?);
    endures(&up, &storm, "silent").await?;
    impostor.talks.store(true, Ordering::Relaxed);
    endures(&up, &storm, "talking rubbish").await?;

    drop(impostor);
    recovers(&up).await?;
    knocking.end().await?;
    let ledger = storm.end().await;
    println!("  {} deliveries acknowledged, {} put off", ledger.len(), ledger.failed());
    ledger.check(&up, PATIENCE).await
}

/// What must hold while the directory does not answer.
async fn endures(up: &Up, storm: &Storm, how: &str) -> Result<()> {
    until_degraded(up, true).await?;
    let begin = Instant::now();
    let router = up.router()?;
    for number in 1..=KNOWN {
        Imap::login(router.imap()?, &up.account(number), up.password()).await.with_context(|| how.to_owned())?;
    }
    // Right as rain, so wrong passwords are wrong.
    let mut imap = Imap::connect(router.imap()?).await?;
    let refused = imap.command(&format!("LOGIN {} wrong", up.account(1))).await?;
    ensure!(refused.tagged.starts_with("NO "), "{how}: {}", refused.tagged);
    storm.until(storm.ledger.len() + 10).await?;

    for name in [up.account(STRANGER), format!("nobody@{}", up.endpoints.domain)] {
        let mut imap = Imap::connect(router.imap()?).await?;
        let answer = imap.command(&format!("LOGIN {name} \"{}\"", up.password())).await?;
        ensure!(answer.tagged.starts_with("NO [UNAVAILABLE]"), "{how}: IMAP {}", answer.tagged);
        let mut pop3 = Pop3::connect(router.pop3()?).await?;
        pop3.ok(&format!("USER {name}")).await?;
        let answer = pop3.command(&format!("PASS {}", up.password())).await?;
        ensure!(answer.starts_with("-ERR [SYS/TEMP]"), "{how}: POP3 {answer}");
        for mut smtp in [Smtp::connect(router.smtp()?).await?, Smtp::connect_lmtp(router.lmtp()?).await?] {
            smtp.command("MAIL FROM:<outage@example.net>").await?;
            let reply = smtp.command(&format!("RCPT TO:<{name}>")).await?;
            ensure!(reply.code == 451 && reply.text.starts_with("4.3.0"), "{how}: RCPT {reply:?}");
        }
    }
    println!("  {how}: all of it answered within {:?}", begin.elapsed());
    Ok(())
}

/// The directory is back: strangers are let in, and "unknown" is said again.
async fn recovers(up: &Up) -> Result<()> {
    until_degraded(up, false).await?;
    let stranger = up.account(STRANGER);
    let begin = Instant::now();
    while Imap::login(up.router()?.imap()?, &stranger, up.password()).await.is_err() {
        ensure!(begin.elapsed() < PATIENCE, "{stranger} cannot log in after the outage; {}", up.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut smtp = Smtp::connect(up.router()?.smtp()?).await?;
    smtp.command("MAIL FROM:<outage@example.net>").await?;
    let reply = smtp.command(&format!("RCPT TO:<nobody@{}>", up.endpoints.domain)).await?;
    ensure!(reply.code == 550, "{reply:?}");
    Ok(())
}

async fn until_degraded(up: &Up, is_so: bool) -> Result<()> {
    let wanted = format!("laniakea_router_directory_degraded {}", u8::from(is_so));
    let begin = Instant::now();
    loop {
        let metrics = http::get(up.router()?.metrics, "/metrics").await?.body;
        if metrics.lines().any(|line| line == wanted) {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            bail!("no `{wanted}` in the metrics of the router; {}", up.logs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Takes the directory's port before `up` starts it again.
async fn hold(address: SocketAddr) -> Result<TcpSocket> {
    let begin = Instant::now();
    loop {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        if socket.bind(address).is_ok() {
            // Not to be shared with what `up` starts; what its connections left behind was no obstacle.
            socket.set_reuseaddr(false)?;
            return Ok(socket);
        }
        ensure!(begin.elapsed() < PATIENCE, "the directory's port does not become free");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Somebody who answers in the directory's place: not at all, or with rubbish.
struct Impostor {
    talks: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Impostor {
    fn begin(listener: TcpListener) -> Self {
        let talks = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(Self::answer(listener, Arc::clone(&talks)));
        Self { talks, task }
    }

    async fn answer(listener: TcpListener, talks: Arc<AtomicBool>) {
        let mut clients = tokio::task::JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let talks = Arc::clone(&talks);
            clients.spawn(async move { Self::chat(client, &talks).await });
        }
    }

    async fn chat(mut client: TcpStream, talks: &AtomicBool) -> std::io::Result<()> {
        // A message that never ends, one of no known kind, one whose length is absurd, and no BER at all.
        let rubbish: [&[u8]; 4] = [
            b"\x30\x84\x7f\xff\xff\xff\x02\x01\x01",
            b"\x30\x07\x02\x01\x01\x7e\x02\x0a\x00",
            b"\x30\x8f\xff\xff\xff\xff\xff\xff\xff",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
        ];
        let mut question = [0; 4096];
        for answer in rubbish.iter().cycle() {
            if client.read(&mut question).await? == 0 {
                break;
            }
            if talks.load(Ordering::Relaxed) {
                client.write_all(answer).await?;
            }
        }
        Ok(())
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A sender that goes on asking for a known account, and for one that exists and is not known. Neither ever hears "no".
struct Knocking {
    over: Arc<AtomicBool>,
    task: JoinHandle<Result<()>>,
}

impl Knocking {
    fn begin(smtp: SocketAddr, known: String, stranger: String) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let over = Arc::clone(&over);
            async move {
                let mut answers = BTreeMap::new();
                while !over.load(Ordering::Relaxed) {
                    // A router that begins anew has no answer.
                    if let Ok(replies) = Self::knock(smtp, [&known, &stranger]).await {
                        for (name, code) in [&known, &stranger].into_iter().zip(replies) {
                            ensure!(code == 250 || code == 451, "RCPT TO:<{name}>: {code}");
                            *answers.entry((name.clone(), code)).or_insert(0) += 1;
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                println!("  answers to RCPT: {answers:?}");
                ensure!(answers.contains_key(&(stranger, 451)), "nobody knocked during the outage");
                ensure!(!answers.contains_key(&(known, 451)), "a known route was not used");
                Ok(())
            }
        });
        Self { over, task }
    }

    /// Asks for both; the codes of the replies.
    async fn knock(smtp: SocketAddr, names: [&str; 2]) -> Result<[u16; 2]> {
        let mut smtp = Smtp::connect(smtp).await?;
        smtp.command("MAIL FROM:<knock@example.net>").await?;
        let mut codes = [0; 2];
        for (code, name) in codes.iter_mut().zip(names) {
            *code = smtp.command(&format!("RCPT TO:<{name}>")).await?.code;
        }
        Ok(codes)
    }

    async fn end(self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        self.task.await?
    }
}
