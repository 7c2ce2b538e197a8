//! Bad input: a clear error or a closed connection, at nobody else's cost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::{
    client::{Connection, Imap, Pop3, Smtp},
    up::{Shape, Up},
};

/// How long a server may take to close what it does not want.
const CLOSE: Duration = Duration::from_secs(20);

async fn start() -> Result<Up> {
    Up::start_as(Shape { clusters: 1, members: 2, accounts: 2, ..Shape::default() }).await
}

/// Everybody else is served as before, by the same processes.
async fn others_are_served(up: &Up) -> Result<()> {
    let mut imap = Imap::login(up.router()?.imap()?, &up.account(2), up.password()).await?;
    imap.ok("SELECT INBOX").await?;
    for process in up.processes() {
        let path = format!("/proc/{}/stat", process.pid);
        ensure!(std::path::Path::new(&path).exists(), "{} died\n{}", process.name, up.logs());
    }
    Ok(())
}

/// Sends bytes to a listener and returns what came back until it closed or `enough` was seen.
async fn poke(address: std::net::SocketAddr, bytes: &[u8], enough: &str) -> Result<String> {
    let mut connection = Connection::open(address).await?;
    let mut said = String::from_utf8_lossy(&connection.line().await?).into_owned();
    // The server may close before it has read everything.
    let _ = connection.send(bytes).await;
    while let Ok(line) = connection.line().await {
        said.push_str(&String::from_utf8_lossy(&line));
        said.push('\n');
        if said.contains(enough) {
            return Ok(said);
        }
    }
    ensure!(enough.is_empty() || said.contains(enough), "`{enough}` is missing: {said}");
    Ok(said)
}

#[tokio::test]
async fn before_login_imap() -> Result<()> {
    let up = start().await?;
    let account = up.account(1);
    for address in [up.router()?.imap()?, up.members(1)?[0].imap()?] {
        let long = [b"a LOGIN ".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
        let said = poke(address, &long, "too long").await?;
        ensure!(said.contains("BAD") || said.contains("BYE"), "{said}");
        poke(address, b"a LOGIN \"us\0er\" \"x\"\r\n", "BAD").await?;
        poke(address, b"a LOGIN {99999999999999999999}\r\n", "a BAD").await?;
        poke(address, b"a LOGIN {4294967296+}\r\n", "BAD").await?;
        poke(address, b"a LOGIN \"user\r\nb LOGOUT\r\n", "BAD").await?;
        // CRLF inside a literal is data, not a second command.
        let smuggle = b"a LOGIN {16+}\r\nuser\r\nb LOGOUT\r\n {1+}\r\nx\r\nc LOGOUT\r\n";
        let said = poke(address, smuggle, "c OK").await?;
        ensure!(!said.contains("b OK") && said.contains("a "), "{said}");
        for name in ["*)(uid=*", "*", "user*@example.org", "\\\\2a", "a)(|(mail=*)"] {
            let said =
                poke(address, format!("a LOGIN \"{name}\" \"{}\"\r\n", up.password()).as_bytes(), "a NO").await?;
            ensure!(said.contains("AUTHENTICATIONFAILED"), "{name}: {said}");
        }
        let said = poke(address, format!("a LOGIN {account} \"\"\r\n").as_bytes(), "a ").await?;
        ensure!(said.contains("a NO") || said.contains("a BAD"), "an empty password: {said}");
        // Unknown account and wrong password look alike.
        let unknown = poke(address, b"a LOGIN nobody@example.org wrong\r\n", "a NO").await?;
        let wrong = poke(address, format!("a LOGIN {account} wrong\r\n").as_bytes(), "a NO").await?;
        let last = |text: &str| text.lines().last().map(str::to_owned);
        ensure!(last(&unknown) == last(&wrong), "{unknown} is not {wrong}");
    }
    // Bytes behind STARTTLS in the same packet are never run.
    let said = poke(up.router()?.imap()?, b"a STARTTLS\r\nb CAPABILITY\r\n", "").await.unwrap_or_default();
    ensure!(!said.contains("b OK"), "{said}");
    others_are_served(&up).await
}

#[tokio::test]
async fn before_login_pop3() -> Result<()> {
    let up = start().await?;
    for address in [up.router()?.pop3()?, up.members(1)?[0].pop3()?] {
        poke(address, &[&vec![b'U'; 100_000][..], b"\r\n"].concat(), "-ERR").await?;
        poke(address, b"USER a\0b\r\n", "-ERR").await?;
        poke(address, b"PASS x\r\n", "-ERR").await?;
        poke(address, b"USER *)(uid=*\r\nPASS x\r\n", "-ERR [AUTH]").await?;
        poke(address, format!("USER {}\r\nPASS \r\n", up.account(1)).as_bytes(), "-ERR").await?;
        poke(address, b"AUTH PLAIN ====\r\n", "-ERR").await?;
    }
    let said = poke(up.router()?.pop3()?, b"STLS\r\nCAPA\r\n", "").await.unwrap_or_default();
    ensure!(!said.contains("UIDL"), "{said}");
    others_are_served(&up).await
}

#[tokio::test]
async fn smtp_and_lmtp() -> Result<()> {
    let up = start().await?;
    let account = up.account(1);
    let smtp = up.router()?.smtp()?;
    poke(smtp, &[&vec![b'x'; 100_000][..], b"\r\n"].concat(), "500").await?;
    for (line, code) in [
        ("RCPT TO:<a@b>", "503"),
        ("MAIL FROM:<a@b> FROB=1", "5"),
        ("MAIL FROM:<a\0b@c>", "5"),
        ("MAIL FROM:<a@b> SIZE=99999999999", "5"),
        ("DATA", "503"),
        ("EHLO", "501"),
        ("BDAT -1", "5"),
    ] {
        let mut connection = Smtp::connect(smtp).await?;
        let reply = connection.command(line).await.with_context(|| line.to_owned())?;
        ensure!(reply.code.to_string().starts_with(code), "{line}: {reply:?}");
    }
    // A bare LF ends neither a line nor the data (SMTP smuggling).
    let mut connection = Smtp::connect(smtp).await?;
    connection.command("MAIL FROM:<a@example.net>").await?;
    connection.command(&format!("RCPT TO:<{account}>")).await?;
    connection.command("DATA").await?;
    connection.connection.send(b"Subject: one\r\n\r\nx\n.\nMAIL FROM:<b@example.net>\r\nRCPT TO:<user2@example.org>\r\nDATA\r\nSubject: two\r\n\r\nsmuggled\r\n.\r\n").await?;
    let reply = connection.reply().await?;
    ensure!(reply.code == 250 || reply.code / 100 == 5, "{reply:?}");
    // The server may close after that; what it must not do is answer what was smuggled.
    if let Ok(quit) = connection.command("QUIT").await {
        ensure!(quit.code == 221, "the smuggled transaction was answered: {quit:?}");
    }
    let mut imap = Imap::login(up.router()?.imap()?, &up.account(2), up.password()).await?;
    ensure!(imap.ok("SELECT INBOX").await?.exists() == Some(0), "smuggled mail arrived");
    // Pipelining behind STARTTLS.
    let said = poke(smtp, b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<a@b>\r\n", "").await.unwrap_or_default();
    ensure!(!said.contains("250 2.1.0"), "{said}");
    // Half of a message, then nothing: it was never accepted.
    let mut half = Smtp::connect(smtp).await?;
    half.command("MAIL FROM:<a@example.net>").await?;
    half.command(&format!("RCPT TO:<{account}>")).await?;
    half.command("DATA").await?;
    half.connection.send(b"Subject: half\r\n\r\nto be contin").await?;
    drop(half);
    poke(up.router()?.lmtp()?, b"EHLO x\r\n", "5").await?;
    others_are_served(&up).await
}

#[tokio::test]
async fn after_login_imap() -> Result<()> {
    let up = start().await?;
    let address = up.router()?.imap()?;
    let mut imap = Imap::login(address, &up.account(1), up.password()).await?;
    for name in
        ["../../../../etc/passwd", "a/../../b", "/etc", "a//b", "", "a\u{7f}b", &"x/".repeat(40), &"y".repeat(5_000)]
    {
        let made = imap.command(&format!("CREATE \"{name}\"")).await?;
        if made.is_ok() {
            // A name with dots is only a name; it must come back as it was.
            let listed = imap.ok("LIST \"\" \"*\"").await?.text();
            ensure!(listed.contains(name.trim_end_matches('/')), "{name}: {listed}");
        }
    }
    for command in [
        "FETCH 0 (FLAGS)",
        "FETCH 4294967296 (FLAGS)",
        "UID FETCH",
        "SEARCH ((((((((((",
        "STORE 1 +FLAGS (\\Recent)",
        "SELECT",
        "FROB",
        "FETCH 1 BODY[1.2.3.MIME.9]",
        "SEARCH CHARSET X-NONE TEXT x",
        "COPY 1 INBOX",
        "STATUS INBOX (FROB)",
    ] {
        let answer = imap.command(command).await?;
        ensure!(!answer.is_ok(), "{command} was done: {answer:?}");
    }
    let nested = format!("SEARCH {}ALL", "NOT ".repeat(20_000));
    if let Ok(answer) = imap.command(&nested).await {
        ensure!(!answer.is_ok(), "20,000 levels of NOT");
    }
    let mut imap = Imap::login(address, &up.account(1), up.password()).await?;
    let absurd = imap.command("APPEND INBOX {99999999999}").await?;
    ensure!(absurd.tagged.starts_with("NO") || absurd.tagged.starts_with("BAD"), "{absurd:?}");
    // An unterminated literal waits; others do not.
    let mut waiting = Imap::login(address, &up.account(1), up.password()).await?;
    waiting.connection.send(b"x APPEND INBOX {1000}\r\n").await?;
    waiting.connection.line().await?;
    waiting.connection.send(b"Subject: never").await?;
    others_are_served(&up).await?;
    drop(waiting);
    let mut imap = Imap::login(address, &up.account(1), up.password()).await?;
    ensure!(imap.ok("SELECT INBOX").await?.exists() == Some(0));
    Ok(())
}

#[tokio::test]
async fn messages_made_to_break_parsers() -> Result<()> {
    let up = start().await?;
    let mut imap = Imap::login(up.router()?.imap()?, &up.account(1), up.password()).await?;
    let nested: String = (0..10_000)
        .map(|level| format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"))
        .collect();
    let wrapped = "Content-Type: message/rfc822\r\n\r\n".repeat(10_000);
    let many: String =
        format!("Content-Type: multipart/mixed; boundary=x\r\n\r\n{}", "--x\r\n\r\n.\r\n".repeat(20_000));
    let messages: Vec<Vec<u8>> = vec![
        nested.into_bytes(),
        wrapped.into_bytes(),
        many.into_bytes(),
        b"\r\n".to_vec(),
        b"no header at all".to_vec(),
        [b"Subject: ".as_slice(), &vec![0xff; 10_000], b"\r\n\r\n\x80\x81\r\n"].concat(),
        [b"To: ".as_slice(), "<a@b>,".repeat(20_000).as_bytes(), b"\r\n\r\n"].concat(),
        b"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n----\r\n".to_vec(),
    ];
    let mut stored = 0;
    for message in &messages {
        let answer = imap.append("INBOX", message).await?;
        ensure!(!answer.tagged.starts_with("BAD") || message.contains(&0), "{answer:?}");
        stored += u32::from(answer.is_ok());
    }
    ensure!(imap.ok("SELECT INBOX").await?.exists() == Some(stored));
    imap.ok("FETCH 1:* (ENVELOPE BODYSTRUCTURE RFC822.SIZE)").await?;
    imap.ok("SEARCH TEXT contin").await?;
    let mut pop3 = Pop3::login(up.router()?.pop3()?, &up.account(1), up.password()).await?;
    for number in 1..=stored {
        pop3.lines(&format!("RETR {number}")).await?;
    }
    pop3.ok("QUIT").await?;
    let mut smtp = Smtp::connect(up.router()?.smtp()?).await?;
    for message in messages.iter().take(3) {
        let mail = smtp.mail("a@example.net", &[&up.account(1)], message).await?;
        ensure!(!mail.data.is_empty(), "{mail:?}");
    }
    others_are_served(&up).await
}

#[tokio::test]
async fn half_open_connections_cost_nobody_else_anything() -> Result<()> {
    let up = start().await?;
    let mut open = Vec::new();
    for _ in 0..200 {
        let mut connection = Connection::open(up.router()?.imap()?).await?;
        connection.send(b"a LOG").await?;
        open.push(connection);
    }
    others_are_served(&up).await?;
    let mut closed = Connection::open(up.router()?.imap()?).await?;
    closed.line().await?;
    closed.send(b"a LOGOUT\r\n").await?;
    closed.until_closed(CLOSE).await?;
    drop(open);
    others_are_served(&up).await
}
