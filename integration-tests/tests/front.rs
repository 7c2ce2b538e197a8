//! The front door while it is worked on: certificates that change, sessions that stay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    client::Imap,
    tool,
    up::{Shape, Up},
};

/// How long a process may take to do what a signal tells it.
const DEADLINE: Duration = Duration::from_secs(30);

/// The certificate that a client of `host` is shown, as OpenSSL sees it.
fn shown(openssl: &Path, address: SocketAddr, host: &str) -> Result<String> {
    let address = address.to_string();
    let mut command = Command::new(openssl);
    command.args(["s_client", "-connect", &address, "-servername", host]).stdin(Stdio::null());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let (_, rest) = said.split_once(begin).with_context(|| format!("no certificate: {said}"))?;
    Ok(rest.split_once(end).context("a certificate without an end")?.0.split_whitespace().collect())
}

/// Writes a certificate for `host` and its key; returns what clients are to see of it.
fn make(folder: &Path, host: &str) -> Result<String> {
    let made = rcgen::generate_simple_self_signed([host.to_owned()])?;
    fs::write(folder.join(format!("{host}.pem")), made.cert.pem())?;
    fs::write(folder.join(format!("{host}.key")), made.signing_key.serialize_pem())?;
    Ok(made.cert.pem().lines().filter(|line| !line.starts_with("-----")).collect())
}

async fn until_shown(openssl: &Path, address: SocketAddr, host: &str, expected: &str) -> Result<()> {
    let waiting = async {
        while shown(openssl, address, host)? != expected {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    tokio::time::timeout(DEADLINE, waiting).await.with_context(|| format!("{host} is not shown its certificate"))?
}

#[tokio::test]
async fn certificates_change_on_sighup_and_sessions_stay() -> Result<()> {
    let Some(openssl) = tool::find("openssl", "openssl")? else { return Ok(()) };
    let up = Up::start_as(Shape { clusters: 1, members: 1, accounts: 1, ..Shape::default() }).await?;
    let router = up.router()?;
    let imaps = router.imaps.context("no imaps")?;
    let default = shown(&openssl, imaps, "mail.example.net")?;
    let mut session = Imap::login(router.imap()?, &up.account(1), up.password()).await?;

    let tls = up.data().join("tls");
    let made = make(&tls, "mail.example.net")?;
    let text = fs::read_to_string(up.config())?;
    let others = "  others:\n    - {certificate_file: tls/mail.example.net.pem, key_file: tls/mail.example.net.key}\n";
    let key = text.lines().find(|line| line.trim_start().starts_with("key_file: tls/")).context("no key_file")?;
    fs::write(up.config(), text.replacen(&format!("{key}\n"), &format!("{key}\n{others}"), 1))?;
    up.hang_up(&router.name)?;
    until_shown(&openssl, imaps, "mail.example.net", &made).await?;
    ensure!(shown(&openssl, imaps, "mail.example.org")? == default);

    // One file is new and whole, the other is not: nothing changes.
    make(&tls, "mail.example.net")?;
    let server = fs::read(tls.join("server.pem"))?;
    fs::write(tls.join("server.pem"), "not yet written")?;
    up.hang_up(&router.name)?;
    let log = || fs::read_to_string(up.data().join(format!("logs/{}.log", router.name)));
    let waiting = async {
        while !log()?.contains("the old ones stay") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::time::timeout(DEADLINE, waiting).await??;
    ensure!(shown(&openssl, imaps, "mail.example.net")? == made);
    ensure!(shown(&openssl, imaps, "mail.example.org")? == default);

    // The same, mended.
    fs::write(tls.join("server.pem"), server)?;
    let renewed = make(&tls, "mail.example.net")?;
    up.hang_up(&router.name)?;
    until_shown(&openssl, imaps, "mail.example.net", &renewed).await?;
    session.command("NOOP").await?;
    Ok(())
}
