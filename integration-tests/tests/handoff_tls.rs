//! Routers and members that show one another certificates, and those who have none, or another's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    client::{Imap, Pop3, Smtp},
    up::{Shape, Up},
};
use laniakea_config::{CertificateSettings, Config, HandoffTlsSettings};
use laniakea_router::{
    drive::{Dialler, HandoffTls, Handoffs},
    handoff::{Preamble, Protocol, SessionId},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a process may take to do what a signal tells it, and a connection to be refused.
const DEADLINE: Duration = Duration::from_secs(30);

/// An authority, in files of its own.
struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, folder.display().to_string());
        let key = KeyPair::generate()?;
        fs::write(folder.join("ca.pem"), params.self_signed(&key)?.pem())?;
        Ok(Self { folder, issuer: Issuer::new(params, key) })
    }

    /// Signs for `names` until `year`, in files called `file`.
    fn sign(&self, file: &str, names: &[&str], year: i32) -> Result<CertificateSettings> {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate()?;
        let path = |kind: &str| self.folder.join(format!("{file}.{kind}"));
        fs::write(path("pem"), params.signed_by(&key, &self.issuer)?.pem())?;
        fs::write(path("key"), key.serialize_pem())?;
        Ok(CertificateSettings { certificate: path("pem"), key: path("key") })
    }
}

/// Has all processes named read their configuration again, and waits until each has said `word` once more.
async fn reload(up: &Up, names: &[&str], word: &str) -> Result<()> {
    let count = |name: &str| -> Result<usize> {
        Ok(fs::read_to_string(up.data().join(format!("logs/{name}.log")))?.matches(word).count())
    };
    for name in names {
        let before = count(name)?;
        up.hang_up(name)?;
        let waiting = async {
            while count(name)? == before {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok::<_, anyhow::Error>(())
        };
        tokio::time::timeout(DEADLINE, waiting).await.with_context(|| format!("{name}: {word}\n{}", up.logs()))??;
    }
    Ok(())
}

/// What a handoff listener says to somebody who dials it with `tls`, and then behaves as a router does.
async fn heard(config: &Config, tls: Option<HandoffTlsSettings>, protocol: Protocol) -> Result<Vec<u8>> {
    let mut config = config.clone();
    config.clusters[0].handoff_tls = tls;
    let member = config.clusters[0].members[0].handoff;
    let handoffs = Handoffs::new(Dialler::default(), HandoffTls::load(&config, "somebody")?);
    let mut stream = handoffs.dial(member).await?;
    let preamble = Preamble {
        client: "192.0.2.1:4711".parse()?,
        local: member,
        protocol,
        tls: None,
        session: SessionId(7),
        hops: 0,
        ticket: None,
    };
    let command: &[u8] = match protocol {
        Protocol::Imap => b"a LOGOUT\r\n",
        _ => b"QUIT\r\n",
    };
    stream.write_all(&[preamble.encode().as_slice(), command].concat()).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await??;
    Ok(answer)
}

/// Everything that is handed over, by a router and between members.
async fn use_all(up: &Up) -> Result<()> {
    let (router, account) = (up.router()?, up.account(1));
    let mail = |mail: integration_tests::client::Mail| {
        ensure!(mail.data.iter().all(|reply| reply.code == 250), "{mail:?}\n{}", up.logs());
        Ok(())
    };
    let message = b"Subject: x\r\n\r\nx\r\n";
    mail(Smtp::connect(router.smtp()?).await?.mail("a@example.net", &[&account], message).await?)?;
    mail(Smtp::connect_lmtp(router.lmtp()?).await?.mail("a@example.net", &[&account], message).await?)?;
    Pop3::login(router.pop3()?, &account, up.password()).await?.ok("STAT").await?;
    Imap::login(router.imap()?, &account, up.password()).await?.ok("SELECT INBOX").await?;
    // One of the two is the owner; the other passes the connection, and the message, on to it.
    for member in up.members(1)? {
        Imap::login(member.imap()?, &account, up.password()).await?.ok("SELECT INBOX").await?;
        mail(Smtp::connect_lmtp(member.lmtp()?).await?.mail("a@example.net", &[&account], message).await?)?;
    }
    Ok(())
}

#[tokio::test]
async fn handoffs_are_for_those_who_show_a_certificate() -> Result<()> {
    const ALL: [&str; 3] = ["cluster-1-a", "cluster-1-b", "router-1"];
    let up = Up::start_as(Shape { clusters: 1, members: 2, accounts: 1, ..Shape::default() }).await?;
    let mut session = Imap::login(up.router()?.imap()?, &up.account(1), up.password()).await?;
    let (ours, foreign) =
        (Authority::new(up.data().join("tls/handoff"))?, Authority::new(up.data().join("tls/foreign"))?);
    let own = ours.sign("host", &ALL, 4000)?;
    let ca = ours.folder.join("ca.pem");
    let text = fs::read_to_string(up.config())?;
    let section = "    handoff_tls:\n      certificate_file: tls/handoff/host.pem\n      key_file: tls/handoff/host.key\n      ca_file: tls/handoff/ca.pem\n    members:\n";
    fs::write(up.config(), text.replacen("    members:\n", section, 1))?;
    reload(&up, &ALL, "reloaded").await?;
    use_all(&up).await?;
    // It began before, in the clear, and goes on.
    session.ok("NOOP").await?;

    let config = Config::load(&up.config()).map_err(|faults| anyhow::anyhow!("{faults}"))?;
    let with = |own: CertificateSettings| Some(HandoffTlsSettings { own, ca: ca.clone() });
    for protocol in [Protocol::Imap, Protocol::Pop3, Protocol::Smtp, Protocol::Lmtp, Protocol::Submission] {
        let answer = heard(&config, with(own.clone()), protocol).await?;
        ensure!(!answer.is_empty(), "{protocol} is not served");
        // Nobody of these sees a byte of the protocol; who speaks no TLS sees an alert of it (RFC 8446 §6).
        let plain = heard(&config, None, protocol).await.unwrap_or_default();
        ensure!(plain.first().is_none_or(|first| *first == 21) && plain.len() < 8, "{plain:?}");
        for stranger in [ours.sign("late", &["router-1"], 2000)?, foreign.sign("foreign", &["router-1"], 4000)?] {
            let refused = heard(&config, with(stranger), protocol).await;
            ensure!(refused.is_err(), "{protocol}: {refused:?}");
        }
    }
    let complaints = up.complaints()?.join("\n");
    for why in ["speaks no TLS, which `handoff_tls` demands", "certificate expired", "UnknownIssuer"] {
        ensure!(complaints.contains(why), "{why}\n{complaints}");
    }

    // A router whose certificate has run out serves nobody, says why, and serves again with another one.
    ours.sign("host", &["router-1"], 2000)?;
    reload(&up, &["router-1"], "reloaded").await?;
    let mut lmtp = Smtp::connect_lmtp(up.router()?.lmtp()?).await?;
    let mail = lmtp.mail("a@example.net", &[&up.account(1)], b"Subject: x\r\n\r\nx\r\n").await?;
    ensure!(mail.recipients.iter().chain(&mail.data).any(|reply| reply.code == 451), "{mail:?}");
    let complaints = up.complaints()?.join("\n");
    ensure!(complaints.contains("CertificateExpired"), "{complaints}");
    ours.sign("host", &ALL, 4000)?;
    reload(&up, &["router-1"], "reloaded").await?;
    use_all(&up).await?;
    session.ok("NOOP").await?;
    Ok(())
}
