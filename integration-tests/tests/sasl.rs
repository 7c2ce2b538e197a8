//! Logins without showing a password: SCRAM-SHA-256 and tokens, with other people's clients, at our members and at a Dovecot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use integration_tests::{
    client::Imap,
    peers::Dovecot,
    tool,
    up::{Shape, Up},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse";
const OFFERED: &str = "sasl:\n  mechanisms: [scram-sha-256]\n";

/// Logs in with GNU SASL and returns what it printed; an error if it was not let in.
fn gsasl(program: &Path, protocol: &str, address: SocketAddr, name: &str, password: &str) -> Result<String> {
    let port = address.port().to_string();
    let home = tempfile::tempdir()?;
    let arguments = [protocol, "--no-starttls", "--no-cb", "--mechanism", "SCRAM-SHA-256", "--authentication-id", name];
    let more = ["--password", password, "127.0.0.1", &port];
    tool::run(program, &[arguments.as_slice(), more.as_slice()].concat(), home.path(), b"")
}

/// What a client is told that begins an exchange, and what it hears after a wrong proof.
async fn asked(router: SocketAddr, name: &str) -> Result<(String, String)> {
    let mut imap = Imap::connect(router).await?;
    let first = STANDARD.encode(format!("n,,n={name},r=nonce"));
    imap.connection.send_line(&format!("a AUTHENTICATE SCRAM-SHA-256 {first}")).await?;
    let line = String::from_utf8(imap.connection.line().await?)?;
    let challenge = String::from_utf8(STANDARD.decode(line.strip_prefix("+ ").context("no challenge")?)?)?;
    let (nonce, rest) = challenge.split_once(',').context("no salt")?;
    let proof = format!("c=biws,{nonce},p={}", STANDARD.encode([7; 32]));
    imap.connection.send_line(&STANDARD.encode(proof)).await?;
    let refusal = String::from_utf8(imap.connection.line().await?)?;
    Ok((rest.to_owned(), refusal))
}

#[tokio::test]
async fn a_proof_of_the_password_logs_in_at_whoever_has_the_account() -> Result<()> {
    const AT_HOME: &str = "scram@example.org";
    const ABROAD: &str = "abroad@example.org";
    let Some(program) = tool::find("gsasl", "gsasl")? else { return Ok(()) };
    let mut up = Up::start_as(Shape { clusters: 2, members: 2, accounts: 1, ..Shape::default() }).await?;
    let Some(dovecot) = Dovecot::start(&[ABROAD], PASSWORD, None)? else { return Ok(()) };
    let foreign = format!(
        "foreign:\n  - hosts: [127.0.0.1]\n    imap: {}\n    pop3: {}\n    tls: off\n",
        dovecot.imap.port(),
        dovecot.pop3.port()
    );
    up.reconfigure(|text| format!("{text}\n{OFFERED}{foreign}")).await?;
    let password = up.data().join("secrets/accounts-password");
    let password = password.to_str().context("a path")?;
    for (address, home) in [(AT_HOME, "cluster-1"), (ABROAD, "127.0.0.1")] {
        up.say(&["account", "add", address, "--cluster", home, "--password-file", password])?;
    }
    let router = up.router()?.imap()?;
    let imap = Imap::connect(router).await?;
    ensure!(imap.greeting.contains(" AUTH=SCRAM-SHA-256"), "{}", imap.greeting);
    let right = up.password().to_owned();
    // Through the router, by submission, and at both members themselves: one of them has to send the client on.
    gsasl(&program, "--imap", router, AT_HOME, &right).with_context(|| up.logs())?;
    gsasl(&program, "--smtp", up.router()?.submission()?, AT_HOME, &right).with_context(|| up.logs())?;
    for number in 0..2 {
        let member = up.endpoints.clusters[0].members[number].imap.context("imap")?;
        gsasl(&program, "--imap", member, AT_HOME, &right).with_context(|| up.logs())?;
    }
    // At a member of another cluster, whose own word counts for nothing there.
    let other = up.endpoints.clusters[1].members[0].imap.context("imap")?;
    gsasl(&program, "--imap", other, AT_HOME, &right).with_context(|| up.logs())?;
    // A password works as before.
    Imap::login(router, AT_HOME, &right).await?;
    // Dovecot answers for its own.
    gsasl(&program, "--imap", router, ABROAD, PASSWORD).with_context(|| dovecot.said())?;
    gsasl(&program, "--imap", other, ABROAD, PASSWORD).with_context(|| dovecot.said())?;
    for (address, password) in [(AT_HOME, "guess"), (ABROAD, "guess"), ("nobody@example.org", "guess")] {
        ensure!(gsasl(&program, "--imap", router, address, password).is_err(), "{address}");
    }
    // Who has keys, who has a hash of another kind, and who is nobody, look alike, and always the same.
    let (known, refusal) = asked(router, AT_HOME).await?;
    for name in [up.account(1), "nobody@example.org".to_owned()] {
        let (salt, again) = (asked(router, &name).await?, asked(router, &name).await?);
        ensure!(salt == again, "{salt:?} {again:?}");
        ensure!(salt.1 == refusal && refusal == "a NO [AUTHENTICATIONFAILED] authentication failed", "{salt:?}");
        ensure!(salt.0 != known && salt.0.len() == known.len(), "{salt:?} {known}");
        ensure!(salt.0.split_once(",i=").unwrap().1 == known.split_once(",i=").unwrap().1, "{salt:?} {known}");
    }
    Ok(())
}

/// An identity provider, as far as we see one: a key, and what it signs.
struct Issuer(EncodingKey);

impl Issuer {
    fn new() -> Result<Self> {
        Ok(Self(EncodingKey::from_ec_der(&rcgen::KeyPair::generate()?.serialize_der())))
    }

    fn key_set(&self) -> Result<String> {
        Ok(json!({"keys": [Jwk::from_encoding_key(&self.0, Algorithm::ES256)?]}).to_string())
    }

    fn token(&self, address: &str) -> Result<String> {
        let soon = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 600;
        let claims: Value = json!({"iss": "https://id.example.org", "aud": "mail", "exp": soon, "email": address});
        Ok(encode(&Header::new(Algorithm::ES256), &claims, &self.0)?)
    }
}

#[tokio::test]
async fn a_token_of_the_identity_provider_logs_in_and_no_other_does() -> Result<()> {
    let Some(curl) = tool::find("curl", "curl")? else { return Ok(()) };
    let (issuer, other) = (Issuer::new()?, Issuer::new()?);
    let mut up = Up::start_as(Shape { clusters: 1, members: 2, accounts: 2, ..Shape::default() }).await?;
    let keys = up.data().join("keys.json");
    fs::write(&keys, issuer.key_set()?)?;
    let tokens = format!(
        "sasl:\n  mechanisms: [oauthbearer, xoauth2]\n  tokens: {{keys_file: {}, issuer: \"https://id.example.org\", audience: mail}}\n",
        keys.display()
    );
    up.reconfigure(|text| format!("{text}\n{tokens}")).await?;
    let (one, two) = (up.account(1), up.account(2));
    let log_in = |address: SocketAddr, mechanism: &str, name: &str, token: &str| {
        let home = tempfile::tempdir()?;
        let (user, url) = (format!("{name}:"), format!("imap://{address}/"));
        let options = format!("AUTH={mechanism}");
        let arguments =
            ["-sS", "--max-time", "20", "--login-options", &options, "--oauth2-bearer", token, "--user", &user, &url];
        tool::run(&curl, &arguments, home.path(), b"")
    };
    let addresses = [up.router()?.imap()?, up.endpoints.clusters[0].members[0].imap.context("imap")?];
    for address in addresses {
        for mechanism in ["OAUTHBEARER", "XOAUTH2"] {
            let told = log_in(address, mechanism, &one, &issuer.token(&one)?).with_context(|| up.logs())?;
            ensure!(told.contains("INBOX"), "{told}");
        }
    }
    let router = addresses[0];
    ensure!(log_in(router, "OAUTHBEARER", &one, &issuer.token(&two)?).is_err());
    ensure!(log_in(router, "OAUTHBEARER", &one, &other.token(&one)?).is_err());
    ensure!(log_in(router, "XOAUTH2", "nobody@example.org", &issuer.token("nobody@example.org")?).is_err());
    // A password is still one.
    Imap::login(router, &one, up.password()).await?;
    Ok(())
}
