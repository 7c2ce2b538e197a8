//! Programs that other people wrote, with the settings other people use.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Result, ensure};
use integration_tests::{
    client::Smtp,
    tool,
    up::{Shape, Up},
};

const MESSAGE: &[u8] = b"From: Ann <ann@example.net>\r\nTo: user1@example.org\r\nSubject: for real clients\r\nMessage-ID: <real@example.net>\r\n\r\nHello, clients.\r\n";

/// A supercluster whose first two accounts have one message each.
async fn start() -> Result<Up> {
    let up = Up::start_as(Shape { members: 2, accounts: 2, ..Shape::default() }).await?;
    let mut lmtp = Smtp::connect_lmtp(up.router()?.lmtp()?).await?;
    let mail = lmtp.mail("ann@example.net", &[&up.account(1), &up.account(2)], MESSAGE).await?;
    ensure!(mail.data.iter().all(|reply| reply.code == 250), "{mail:?}");
    Ok(up)
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn curl() -> Result<()> {
    let Some(curl) = tool::find("curl", "curl")? else { return Ok(()) };
    let up = start().await?;
    let home = tempfile::tempdir()?;
    let user = format!("{}:{}", up.account(1), up.password());
    let ca = text(&up.endpoints.ca_certificate);
    let run = |arguments: &[&str], input: &[u8]| {
        tool::run(&curl, &[&["-sS", "--max-time", "30"], arguments].concat(), home.path(), input)
    };
    let router = up.router()?;
    let to = up.account(1);
    let smtp = format!("smtp://{}", router.smtp()?);
    run(
        &[&smtp, "--mail-from", "me@example.net", "--mail-rcpt", &to, "-T", "-"],
        b"Subject: from curl\r\n\r\nHello.\r\n",
    )?;
    run(
        &[&smtp, "--ssl-reqd", "--cacert", &ca, "--mail-from", "me@example.net", "--mail-rcpt", &to, "-T", "-"],
        b"Subject: from curl\r\n\r\nwith TLS.\r\n",
    )?;
    let imap = format!("imap://{}/INBOX", router.imap()?);
    let imaps = format!("imaps://{}/INBOX", router.imaps.unwrap());
    ensure!(run(&[&imap, "--user", &user, "-X", "EXAMINE INBOX"], b"")?.contains("3 EXISTS"));
    ensure!(run(&[&format!("{imap};MAILINDEX=1"), "--user", &user], b"")?.contains("Subject: for real clients"));
    ensure!(run(&[&format!("{imaps};MAILINDEX=3"), "--cacert", &ca, "--user", &user], b"")?.contains("with TLS."));
    ensure!(
        run(&[&format!("{imap};MAILINDEX=2"), "--ssl-reqd", "--cacert", &ca, "--user", &user], b"")?.contains("Hello.")
    );
    let message = home.path().join("message.eml");
    fs::write(&message, "From: c@example.net\r\nSubject: appended\r\n\r\nhi\r\n")?;
    run(&[&imap, "--user", &user, "-T", &text(&message)], b"")?;
    ensure!(
        run(&[&format!("{imap}?SUBJECT appended"), "--user", &user], b"")
            .or_else(|_| run(&[&imap, "--user", &user, "-X", "SEARCH SUBJECT appended"], b""))?
            .contains("SEARCH 4")
    );
    let pop3 = format!("pop3://{}/1", router.pop3()?);
    ensure!(run(&[&pop3, "--user", &user], b"")?.contains("Subject: for real clients"));
    let pop3s = format!("pop3s://{}/4", router.pop3s.unwrap());
    ensure!(run(&[&pop3s, "--cacert", &ca, "--user", &user], b"")?.contains("Subject: appended"));
    ensure!(run(&[&imap, "--user", &format!("{to}:wrong"), "-X", "EXAMINE INBOX"], b"").is_err());
    Ok(())
}

#[tokio::test]
async fn swaks() -> Result<()> {
    let Some(swaks) = tool::find("swaks", "swaks")? else { return Ok(()) };
    let up = start().await?;
    let home = tempfile::tempdir()?;
    let router = up.router()?;
    let both = format!("{},{}", up.account(1), up.account(2));
    let run = |address: SocketAddr, more: &[&str]| {
        let (server, port) = (address.ip().to_string(), address.port().to_string());
        let common = [
            "--server",
            &server,
            "--port",
            &port,
            "--from",
            "a@example.net",
            "--to",
            &both,
            "--body",
            "hello",
            "--suppress-data",
        ];
        tool::run(&swaks, &[&common, more].concat(), home.path(), b"")
    };
    ensure!(run(router.smtp()?, &[])?.contains("<-  250 2."));
    if tool::perl_has("Net::SSLeay", "libnet-ssleay-perl")? {
        ensure!(run(router.smtp()?, &["--tls"])?.contains("TLS started"));
    }
    ensure!(run(router.smtp()?, &["--pipeline"])?.contains("250 2."));
    ensure!(run(router.lmtp()?, &["--protocol", "LMTP"])?.matches("<-  250 2.").count() >= 2);
    ensure!(run(router.smtp()?, &["--quit-after", "RCPT", "--to", "nobody@example.org"]).is_err());
    Ok(())
}

#[tokio::test]
async fn mbsync() -> Result<()> {
    let Some(mbsync) = tool::find("mbsync", "isync")? else { return Ok(()) };
    let up = start().await?;
    for (number, tls) in [(1, false), (2, true)] {
        let home = tempfile::tempdir()?;
        let router = up.router()?;
        let address = if tls { router.imaps.unwrap() } else { router.imap()? };
        let kind = if tls { "IMAPS" } else { "None" };
        let maildir = home.path().join("md");
        fs::create_dir(&maildir)?;
        let rc = home.path().join("mbsyncrc");
        tool::write(
            &rc,
            &format!(
                "IMAPAccount a\nHost localhost\nPort {}\nUser {}\nPass \"{}\"\nSSLType {kind}\nCertificateFile {}\n\nIMAPStore r\nAccount a\n\n\
                 MaildirStore l\nPath {md}/\nInbox {md}/INBOX\nSubFolders Verbatim\n\n\
                 Channel c\nFar :r:\nNear :l:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n",
                // By name: mbsync compares the certificate with names only.
                address.port(),
                up.account(number),
                up.password(),
                up.endpoints.ca_certificate.display(),
                md = maildir.display(),
            ),
        )?;
        let rc = text(&rc);
        tool::run(&mbsync, &["-c", &rc, "-a"], home.path(), b"")?;
        let files = |folder: &str| -> Vec<String> {
            let mut list = Vec::new();
            for part in ["new", "cur"] {
                for entry in fs::read_dir(maildir.join(folder).join(part)).into_iter().flatten() {
                    list.push(fs::read_to_string(entry.unwrap().path()).unwrap());
                }
            }
            list
        };
        ensure!(files("INBOX").iter().any(|message| message.contains("Hello, clients.")), "{:?}", files("INBOX"));
        // And back: a message written here, a folder made here.
        tool::write(
            &maildir.join("INBOX/new/1.local"),
            "From: l@example.net\nSubject: local\nMessage-ID: <l@example.net>\n\nlocal\n",
        )?;
        tool::run(&mbsync, &["-c", &rc, "-a"], home.path(), b"")?;
        let second = tempfile::tempdir()?;
        let mut imap =
            integration_tests::client::Imap::login(router.imap()?, &up.account(number), up.password()).await?;
        ensure!(imap.ok("SELECT INBOX").await?.exists() == Some(2), "the local message did not arrive");
        drop(second);
    }
    Ok(())
}

#[tokio::test]
async fn fetchmail() -> Result<()> {
    let Some(fetchmail) = tool::find("fetchmail", "fetchmail")? else { return Ok(()) };
    let up = start().await?;
    let router = up.router()?;
    for (protocol, address) in [("IMAP", router.imap()?), ("POP3", router.pop3()?)] {
        let home = tempfile::tempdir()?;
        let mbox = home.path().join("mbox");
        let rc = home.path().join("fetchmailrc");
        tool::write(
            &rc,
            &format!(
                "poll {} protocol {protocol} port {} user \"{}\" password \"{}\" keep fetchall sslproto \"\" mda \"cat >> {}\"\n",
                address.ip(),
                address.port(),
                up.account(1),
                up.password(),
                mbox.display()
            ),
        )?;
        // fetchmail refuses to run as root only for a daemon.
        tool::run(&fetchmail, &["-f", &text(&rc), "--nosyslog", "--nodetach", "-v"], home.path(), b"")?;
        let got = fs::read_to_string(&mbox)?;
        ensure!(got.contains("Hello, clients."), "{protocol}: {got}");
    }
    Ok(())
}
