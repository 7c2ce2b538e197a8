//! Submission: logged in, in one's own name, to accounts of ours and to other sites.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use integration_tests::{
    client::{Imap, Smtp},
    tool,
    up::{Shape, Up},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// The quick retries of the queue come after 1, 5 and 30 seconds.
const PATIENCE: Duration = Duration::from_secs(60);
const MESSAGE: &[u8] = b"Subject: submitted\r\n\r\nx\r\n";

async fn start() -> Result<Up> {
    Up::start_as(Shape { clusters: 2, members: 1, accounts: 2, ..Shape::default() }).await
}

async fn auth(smtp: &mut Smtp, name: &str, password: &str) -> Result<u16> {
    let message = STANDARD.encode(format!("\0{name}\0{password}"));
    Ok(smtp.command(&format!("AUTH PLAIN {message}")).await?.code)
}

async fn logged_in(up: &Up, number: u32) -> Result<Smtp> {
    let mut smtp = Smtp::connect(up.router()?.submission()?).await?;
    let code = auth(&mut smtp, &up.account(number), up.password()).await?;
    ensure!(code == 235, "{code} {}", smtp.connection.transcript);
    Ok(smtp)
}

/// The Received field of the last message.
async fn received(up: &Up, account: &str) -> Result<String> {
    let mut imap = Imap::login(up.router()?.imap()?, account, up.password()).await?;
    imap.ok("SELECT INBOX").await?;
    Ok(imap.ok("FETCH * (BODY.PEEK[HEADER.FIELDS (Received)])").await?.text())
}

#[tokio::test]
async fn who_has_logged_in_sends_in_his_own_name_and_to_our_own_accounts() -> Result<()> {
    let up = start().await?;
    let (one, two) = (up.account(1), up.account(2));
    let mut smtp = Smtp::connect(up.router()?.submission()?).await?;
    ensure!(smtp.extensions.contains("AUTH PLAIN LOGIN"), "{}", smtp.extensions);
    ensure!(smtp.command(&format!("MAIL FROM:<{one}>")).await?.code == 530);
    ensure!(auth(&mut smtp, &one, "guess").await? == 535);
    ensure!(auth(&mut smtp, "nobody@example.org", "guess").await? == 535);
    let mut smtp = logged_in(&up, 1).await?;
    ensure!(smtp.command(&format!("MAIL FROM:<{two}>")).await?.code == 553);
    let mail = smtp.mail(&one, &[&two, "nobody@example.org", "someone@elsewhere.example"], MESSAGE).await?;
    let codes: Vec<u16> = mail.recipients.iter().chain(&mail.data).map(|reply| reply.code).collect();
    ensure!(codes == [250, 550, 550, 250], "{mail:?}");
    ensure!(mail.recipients[2].text.contains("no smarthost is configured"), "{mail:?}");
    let told = received(&up, &two).await?;
    ensure!(told.contains("with ESMTPA id") && told.contains("[127.0.0.1]"), "{told}");
    // Other sites still may not use us.
    let mut other = Smtp::connect(up.router()?.smtp()?).await?;
    let mail = other.mail(&one, &["someone@elsewhere.example"], MESSAGE).await?;
    ensure!(mail.recipients[0].code == 550 && mail.recipients[0].text.contains("relaying denied"), "{mail:?}");
    swaks(&up)?;
    let told = received(&up, &two).await?;
    ensure!(told.contains("with ESMTPSA id"), "{told}");
    Ok(())
}

/// Somebody else's client, with TLS begun by command and from the first byte.
fn swaks(up: &Up) -> Result<()> {
    let Some(swaks) = tool::find("swaks", "swaks")? else { return Ok(()) };
    if !tool::perl_has("Net::SSLeay", "libnet-ssleay-perl")? {
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let router = up.router()?;
    let submissions = router.submissions.context("submissions")?;
    for (address, tls) in [(router.submission()?, "--tls"), (submissions, "--tls-on-connect")] {
        let (server, port) = (address.ip().to_string(), address.port().to_string());
        let said = tool::run(
            &swaks,
            &[
                "--server",
                &server,
                "--port",
                &port,
                "--from",
                &up.account(1),
                "--to",
                &up.account(2),
                tls,
                "--auth",
                "LOGIN",
                "--auth-user",
                &up.account(1),
                "--auth-password",
                up.password(),
                "--body",
                "hello",
            ],
            home.path(),
            b"",
        )?;
        ensure!(said.contains("235 2.7.0"), "{said}");
    }
    Ok(())
}

/// A smarthost that wants a login, knows one recipient not, and keeps what it takes.
#[derive(Clone, Default)]
struct Smarthost {
    taken: Arc<Mutex<Vec<Taken>>>,
}

/// One message.
struct Taken {
    recipients: Vec<String>,
    content: String,
}

impl Smarthost {
    async fn run(self, address: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (tcp, _) = listener.accept().await?;
            let smarthost = self.clone();
            tokio::spawn(async move { smarthost.serve(tcp).await });
        }
    }

    async fn serve(self, tcp: TcpStream) -> Result<()> {
        let mut stream = BufReader::new(tcp);
        stream.write_all(b"220 smarthost.example ESMTP\r\n").await?;
        let (mut is_known, mut recipients, mut line) = (false, Vec::new(), String::new());
        let login = format!("AUTH PLAIN {}", STANDARD.encode("\0laniakea\0let us out"));
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let command = line.trim_end();
            let reply = match command {
                _ if command.starts_with("EHLO") => "250-smarthost.example\r\n250-PIPELINING\r\n250 AUTH LOGIN PLAIN",
                _ if command == login => {
                    is_known = true;
                    "235 2.7.0 welcome"
                }
                _ if !is_known => "530 5.7.0 who are you?",
                _ if command.starts_with("RCPT TO:<unknown@") => "550 5.1.1 nobody of that name",
                _ if command.starts_with("RCPT") => {
                    recipients.push(command.to_owned());
                    "250 2.1.5 fine"
                }
                "DATA" if recipients.is_empty() => "503 5.5.1 for whom?",
                "DATA" => {
                    stream.write_all(b"354 go on\r\n").await?;
                    let mut content = String::new();
                    while !content.ends_with("\r\n.\r\n") {
                        stream.read_line(&mut content).await?;
                    }
                    self.taken.lock().push(Taken { recipients: std::mem::take(&mut recipients), content });
                    "250 2.0.0 taken"
                }
                _ => "250 2.0.0 fine",
            };
            stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        }
    }
}

#[tokio::test]
async fn mail_for_other_sites_goes_to_the_smarthost_or_waits_for_it() -> Result<()> {
    let mut up = start().await?;
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    std::fs::write(up.data().join("secrets/smarthost"), "let us out\n")?;
    up.reconfigure(|text| {
        format!(
            "{text}\nsmarthost:\n  host: 127.0.0.1\n  port: {}\n  tls: off\n  user: laniakea\n  password_file: secrets/smarthost\n",
            address.port()
        )
    })
    .await?;
    let (one, two) = (up.account(1), up.account(2));
    let smarthost = Smarthost::default();
    // Nobody is there yet: it waits in the queue, the part for our own accounts does not.
    let mut smtp = logged_in(&up, 1).await?;
    let mail = smtp.mail(&one, &["early@elsewhere.example", &two], MESSAGE).await?;
    ensure!(mail.data[0].code == 250, "{mail:?}");
    let running = tokio::spawn(smarthost.clone().run(address));
    let mail = smtp.mail(&one, &["late@elsewhere.example"], MESSAGE).await?;
    ensure!(mail.data[0].code == 250, "{mail:?}");
    let mail = smtp.mail(&one, &["unknown@elsewhere.example"], MESSAGE).await?;
    ensure!(mail.data[0].code == 550 && mail.data[0].text.contains("nobody of that name"), "{mail:?}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let taken: Vec<String> = smarthost.taken.lock().iter().flat_map(|taken| taken.recipients.clone()).collect();
        let all = ["early", "late"].iter().all(|name| taken.iter().any(|recipient| recipient.contains(name)));
        if all && received(&up, &two).await?.contains("ESMTPA") {
            ensure!(taken.len() == 2, "{taken:?}");
            break;
        }
        ensure!(Instant::now() < deadline, "{taken:?}\n{}", up.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ensure!(smarthost.taken.lock().iter().all(|taken| taken.content.starts_with("Received: ")));
    running.abort();
    Ok(())
}
