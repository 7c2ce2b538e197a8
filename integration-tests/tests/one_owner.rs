//! One owner: whichever member a client reaches, it sees the same account at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use anyhow::{Result, ensure};
use integration_tests::{
    client::{Imap, http},
    up::{Shape, Up},
};

#[tokio::test]
async fn two_connections_at_two_members_see_each_others_changes_at_once() -> Result<()> {
    let up = Up::start_as(Shape { clusters: 1, members: 3, accounts: 2, ..Shape::default() }).await?;
    let account = up.account(1);
    let members = up.members(1)?;
    let mut first = Imap::login(members[0].imap()?, &account, up.password()).await?;
    let mut second = Imap::login(members[1].imap()?, &account, up.password()).await?;
    first.ok("SELECT INBOX").await?;
    second.ok("SELECT INBOX").await?;

    // A new message is announced inside IDLE.
    let tag = first.idle().await?;
    let appended = second.append("INBOX", b"Subject: hello\r\n\r\nseen at once\r\n").await?;
    ensure!(appended.is_ok() && appended.tagged.contains("APPENDUID"), "{appended:?}");
    let told = loop {
        let line = String::from_utf8(first.response().await?)?;
        if line.ends_with("EXISTS") {
            break line;
        }
    };
    ensure!(told == "* 1 EXISTS", "{told}");
    first.done(&tag).await?;

    // So are flags and expunges, in the other direction.
    first.ok("STORE 1 +FLAGS (\\Flagged)").await?;
    let seen = second.ok("NOOP").await?.text();
    ensure!(seen.contains("FETCH") && seen.contains("\\Flagged"), "{seen}");
    second.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await?;
    second.ok("EXPUNGE").await?;
    let seen = first.ok("NOOP").await?.text();
    ensure!(seen.contains("* 1 EXPUNGE"), "{seen}");

    // And the cluster knows one owner, which is where both sessions are.
    let owner = up.owner(&account)?;
    ensure!(owner.is_some(), "nobody owns {account}");
    let mut counted = String::new();
    for member in members {
        counted.push_str(&http::get(member.metrics, "/metrics").await?.body);
    }
    ensure!(
        counted.contains("claim") && counted.contains("handoff"),
        "claims and handoffs are not counted:\n{counted}"
    );
    Ok(())
}

#[tokio::test]
async fn a_router_and_a_member_reach_the_same_account() -> Result<()> {
    let up = Up::start_as(Shape { clusters: 1, members: 2, accounts: 2, ..Shape::default() }).await?;
    let account = up.account(2);
    for member in up.members(1)? {
        let mut direct = Imap::login(member.imap()?, &account, up.password()).await?;
        let mut routed = Imap::login(up.router()?.imap()?, &account, up.password()).await?;
        let name = format!("made-at-{}", member.name);
        direct.ok(&format!("CREATE {name}")).await?;
        let listed = routed.ok("LIST \"\" \"*\"").await?.text();
        ensure!(listed.contains(&name), "{listed}");
    }
    Ok(())
}
