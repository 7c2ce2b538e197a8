//! Our members and routers behind the proxies of others: nginx with our answers to its questions, HAProxy, Dovecot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use integration_tests::{
    client::{Imap, Pop3, Smtp},
    peers::{DovecotProxy, Haproxy, Nginx},
    up::{Shape, Up},
};

/// A loopback address of its own for whoever sends no PROXY header: all others in 127.0.0.0/8 are proxies here.
const PROXIES: &str = "[127.0.0.1/32]";

async fn start() -> Result<Up> {
    Up::start_as(Shape { clusters: 2, members: 1, accounts: 2, ..Shape::default() }).await
}

/// Adds keys to every router and every cluster.
fn with(text: &str, routers: &str, clusters: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        out.push_str(line);
        out.push('\n');
        if line.starts_with("  - name: router-") {
            out.push_str(routers);
        } else if line.starts_with("  - name: cluster-") {
            out.push_str(clusters);
        }
    }
    out
}

async fn refused(address: SocketAddr, name: &str, password: &str) -> Result<String> {
    let mut imap = Imap::connect(address).await?;
    Ok(imap.command(&format!("LOGIN \"{name}\" \"{password}\"")).await?.tagged)
}

/// The address of the client that a process logged for a login.
fn logged(up: &Up, process: &str, client: SocketAddr) -> Result<()> {
    let log = std::fs::read_to_string(up.data().join(format!("logs/{process}.log")))?;
    ensure!(log.lines().any(|line| line.contains("login") && line.contains(&client.to_string())), "{client}\n{log}");
    Ok(())
}

#[tokio::test]
async fn nginx_asks_our_router_and_sends_clients_to_the_members_of_their_clusters() -> Result<()> {
    let mut up = start().await?;
    let auth = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    up.reconfigure(|text| {
        let trust = format!("    trust_from: {PROXIES}\n");
        let text = with(&text, &trust, &format!("{trust}    proxy_from: {PROXIES}\n"));
        text.replacen("    listen:\n", &format!("    listen:\n      auth_http: {auth}\n"), 1)
    })
    .await?;
    let Some(nginx) = Nginx::start(&format!("{auth}/auth"))? else { return Ok(()) };
    let told = || format!("{}\n{}", nginx.said(), up.logs());
    for number in [1, 2] {
        let account = up.account(number);
        let mut smtp = Smtp::connect(nginx.smtp).await.with_context(told)?;
        let mail = smtp.mail("a@example.net", &[&account], b"Subject: by nginx\r\n\r\nx\r\n").await?;
        ensure!(mail.data.iter().all(|reply| reply.code == 250), "{mail:?}\n{}", told());
        let mut imap = Imap::login(nginx.imap, &account, up.password()).await.with_context(told)?;
        ensure!(imap.header_fields("INBOX", "Subject").await? == ["by nginx"], "{}", told());
        // Straight to a member of the account's cluster, which was told who the client is.
        logged(&up, &format!("cluster-{number}-a"), imap.connection.local()?)?;
        let mut pop3 = Pop3::login(nginx.pop3, &account, up.password()).await.with_context(told)?;
        ensure!(pop3.ok("STAT").await?.starts_with("+OK 1 "), "{}", told());
        // Unknown and wrong look alike here, too: the member says so.
        for name in [account.as_str(), "nobody@example.org", "no body%"] {
            let tagged = refused(nginx.imap, name, "guess").await?;
            ensure!(tagged.contains("[AUTHENTICATIONFAILED]"), "{name}: {tagged}");
        }
    }
    let mut smtp = Smtp::connect(nginx.smtp).await?;
    let mail = smtp.mail("a@example.net", &["nobody@example.org"], b"Subject: x\r\n\r\nx\r\n").await?;
    ensure!(mail.recipients[0].code == 550, "{mail:?}");
    // While nobody can say where accounts live, nothing is refused for good.
    let directory = up.endpoints.directory.pid.context("a directory of our own")?;
    rustix::process::kill_process(rustix::process::Pid::from_raw(directory).unwrap(), rustix::process::Signal::KILL)?;
    let tagged = refused(nginx.imap, "somebody@example.org", up.password()).await?;
    ensure!(tagged.starts_with("NO [UNAVAILABLE]"), "{tagged}");
    let mut smtp = Smtp::connect(nginx.smtp).await?;
    let mail = smtp.mail("a@example.net", &["somebody@example.org"], b"Subject: x\r\n\r\nx\r\n").await?;
    ensure!(mail.recipients[0].code == 451, "{mail:?}");
    Ok(())
}

#[tokio::test]
async fn haproxy_and_dovecot_stand_in_front_of_members_and_routers() -> Result<()> {
    let mut up = start().await?;
    // HAProxy must send a header; Dovecot, which cannot, comes by the router.
    up.reconfigure(|text| {
        with(&text, &format!("    trust_from: {PROXIES}\n"), &format!("    proxy_from: {PROXIES}\n"))
    })
    .await?;
    let member = up.process("cluster-1-a")?.clone();
    for version in [1, 2] {
        let Some(imap) = Haproxy::start(member.imap()?, version)? else { return Ok(()) };
        let mut client = Imap::login(imap.address, &up.account(1), up.password()).await?;
        client.ok("SELECT INBOX").await?;
        logged(&up, "cluster-1-a", client.connection.local()?)?;
        // The other cluster's account: the member passes it on, as a router would.
        Imap::login(imap.address, &up.account(2), up.password()).await?.ok("SELECT INBOX").await?;
        let pop3 = Haproxy::start(member.pop3()?, version)?.context("HAProxy was there")?;
        Pop3::login(pop3.address, &up.account(1), up.password()).await?.ok("STAT").await?;
    }
    let router = up.router()?.clone();
    let Some(dovecot) = DovecotProxy::start(router.imap()?, router.pop3()?)? else { return Ok(()) };
    let mut client = Imap::login(dovecot.imap, &up.account(1), up.password()).await.with_context(|| dovecot.said())?;
    client.ok("SELECT INBOX").await?;
    logged(&up, "cluster-1-a", client.connection.local()?)?;
    let mut client = Pop3::login(dovecot.pop3, &up.account(2), up.password()).await?;
    client.ok("STAT").await?;
    logged(&up, "cluster-2-a", client.connection.local()?)?;
    let tagged = refused(dovecot.imap, &up.account(1), "guess").await?;
    ensure!(tagged.contains("AUTHENTICATIONFAILED"), "{tagged}");
    Ok(())
}
