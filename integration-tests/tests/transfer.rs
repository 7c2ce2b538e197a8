//! Ownership that moves in order: drained members, rolling restarts, accounts nobody uses, clusters of any size.
//!
//! What fails meanwhile is counted and printed; what was acknowledged must be there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use integration_tests::{
    client::Imap,
    storm::Storm,
    up::{Shape, Up},
};

/// How long mail may wait in a queue that changes hands.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn drained_members_hand_everything_over_and_contradictory_commands_end_in_one_state() -> Result<()> {
    let mut up =
        Up::start_as(Shape { clusters: 1, members: 3, accounts: 12, restart_after: "1", ..Shape::default() }).await?;
    let storm = Storm::begin(up.router()?.smtp()?, &up.accounts(), 3);
    storm.until(100).await?;
    let drained = up.owner(&up.account(1))?.context("an owner")?;

    let begin = Instant::now();
    let said = up.json(&["cluster", "drain", &drained, "--wait"])?;
    println!("  drained during a storm in {:?}: {said}", begin.elapsed());
    ensure!(said["left"] == 0 && said["drained"] == true, "{said}");
    storm.until(storm.ledger.len() + 100).await?;
    for account in up.accounts() {
        until_login(&up, &account).await?;
        ensure!(up.owner(&account)?.is_some_and(|owner| owner != drained), "{account} is at a drained member");
    }
    // A client that reaches the drained member itself is served, elsewhere.
    let mut direct = Imap::login(up.process(&drained)?.imap()?, &up.account(1), up.password()).await?;
    direct.ok("SELECT INBOX").await?;

    // It stays drained when it is killed and starts again.
    let old = up.process(&drained)?.pid;
    up.kill(&drained)?;
    up.wait_restarted(&drained, old).await?;
    let status = up.json(&["cluster", "status"])?;
    ensure!(status["clusters"][0]["drained"] == serde_json::json!([drained]), "{status}");

    contradict(&up, &drained).await?;

    // All at once: they serve nevertheless, and say so.
    let names: Vec<String> = up.members(1)?.iter().map(|member| member.name.clone()).collect();
    for name in &names {
        up.say(&["cluster", "drain", name])?;
    }
    let said = up.say(&["cluster", "status"])?;
    ensure!(said.matches("drained, serves").count() == 3, "{said}");
    let refused = up.laniakea(&["cluster", "drain", &names[0], "--wait"])?;
    ensure!(refused.status.code() == Some(75), "waiting for what cannot end: {refused:?}");
    storm.until(storm.ledger.len() + 100).await?;
    until_login(&up, &up.account(2)).await?;

    let unknown = up.laniakea(&["cluster", "drain", "cluster-1-z"])?;
    ensure!(String::from_utf8_lossy(&unknown.stderr).contains("Did you mean `cluster-1-"), "{unknown:?}");
    for name in &names {
        up.say(&["cluster", "undrain", name])?;
    }
    let said = up.say(&["cluster", "status"])?;
    ensure!(!said.contains("drained"), "{said}");
    storm.end().await.check(&up, PATIENCE).await
}

/// Scripts that contradict each other, through any member: all members agree on what is left.
async fn contradict(up: &Up, member: &str) -> Result<()> {
    std::thread::scope(|scope| {
        for command in ["drain", "undrain", "drain", "undrain"] {
            scope.spawn(move || (0..3).for_each(|_| drop(up.say(&["cluster", command, member]))));
        }
    });
    let begin = Instant::now();
    loop {
        let status = up.json(&["cluster", "status"])?;
        let members = status["clusters"][0]["members"].as_array().context("members")?;
        let opinions: Vec<_> = members.iter().map(|member| &member["status"]["drained"]).collect();
        if opinions.iter().all(|opinion| opinion.is_array() && *opinion == opinions[0]) {
            println!("  after twelve contradictory commands all say: drained {}", opinions[0]);
            break;
        }
        ensure!(begin.elapsed() < PATIENCE, "the members do not agree: {opinions:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    up.say(&["cluster", "undrain", member])?;
    Ok(())
}

#[tokio::test]
async fn every_member_is_restarted_in_turn_while_mail_comes_in_and_clients_log_in() -> Result<()> {
    let mut up =
        Up::start_as(Shape { clusters: 1, members: 3, accounts: 12, restart_after: "1", ..Shape::default() }).await?;
    let storm = Storm::begin(up.router()?.smtp()?, &up.accounts(), 4);
    let logins = Logins::begin(&up, 2)?;
    storm.until(100).await?;
    let members: Vec<(String, i32)> = up.members(1)?.iter().map(|one| (one.name.clone(), one.pid)).collect();
    for (name, old) in &members {
        let begin = Instant::now();
        up.terminate(name)?;
        up.wait_restarted(name, *old).await?;
        println!("  {name}: stopped and ready again after {:?} (of which 1 s delay)", begin.elapsed());
        storm.until(storm.ledger.len() + 50).await?;
    }
    let (good, failed) = logins.end().await;
    println!(
        "  rolling restart: {failed} of {} logins failed, {} deliveries were not accepted at once",
        good + failed,
        storm.ledger.failed()
    );
    ensure!(good > 0, "nobody could log in");
    storm.end().await.check(&up, PATIENCE).await
}

/// Clients that log in, look, and leave, again and again.
struct Logins {
    over: Arc<AtomicBool>,
    counts: Arc<[AtomicUsize; 2]>,
    tasks: tokio::task::JoinSet<()>,
}

impl Logins {
    fn begin(up: &Up, clients: usize) -> Result<Self> {
        let (over, counts) = (Arc::new(AtomicBool::new(false)), Arc::<[AtomicUsize; 2]>::default());
        let mut tasks = tokio::task::JoinSet::new();
        for client in 0..clients {
            let (imap, accounts, password) = (up.router()?.imap()?, up.accounts(), up.password().to_owned());
            let (over, counts) = (over.clone(), counts.clone());
            tasks.spawn(async move {
                for turn in client.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let looked = async {
                        let mut imap = Imap::login(imap, &accounts[turn % accounts.len()], &password).await?;
                        imap.ok("SELECT INBOX").await
                    };
                    counts[usize::from(looked.await.is_err())].fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        Ok(Self { over, counts, tasks })
    }

    /// How many succeeded and how many failed.
    async fn end(mut self) -> (usize, usize) {
        self.over.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        (self.counts[0].load(Ordering::Relaxed), self.counts[1].load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn an_account_nobody_uses_is_given_back_after_the_configured_time() -> Result<()> {
    let mut up = Up::start_as(Shape { clusters: 1, restart_after: "1", ..Shape::default() }).await?;
    let settings = fs::read_to_string(up.config())?;
    let changed = settings.replace("\n    members:", "\n    timing: {idle_release: 1s}\n    members:");
    ensure!(changed != settings, "the file is not as expected: {settings}");
    fs::write(up.config(), changed)?;
    let members: Vec<(String, i32)> = up.members(1)?.iter().map(|one| (one.name.clone(), one.pid)).collect();
    for (name, old) in &members {
        up.terminate(name)?;
        up.wait_restarted(name, *old).await?;
    }
    let account = up.account(1);
    let mut imap = Imap::login(up.router()?.imap()?, &account, up.password()).await?;
    imap.ok("SELECT INBOX").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(up.owner(&account)?.is_some(), "an account was given back under its client");
    imap.ok("NOOP").await?;
    imap.command("LOGOUT").await?;
    let begin = Instant::now();
    while up.owner(&account)?.is_some() {
        ensure!(begin.elapsed() < PATIENCE, "the account is not given back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    until_login(&up, &account).await?;
    Ok(())
}

#[tokio::test]
async fn in_clusters_of_every_size_the_last_member_that_lives_serves_everything() -> Result<()> {
    for members in [1, 2, 3, 5, 8] {
        let accounts = u32::from(members) * 2;
        let mut up = Up::start_as(Shape { clusters: 1, members, accounts, ..Shape::default() }).await?;
        let mut storm = Storm::begin(up.router()?.smtp()?, &up.accounts(), 2);
        storm.until(20).await?;
        let mut slowest = Duration::ZERO;
        for dead in 0..usize::from(members) - 1 {
            // Every other time the controller.
            let alive: Vec<String> = alive(&up)?;
            let victim = if dead % 2 == 0 { up.controller(1)? } else { alive.last().context("a member")?.clone() };
            up.kill(&victim)?;
            for account in up.accounts() {
                slowest = slowest.max(until_login(&up, &account).await?);
            }
            storm.until(storm.ledger.len() + 10).await?;
        }
        ensure!(alive(&up)?.len() == 1, "one member is to be left");
        println!("  {members} members, killed one by one: slowest login {slowest:?}");
        let ledger = storm.end().await;
        ledger.check(&up, PATIENCE).await?;
        up.kill_everything()?;
        up.start_again().await?;
        storm = Storm::go_on(ledger, up.router()?.smtp()?, &up.accounts(), 2);
        storm.until(storm.ledger.len() + 10).await?;
        storm.end().await.check(&up, PATIENCE).await?;
    }
    Ok(())
}

/// The members that answer.
fn alive(up: &Up) -> Result<Vec<String>> {
    let status: serde_json::Value = serde_json::from_slice(&up.laniakea(&["cluster", "status", "--json"])?.stdout)?;
    let members = status["clusters"][0]["members"].as_array().context("members")?;
    let alive = members.iter().filter(|member| member["alive"] == true);
    Ok(alive.filter_map(|member| Some(member["name"].as_str()?.to_owned())).collect())
}

/// Tries to log in until it works, and says how long that took.
async fn until_login(up: &Up, account: &str) -> Result<Duration> {
    let begin = Instant::now();
    loop {
        let tried = async {
            let mut imap = Imap::login(up.router()?.imap()?, account, up.password()).await?;
            imap.ok("SELECT INBOX").await
        };
        match tried.await {
            Ok(_) => return Ok(begin.elapsed()),
            Err(error) => ensure!(begin.elapsed() < PATIENCE, "{account} cannot log in: {error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
