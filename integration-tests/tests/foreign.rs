//! Accounts that live on a Dovecot, behind our router, and one that moves from there to a cluster of ours.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    client::{Imap, Pop3, Smtp},
    peers::Dovecot,
    tool,
    up::{Shape, Up},
};

const PASSWORD: &str = "correct horse";
/// Routes are believed for five seconds by the processes of `up`.
const PATIENCE: Duration = Duration::from_secs(30);

async fn start() -> Result<Up> {
    Up::start_as(Shape { clusters: 1, members: 1, accounts: 1, ..Shape::default() }).await
}

/// What stands in the configuration for a server.
fn entry(host: &str, dovecot: &Dovecot, more: &str) -> String {
    format!(
        "  - hosts: [{host}]\n    imap: {}\n    pop3: {}\n    lmtp: {}\n    sieve: {}\n{more}",
        dovecot.imap.port(),
        dovecot.pop3.port(),
        dovecot.lmtp.port(),
        dovecot.sieve.port()
    )
}

fn add(up: &Up, address: &str, home: &str) -> Result<()> {
    let password = up.data().join("secrets/accounts-password");
    let password = password.to_str().context("a path")?;
    up.say(&["account", "add", address, "--cluster", home, "--password-file", password]).map(drop)
}

async fn subjects(up: &Up, account: &str, mailbox: &str) -> Result<Vec<String>> {
    let mut imap = Imap::login(up.router()?.imap()?, account, PASSWORD).await?;
    let mut subjects = imap.header_fields(mailbox, "Subject").await?;
    subjects.sort();
    Ok(subjects)
}

/// Waits for what only time brings: a queue that tries again, a route that is looked up anew.
async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt().await? {
            return Ok(value);
        }
        ensure!(Instant::now() < deadline, "{what} does not happen");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn refusal(up: &Up, account: &str, password: &str) -> Result<String> {
    let mut imap = Imap::connect(up.router()?.imap()?).await?;
    Ok(imap.command(&format!("LOGIN \"{account}\" \"{password}\"")).await?.tagged)
}

#[tokio::test]
async fn accounts_at_a_dovecot_are_served_in_the_clear_and_inside_tls() -> Result<()> {
    const PLAIN: &str = "plain@example.org";
    const SECRET: &str = "secret@example.org";
    let mut up = start().await?;
    let tls = (up.data().join("tls/server.pem"), up.data().join("tls/server.key"));
    let Some(plain) = Dovecot::start(&[PLAIN, "circle@example.org"], PASSWORD, None)? else { return Ok(()) };
    let Some(secret) = Dovecot::start(&[SECRET], PASSWORD, Some((&tls.0, &tls.1)))? else { return Ok(()) };
    let ca = up.endpoints.ca_certificate.display().to_string();
    let entries = [
        entry("127.0.0.1", &plain, "    tls: off\n"),
        entry("localhost", &secret, &format!("    tls: starttls\n    ca_file: {ca}\n")),
    ];
    up.reconfigure(|text| format!("{text}\nforeign:\n{}", entries.concat())).await?;
    let circle = format!("127.0.0.1:{}", up.router()?.imap()?.port());
    for (address, home) in [(PLAIN, "127.0.0.1"), (SECRET, "localhost"), ("circle@example.org", &circle)] {
        add(&up, address, home)?;
    }
    for (account, dovecot) in [(PLAIN, &plain), (SECRET, &secret)] {
        let told = || format!("{account}\n{}\n{}", dovecot.said(), up.logs());
        let mut lmtp = Smtp::connect_lmtp(up.router()?.lmtp()?).await?;
        let mail = lmtp.mail("a@example.net", &[account, &up.account(1)], b"Subject: by lmtp\r\n\r\nx\r\n").await?;
        ensure!(mail.data.iter().all(|reply| reply.code == 250), "{:?} {}", mail.data, told());
        let mut smtp = Smtp::connect(up.router()?.smtp()?).await?;
        let mail = smtp.mail("a@example.net", &[account], b"Subject: by smtp\r\n\r\nx\r\n").await?;
        ensure!(mail.data.iter().all(|reply| reply.code == 250), "{:?} {}", mail.data, told());
        ensure!(subjects(&up, account, "INBOX").await.with_context(told)? == ["by lmtp", "by smtp"], "{}", told());
        // It is Dovecot that the client talks to from now on, and that says what it can.
        let mut imap = Imap::login(up.router()?.imap()?, account, PASSWORD).await?;
        ensure!(imap.ok("CAPABILITY").await?.text().contains("THREAD=REFS"), "{}", told());
        let mut pop3 = Pop3::login(up.router()?.pop3()?, account, PASSWORD).await.with_context(told)?;
        ensure!(pop3.ok("STAT").await?.starts_with("+OK 2 "), "{}", told());
        // Wrong passwords look alike, wherever the account lives and whether or not it exists.
        let wrong = [account, &up.account(1), "nobody@example.org"];
        for account in wrong {
            let refused = refusal(&up, account, "guess").await?;
            ensure!(refused == "NO [AUTHENTICATIONFAILED] authentication failed", "{account}: {refused}");
        }
        // Dovecot was told the session's name, as our own members are.
        let is_ours = |line: &str| {
            let id = line.split_once("session=<").and_then(|(_, rest)| rest.split_once('>'));
            id.is_some_and(|(id, _)| id.len() == 16 && id.chars().all(|c| c.is_ascii_hexdigit()))
        };
        for protocol in ["imap-login: Info: Login", "pop3-login: Info: Login"] {
            let log = dovecot.log();
            ensure!(log.lines().any(|line| line.contains(protocol) && is_ours(line)), "{protocol}\n{log}");
        }
    }
    // Who comes round to the router again and again is stopped, and it is nobody's wrong password.
    let refused = refusal(&up, "circle@example.org", PASSWORD).await?;
    ensure!(refused.starts_with("NO [UNAVAILABLE]"), "{refused}");
    let complaints = up.complaints()?.join("\n");
    ensure!(complaints.contains("goes in a circle"), "{complaints}");
    drop(plain);
    let refused = refusal(&up, PLAIN, PASSWORD).await?;
    ensure!(refused.starts_with("NO [UNAVAILABLE]"), "{refused}");
    // Whoever may write an entry may not send us everywhere.
    ensure!(up.say(&["account", "set", PLAIN, "--cluster", "elsewhere.example"]).is_err());
    up.reconfigure(|text| text.replace("[127.0.0.1]", "[127.0.0.2]")).await?;
    let refused = refusal(&up, PLAIN, PASSWORD).await?;
    ensure!(refused.starts_with("NO [UNAVAILABLE]"), "{refused}");
    let complaints = up.complaints()?.join("\n");
    ensure!(complaints.contains("allow no server called 127.0.0.1"), "{complaints}");
    Ok(())
}

/// The steps are those of the README; what is printed is the transcript.
#[tokio::test]
async fn an_account_moves_from_a_dovecot_to_a_cluster() -> Result<()> {
    const ANN: &str = "ann@example.org";
    let Some(mbsync) = tool::find("mbsync", "isync")? else { return Ok(()) };
    let mut up = start().await?;
    let Some(dovecot) = Dovecot::start(&[ANN], PASSWORD, None)? else { return Ok(()) };
    up.reconfigure(|text| format!("{text}\nforeign:\n{}", entry("127.0.0.1", &dovecot, "    tls: off\n"))).await?;
    add(&up, ANN, "127.0.0.1")?;
    println!("  1. {ANN} lives on a Dovecot: mailHost is 127.0.0.1");
    let mut lmtp = Smtp::connect_lmtp(up.router()?.lmtp()?).await?;
    for number in 0..20 {
        let message = format!("Subject: old {number:02}\r\nMessage-ID: <{number}@example.net>\r\n\r\nx\r\n");
        let mail = lmtp.mail("a@example.net", &[ANN], message.as_bytes()).await?;
        ensure!(mail.data[0].code == 250, "{:?}\n{}", mail.data, dovecot.said());
    }
    let mut imap = Imap::login(up.router()?.imap()?, ANN, PASSWORD).await?;
    imap.ok("CREATE Archive").await?;
    imap.ok("SELECT INBOX").await?;
    imap.ok("STORE 3 +FLAGS (\\Flagged)").await?;
    imap.ok("COPY 1:5 Archive").await?;
    let old = subjects(&up, ANN, "INBOX").await?;

    up.say(&["account", "set", ANN, "--cluster", "cluster-1"])?;
    println!("  2. laniakea account set {ANN} --cluster cluster-1");
    until("the new route", async || {
        let mut imap = Imap::login(up.router()?.imap()?, ANN, PASSWORD).await?;
        let is_ours = !imap.ok("CAPABILITY").await?.text().contains("THREAD=REFS");
        Ok(is_ours.then_some(()))
    })
    .await?;
    // Each process believes what it knows of a route for a while. What went to the Dovecot meanwhile is copied with the rest.
    let mut expected = old.clone();
    until("the new route of mail", async || {
        let subject = format!("new {:02}", expected.len() - old.len());
        let message = format!("Subject: {subject}\r\nMessage-ID: <{}@example.net>\r\n\r\nx\r\n", expected.len());
        let mail = lmtp.mail("a@example.net", &[ANN], message.as_bytes()).await?;
        ensure!(mail.data[0].code == 250, "{:?}", mail.data);
        expected.push(subject.clone());
        Ok(subjects(&up, ANN, "INBOX").await?.contains(&subject).then_some(()))
    })
    .await?;
    expected.sort();
    println!("  3. mail goes to the cluster: {:?}", subjects(&up, ANN, "INBOX").await?);

    let home = tempfile::tempdir()?;
    let store = |name: &str, port: u16| {
        format!(
            "IMAPAccount {name}\nHost 127.0.0.1\nPort {port}\nUser {ANN}\nPass \"{PASSWORD}\"\nSSLType None\n\nIMAPStore {name}\nAccount {name}\n\n"
        )
    };
    let rc = home.path().join("mbsyncrc");
    let channel = "Channel move\nFar :old:\nNear :new:\nPatterns *\nSync Pull\nCreate Both\nExpunge None\nCopyArrivalDate yes\nSyncState *\n";
    let state = format!("{channel}SyncState {}/\n", home.path().display()).replace("SyncState *\n", "");
    tool::write(
        &rc,
        &format!("{}{}{state}", store("old", dovecot.imap.port()), store("new", up.router()?.imap()?.port())),
    )?;
    tool::run(&mbsync, &["-c", rc.to_str().unwrap(), "-a"], home.path(), b"")?;
    println!("  4. mbsync pulls from the Dovecot into the cluster");
    let moved = subjects(&up, ANN, "INBOX").await?;
    ensure!(moved == expected, "{moved:?}");
    ensure!(subjects(&up, ANN, "Archive").await? == old[..5]);
    let mut imap = Imap::login(up.router()?.imap()?, ANN, PASSWORD).await?;
    imap.ok("SELECT INBOX").await?;
    let flagged = imap.ok("SEARCH FLAGGED SUBJECT \"old 02\"").await?.text();
    ensure!(flagged.trim_start_matches("* SEARCH").trim().parse::<u32>().is_ok(), "{flagged}");
    println!("  5. all is there: {} messages in INBOX, 5 in Archive, flags and all", moved.len());
    // A second run finds nothing to do: whoever is in doubt may repeat it.
    tool::run(&mbsync, &["-c", rc.to_str().unwrap(), "-a"], home.path(), b"")?;
    ensure!(subjects(&up, ANN, "INBOX").await? == expected);
    Ok(())
}
