//! What was expunged, and mail that has left the queue, is given back to the disk, while a session still shows it and
//! whatever is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use integration_tests::{
    client::Imap,
    up::{Shape, Up},
};

/// Short enough to lie in the log.
const BODY_BYTES: usize = 50_000;
const MESSAGES: usize = 300;
const PATIENCE: Duration = Duration::from_secs(60);

fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(of).sum()
}

#[tokio::test]
async fn expunged_mail_is_given_back_to_the_disk() -> Result<()> {
    let shape = Shape { clusters: 1, members: 2, accounts: 1, restart_after: "1", ..Shape::default() };
    let mut up = Up::start_as(shape).await?;
    let accounts = up.endpoints.clusters[0].storage.join("accounts");
    let account = up.account(1);
    let mut writer = Imap::login(up.router()?.imap()?, &account, up.password()).await?;
    for number in 0..MESSAGES {
        let line = format!("{number:05} {}\r\n", "x".repeat(70));
        let text = format!("Subject: {number}\r\n\r\n{}", line.repeat(BODY_BYTES / line.len()));
        writer.append("INBOX", text.as_bytes()).await?;
    }
    let full = bytes_below(&accounts);
    ensure!(full > (BODY_BYTES * MESSAGES) as u64, "{full} bytes for {MESSAGES} messages");
    writer.ok("SELECT INBOX").await?;
    // It is not told of what the other one expunges, so it may still ask for it.
    let mut reader = Imap::login(up.router()?.imap()?, &account, up.password()).await?;
    reader.ok("SELECT INBOX").await?;
    writer.ok(&format!("STORE 1:{} +FLAGS.SILENT (\\Deleted)", MESSAGES - 10)).await?;
    writer.ok("EXPUNGE").await?;

    let begin = Instant::now();
    while bytes_below(&accounts) > full / 4 {
        ensure!(begin.elapsed() < PATIENCE, "{} of {full} bytes are still there", bytes_below(&accounts));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("  {full} bytes before, {} after", bytes_below(&accounts));
    let kept = reader.ok(&format!("FETCH {MESSAGES} (BODY.PEEK[])")).await?;
    ensure!(kept.text().contains(&format!("{:05} xxx", MESSAGES - 1)), "the last message is another");
    // Its successor finds every message that is left, by its new place.
    let owner = up.process(&up.owner(&account)?.expect("an owner"))?.clone();
    up.kill(&owner.name)?;
    up.wait_restarted(&owner.name, owner.pid).await?;
    let mut again = Imap::login(up.router()?.imap()?, &account, up.password()).await?;
    ensure!(again.ok("SELECT INBOX").await?.exists() == Some(10));
    for place in 1..=10 {
        let text = again.ok(&format!("FETCH {place} (BODY.PEEK[])")).await?.text();
        ensure!(text.contains(&format!("{:05} xxx", MESSAGES - 11 + place)), "message {place} is another");
    }
    Ok(())
}
