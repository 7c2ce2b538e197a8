//! The main job: mail in over SMTP and LMTP, mail out over IMAP and POP3, through the router.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use anyhow::{Result, ensure};
use integration_tests::{
    client::{Imap, Pop3, Smtp},
    tool,
    up::Up,
};

const MESSAGE: &[u8] = b"From: Ann <ann@example.net>\r\nTo: all\r\nSubject: first light\r\nMessage-ID: <1@example.net>\r\n\r\nHello.\r\n.dotted\r\n";

#[tokio::test]
async fn one_transaction_reaches_accounts_of_both_clusters() -> Result<()> {
    let up = Up::start().await?;
    let (one, two) = (up.account(1), up.account(2));
    let nobody = format!("nobody@{}", up.endpoints.domain);
    let mut smtp = Smtp::connect(up.router()?.smtp()?).await?;
    for extension in ["PIPELINING", "SIZE", "STARTTLS", "ENHANCEDSTATUSCODES", "8BITMIME"] {
        ensure!(smtp.extensions.contains(extension), "{extension} is not offered: {}", smtp.extensions);
    }
    let mail = smtp.mail("ann@example.net", &[&one, &nobody, &two], MESSAGE).await?;
    let codes: Vec<u16> = mail.recipients.iter().map(|reply| reply.code).collect();
    ensure!(codes == [250, 550, 250], "{:?}", mail.recipients);
    ensure!(mail.recipients[1].text.starts_with("5.1.1"), "{:?}", mail.recipients[1]);
    ensure!(mail.data[0].code == 250, "{:?}", mail.data);
    for account in [&one, &two] {
        let mut imap = wait_for(&up, account, 1).await?;
        let body = imap.ok("UID FETCH 1:* (BODY.PEEK[TEXT] ENVELOPE FLAGS RFC822.SIZE)").await?;
        ensure!(body.text().contains("Hello.\r\n.dotted\r\n"), "{}", body.text());
        ensure!(body.text().contains("first light"), "{}", body.text());
        let mut pop3 = Pop3::login(up.router()?.pop3()?, account, up.password()).await?;
        ensure!(pop3.ok("STAT").await?.starts_with("+OK 1 "));
        let whole = String::from_utf8(pop3.lines("RETR 1").await?)?;
        ensure!(whole.contains("Subject: first light") && whole.contains("Received:"), "{whole}");
        ensure!(whole.ends_with("Hello.\r\n.dotted\r\n"), "{whole}");
        pop3.ok("QUIT").await?;
    }
    up_stops(up)
}

#[tokio::test]
async fn lmtp_answers_for_each_recipient() -> Result<()> {
    let up = Up::start().await?;
    let (one, two) = (up.account(1), up.account(2));
    let mut lmtp = Smtp::connect_lmtp(up.router()?.lmtp()?).await?;
    let mail = lmtp.mail("ann@example.net", &[&one, "nobody@elsewhere.invalid", &two], MESSAGE).await?;
    ensure!(mail.recipients[1].code / 100 == 5, "{:?}", mail.recipients[1]);
    ensure!(mail.data.len() == 2 && mail.data.iter().all(|reply| reply.code == 250), "{:?}", mail.data);
    // LMTP takes a message only into the account itself.
    for account in [&one, &two] {
        let mut imap = Imap::login(up.router()?.imap()?, account, up.password()).await?;
        ensure!(imap.ok("SELECT INBOX").await?.exists() == Some(1));
    }
    up_stops(up)
}

#[tokio::test]
async fn python_sends_with_starttls_and_reads_with_every_kind_of_tls() -> Result<()> {
    let up = Up::start().await?;
    let home = tempfile::tempdir()?;
    let endpoints = up.data().join("endpoints.json");
    let endpoints = endpoints.to_str().unwrap();
    tool::python("send.py", &[endpoints], home.path())?;
    tool::python("read_imap.py", &[endpoints], home.path())?;
    tool::python("read_pop3.py", &[endpoints], home.path())?;
    up_stops(up)
}

#[tokio::test]
async fn a_second_start_goes_on_with_the_same_mail() -> Result<()> {
    let mut up = Up::start().await?;
    let one = up.account(1);
    let mut smtp = Smtp::connect(up.router()?.smtp()?).await?;
    ensure!(smtp.mail("ann@example.net", &[&one], MESSAGE).await?.data[0].code == 250);
    drop(wait_for(&up, &one, 1).await?);
    let said = up.stop()?;
    ensure!(said.contains("Laniakea is up: 2 clusters of 2 members, 1 router, 4 accounts"), "{said}");
    ensure!(said.contains("stopping"), "{said}");
    up.start_again().await?;
    drop(wait_for(&up, &one, 1).await?);
    up_stops(up)
}

/// Logs in and waits until INBOX has so many messages: mail for another cluster takes a moment longer.
async fn wait_for(up: &Up, account: &str, count: u32) -> Result<Imap> {
    let mut imap = Imap::login(up.router()?.imap()?, account, up.password()).await?;
    let mut exists = imap.ok("SELECT INBOX").await?.exists();
    for _ in 0..200 {
        if exists.is_some_and(|exists| exists >= count) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        exists = imap.ok("NOOP").await?.exists().or(exists);
    }
    ensure!(exists == Some(count), "{account} has {exists:?} messages, not {count}");
    Ok(imap)
}

/// Ends it; nothing that happened here was worth a complaint.
fn up_stops(mut up: Up) -> Result<()> {
    up.stop()?;
    let complaints = up.complaints()?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}
