//! Mail between clusters: what one cluster cannot take now waits in another's queue, and LMTP answers for each recipient.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration_tests::{
    client::{Imap, Smtp},
    storm::{Ledger, Storm},
    up::{Shape, Up},
};

/// How long mail may wait in a queue: the quick retries come after 1, 5 and 30 seconds, the next after five minutes.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_whole_cluster_is_killed_and_its_mail_waits_elsewhere() -> Result<()> {
    let up = Up::start_as(Shape { restart_after: "3", ..Shape::default() }).await?;
    let storm = Storm::begin(up.router()?.smtp()?, &up.accounts(), 3);
    storm.until(60).await?;
    for member in up.members(1)?.to_vec() {
        up.kill(&member.name)?;
    }
    storm.until(storm.ledger.len() + 100).await?;
    storm.end().await.check(&up, PATIENCE).await
}

#[tokio::test]
async fn the_member_that_queued_the_mail_is_killed_too() -> Result<()> {
    let mut up = Up::start_as(Shape { restart_after: "8", ..Shape::default() }).await?;
    for member in up.members(1)?.to_vec() {
        up.kill(&member.name)?;
    }
    let ledger = Ledger::default();
    let accounts = up.accounts();
    let everybody: Vec<&str> = accounts.iter().map(String::as_str).collect();
    let mut smtp = Smtp::connect(up.router()?.smtp()?).await?;
    for _ in 0..20 {
        ledger.deliver(&mut smtp, &everybody).await?;
    }
    ensure!(ledger.len() == 20 * accounts.len(), "only {} deliveries were acknowledged", ledger.len());
    // The mail of cluster one is in the shards of both members of cluster two. One of them dies before the other cluster
    // is back; the other one goes on with its shards.
    let (first, second) = (up.members(1)?[0].clone(), up.members(2)?[0].clone());
    up.kill(&second.name)?;
    up.wait_restarted(&first.name, first.pid).await?;
    ledger.check(&up, PATIENCE).await
}

#[tokio::test]
async fn lmtp_answers_for_each_recipient_and_a_dead_cluster_costs_only_its_own() -> Result<()> {
    let up = Up::start().await?;
    let router = up.router()?.lmtp()?;
    let accounts = up.accounts();
    let nobody = accounts[0].replace("user1@", "nobody@");
    let recipients = [accounts[1].as_str(), nobody.as_str(), "someone@elsewhere.example", accounts[0].as_str()];
    let mut lmtp = Smtp::connect_lmtp(router).await?;
    let mail = lmtp.mail("a@example.net", &recipients, b"Subject: one\r\n\r\n.\r\n..\r\n").await?;
    let codes: Vec<u16> = mail.recipients.iter().map(|reply| reply.code).collect();
    ensure!(codes == [250, 550, 550, 250], "{:?}", mail.recipients);
    ensure!(mail.recipients[1].text.starts_with("5.1.1") && mail.recipients[2].text.starts_with("5.7.1"));
    ensure!(mail.data.iter().all(|reply| reply.code == 250) && mail.data.len() == 2, "{:?}", mail.data);
    for account in &accounts[..2] {
        let mut imap = Imap::login(up.router()?.imap()?, account, up.password()).await?;
        let subjects = imap.header_fields("INBOX", "Subject").await?;
        ensure!(subjects == ["one"], "{account}: {subjects:?}");
    }
    let homes = [home(&up, &accounts[0])?, home(&up, &accounts[1])?];
    ensure!(homes[0] != homes[1], "both accounts live in {}", homes[0]);
    for member in up.members(2)?.to_vec() {
        up.kill(&member.name)?;
    }
    let begin = Instant::now();
    let mail = lmtp.mail("a@example.net", &[&accounts[0], &accounts[1]], b"Subject: two\r\n\r\nx\r\n").await?;
    let codes: Vec<u16> = mail.data.iter().map(|reply| reply.code).collect();
    let expected = homes.each_ref().map(|home| if home == "cluster-2" { 451 } else { 250 });
    ensure!(codes == expected, "{codes:?} for accounts of {homes:?}");
    println!("  one cluster down: both replies after {:?}", begin.elapsed());
    Ok(())
}

/// The cluster an account's owner belongs to.
fn home(up: &Up, account: &str) -> Result<String> {
    let owner = up.owner(account)?.unwrap_or_default();
    Ok(owner.rsplit_once('-').map_or_else(String::new, |(cluster, _)| cluster.to_owned()))
}
