//! `kill -9`, of each role and of all: what was acknowledged is there, nothing is there twice.
//!
//! Times are printed, not asserted: they say more about the machine than about the program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration_tests::{
    client::{Imap, Smtp},
    storm::Storm,
    up::{Endpoint, Shape, Up},
};

/// How long mail for another cluster may wait in a queue whose owner was killed.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_owner_is_killed_while_a_client_reads() -> Result<()> {
    let up = Up::start().await?;
    let account = up.account(1);
    let storm = Storm::begin(up.router()?.smtp()?, &up.accounts(), 3);
    storm.until(60).await?;
    let mut reader = Imap::login(up.router()?.imap()?, &account, up.password()).await?;
    reader.ok("SELECT INBOX").await?;
    reader.ok("FETCH 1:* (BODY.PEEK[])").await?;
    let owner = up.owner(&account)?.expect("an owner");
    up.kill(&owner)?;
    let again = until_login(&up, &account).await?;
    println!("  owner killed: next login after {again:?}");
    ensure!(up.owner(&account)?.is_some_and(|name| name != owner), "the dead member still owns the account");
    storm.until(storm.ledger.len() + 60).await?;
    storm.end().await.check(&up, PATIENCE).await
}

#[tokio::test]
async fn the_owner_is_frozen_during_a_storm_and_wakes_up_fenced() -> Result<()> {
    let mut up = Up::start_as(Shape { restart_after: "1", ..Shape::default() }).await?;
    let account = up.account(1);
    let storm = Storm::begin(up.router()?.smtp()?, &up.accounts(), 3);
    storm.until(60).await?;
    until_login(&up, &account).await?;
    let owner = up.process(&up.owner(&account)?.expect("an owner"))?.clone();
    up.freeze(&owner.name, true)?;
    let again = until_login(&up, &account).await?;
    println!("  owner frozen: next login after {again:?}");
    storm.until(storm.ledger.len() + 60).await?;
    // It was fenced while it slept: it must drop everything, end, and begin anew.
    up.freeze(&owner.name, false)?;
    up.wait_restarted(&owner.name, owner.pid).await?;
    storm.until(storm.ledger.len() + 60).await?;
    storm.end().await.check(&up, PATIENCE).await
}

/// The owner of an account is frozen while somebody waits for the reply to a message: before its end has come, right behind
/// it, and when the message may be written already. The sender gets the word of another member, and there is one copy, also
/// when the first one has woken up.
#[tokio::test]
async fn the_owner_is_frozen_with_a_message_in_hand() -> Result<()> {
    let mut up = Up::start_as(Shape { clusters: 1, restart_after: "1", ..Shape::default() }).await?;
    let account = up.account(1);
    let mut subjects = Vec::new();
    for milliseconds in [None, Some(0), Some(1), Some(4)] {
        until_login(&up, &account).await?;
        let owner = up.process(&up.owner(&account)?.expect("an owner"))?.clone();
        let mut smtp = Smtp::connect(up.router()?.smtp()?).await?;
        let subject = format!("frozen at {milliseconds:?}");
        begin_message(&mut smtp, &[&account], &subject).await?;
        if milliseconds.is_none() {
            up.freeze(&owner.name, true)?;
        }
        smtp.connection.send_line(".").await?;
        if let Some(milliseconds) = milliseconds {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            up.freeze(&owner.name, true)?;
        }
        let begin = Instant::now();
        let reply = smtp.reply().await?;
        println!("  {subject}: {} after {:?}", reply.code, begin.elapsed());
        ensure!(reply.code == 250, "{reply:?}");
        subjects.push(subject);
        wake_up_fenced(&mut up, &account, &owner).await?;
    }
    let mut imap = Imap::login(up.router()?.imap()?, &account, up.password()).await?;
    let found = imap.header_fields("INBOX", "Subject").await?;
    ensure!(found == subjects, "{found:?} instead of {subjects:?}");
    Ok(())
}

/// The same between members: the one that has the message from the router passes it on to an owner that is frozen then.
#[tokio::test]
async fn an_owner_is_frozen_while_a_fellow_waits_for_its_reply() -> Result<()> {
    let mut up = Up::start_as(Shape { clusters: 1, restart_after: "1", ..Shape::default() }).await?;
    let [near, far] = [up.account(1), up.account(2)];
    until_login(&up, &near).await?;
    let host = up.owner(&near)?.expect("an owner");
    let fellow = up.members(1)?.iter().find(|member| member.name != host).expect("a fellow").clone();
    let mut imap = Imap::login(fellow.imap()?, &far, up.password()).await?;
    imap.ok("SELECT INBOX").await?;
    ensure!(up.owner(&far)?.as_deref() == Some(fellow.name.as_str()));
    let mut lmtp = Smtp::connect_lmtp(up.router()?.lmtp()?).await?;
    begin_message(&mut lmtp, &[&near, &far], "passed on").await?;
    lmtp.connection.send_line(".").await?;
    // About as long as it takes to be passed on.
    tokio::time::sleep(Duration::from_millis(2)).await;
    up.freeze(&fellow.name, true)?;
    for _ in 0..2 {
        let reply = lmtp.reply().await?;
        ensure!(reply.code == 250, "{reply:?}");
    }
    wake_up_fenced(&mut up, &far, &fellow).await?;
    for account in [near, far] {
        let mut imap = Imap::login(up.router()?.imap()?, &account, up.password()).await?;
        let found = imap.header_fields("INBOX", "Subject").await?;
        ensure!(found == ["passed on"], "{account}: {found:?}");
    }
    Ok(())
}

/// Sends a message but for its end.
async fn begin_message(smtp: &mut Smtp, recipients: &[&str], subject: &str) -> Result<()> {
    let rcpts = recipients.iter().map(|recipient| format!("RCPT TO:<{recipient}>"));
    let commands = ["MAIL FROM:<a@example.net>".to_owned()].into_iter().chain(rcpts).chain(["DATA".to_owned()]);
    for command in commands {
        let reply = smtp.command(&command).await?;
        ensure!(reply.code < 400, "{command}: {reply:?}");
    }
    smtp.connection.send(format!("Subject: {subject}\r\n\r\nbody\r\n").as_bytes()).await
}

/// Thaws a member once somebody else has the account: it was fenced, and must drop what it has in hand.
async fn wake_up_fenced(up: &mut Up, account: &str, member: &Endpoint) -> Result<()> {
    until_login(up, account).await?;
    up.freeze(&member.name, false)?;
    up.wait_restarted(&member.name, member.pid).await
}

#[tokio::test]
async fn the_controller_is_killed() -> Result<()> {
    let up = Up::start_as(Shape { clusters: 1, members: 3, ..Shape::default() }).await?;
    let storm = Storm::begin(up.router()?.smtp()?, &up.accounts(), 3);
    storm.until(60).await?;
    let controller = up.controller(1)?;
    let (mut kept, mut own) = (0, 0);
    let mut sessions = Vec::new();
    for account in up.accounts() {
        let mut imap = Imap::login(up.router()?.imap()?, &account, up.password()).await?;
        imap.ok("SELECT INBOX").await?;
        sessions.push((up.owner(&account)?.expect("an owner"), imap));
    }
    up.kill(&controller)?;
    let mut slowest = Duration::ZERO;
    for account in up.accounts() {
        slowest = slowest.max(until_login(&up, &account).await?);
    }
    println!("  controller killed: slowest next login after {slowest:?}");
    for (owner, mut imap) in sessions {
        if owner == controller {
            own += 1;
        } else {
            // Loss of the controller never stops an owner.
            imap.ok("NOOP").await?;
            imap.ok("STORE 1 +FLAGS (\\Answered)").await?;
            kept += 1;
        }
    }
    println!("  {kept} sessions went on, {own} ended with their owner");
    ensure!(up.controller(1)? != controller);
    storm.until(storm.ledger.len() + 60).await?;
    storm.end().await.check(&up, PATIENCE).await
}

#[tokio::test]
async fn the_router_and_a_member_are_killed_at_once_and_start_again() -> Result<()> {
    let mut up = Up::start_as(Shape { restart_after: "1", ..Shape::default() }).await?;
    let storm = Storm::begin(up.router()?.smtp()?, &up.accounts(), 3);
    storm.until(60).await?;
    let (router, member) = (up.router()?.clone(), up.members(1)?[0].clone());
    up.kill(&router.name)?;
    up.kill(&member.name)?;
    let begin = Instant::now();
    up.wait_restarted(&router.name, router.pid).await?;
    up.wait_restarted(&member.name, member.pid).await?;
    println!("  router and member killed: both ready again after {:?} (of which 1 s delay)", begin.elapsed());
    storm.until(storm.ledger.len() + 60).await?;
    storm.end().await.check(&up, PATIENCE).await
}

#[tokio::test]
async fn everything_is_killed_during_a_storm_and_starts_again() -> Result<()> {
    let mut up = Up::start().await?;
    let storm = Storm::begin(up.router()?.smtp()?, &up.accounts(), 4);
    storm.until(200).await?;
    up.kill_everything()?;
    let ledger = storm.end().await;
    let begin = Instant::now();
    up.start_again().await?;
    println!("  everything killed: all ready after {:?}", begin.elapsed());
    ledger.check(&up, PATIENCE).await?;
    // And once more, on top of what is there.
    let count = ledger.len() + 200;
    let storm = Storm::go_on(ledger, up.router()?.smtp()?, &up.accounts(), 4);
    storm.until(count).await?;
    up.kill_everything()?;
    let ledger = storm.end().await;
    up.start_again().await?;
    ledger.check(&up, PATIENCE).await
}

/// Tries to log in until it works, and says how long that took.
async fn until_login(up: &Up, account: &str) -> Result<Duration> {
    let begin = Instant::now();
    loop {
        let login = Imap::login(up.router()?.imap()?, account, up.password());
        let tried = async {
            let mut imap = login.await?;
            imap.ok("SELECT INBOX").await
        };
        match tried.await {
            Ok(_) => return Ok(begin.elapsed()),
            Err(error) => ensure!(begin.elapsed() < PATIENCE, "{account} cannot log in: {error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
