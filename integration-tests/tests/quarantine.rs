//! An account whose log is damaged: nobody is told a lie, nothing of it is touched, nobody else notices, and a person is told
//! what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    client::{Imap, Pop3, Smtp},
    up::{Shape, Up, program},
};
use serde_json::Value;

#[tokio::test]
async fn a_damaged_account_is_kept_for_a_person_and_mail_for_it_waits() -> Result<()> {
    let shape = Shape { clusters: 1, members: 2, accounts: 2, ..Shape::default() };
    let mut up = Up::start_as(shape).await?;
    let (damaged, whole) = (up.account(1), up.account(2));
    for account in [&damaged, &whole] {
        let mut client = Imap::login(up.router()?.imap()?, account, up.password()).await?;
        for number in 1..=3 {
            client.append("INBOX", text(number).as_bytes()).await?;
        }
    }
    let folder = folder_of(&up, &damaged)?;
    up.stop()?;
    let (segment, place) = damage(&folder)?;
    let before = contents(&folder)?;
    up.start_again().await?;

    let refused = Imap::connect(up.router()?.imap()?).await?.command(&login(&damaged, &up)).await?.tagged;
    ensure!(refused.contains("NO [CONTACTADMIN] account damaged"), "{refused}");
    let mut pop = Pop3::connect(up.router()?.pop3()?).await?;
    pop.ok(&format!("USER {damaged}")).await?;
    let refused = pop.command(&format!("PASS {}", up.password())).await?;
    ensure!(refused.starts_with("-ERR [SYS/PERM] account damaged"), "{refused}");
    let mut lmtp = Smtp::connect_lmtp(up.router()?.lmtp()?).await?;
    let told = lmtp.mail("a@elsewhere.example", &[&damaged, &whole], text(4).as_bytes()).await?;
    ensure!(told.data[0].code / 100 == 4 && told.data[1].is_ok(), "{told:?}");
    // By SMTP the queue takes it, and does not give it up.
    let queued = Smtp::connect(up.router()?.smtp()?).await?.mail("", &[&damaged], text(5).as_bytes()).await?;
    ensure!(queued.data[0].is_ok(), "{queued:?}");
    Imap::login(up.router()?.imap()?, &whole, up.password()).await?.ok("SELECT INBOX").await?;

    let status = laniakea(&up, &["cluster", "status"])?;
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    ensure!(status.status.code() == Some(75) && said.contains("is damaged: seg."), "{status:?}");
    let listed: Value = json(&laniakea(&up, &["store", "quarantine", "list", "--json"])?)?;
    ensure!(listed[0]["directory"] == folder.to_str().unwrap() && listed[0]["cluster"] == "cluster-1", "{listed}");
    ensure!(contents(&folder)? == before, "something was written to what is damaged");

    // What is behind the damage as well as what is in front of it.
    for format in ["maildir", "mbox"] {
        let to = up.data().join(format);
        let export = ["store", "export", "--format", format, "--json"];
        let exported = Command::new(program()?).args(export).arg(&folder).arg(&to).output()?;
        ensure!(exported.status.code() == Some(78), "{exported:?}");
        let told = json(&exported)?;
        ensure!(told["messages"] == 2 && told["damage"].as_array().is_some_and(|all| all.len() == 1), "{told}");
        let files = if format == "maildir" { contents(&to.join("cur"))? } else { contents(&to)? };
        let mail: Vec<u8> = files.into_iter().flat_map(|(_, bytes)| bytes).collect();
        let mail = String::from_utf8(mail)?;
        let has = |number: u32| mail.contains(&format!("body of number {number}"));
        ensure!(has(1) && has(3) && !has(2), "{mail}");
    }
    ensure!(contents(&folder)? == before, "something was written to what is damaged");

    let still = laniakea(&up, &["store", "quarantine", "release", &damaged])?;
    ensure!(still.status.code() == Some(78), "it is not whole: {}", String::from_utf8_lossy(&still.stderr));
    flip(&segment, place)?;
    let released = laniakea(&up, &["store", "quarantine", "release", &damaged])?;
    ensure!(released.status.success(), "{}", String::from_utf8_lossy(&released.stderr));
    let mut client = Imap::login(up.router()?.imap()?, &damaged, up.password()).await?;
    ensure!(client.ok("SELECT INBOX").await?.exists() >= Some(3), "a message is missing");
    ensure!(laniakea(&up, &["cluster", "status"])?.status.success());
    Ok(())
}

fn text(number: u32) -> String {
    format!("Subject: number {number}\r\n\r\nbody of number {number}\r\n")
}

fn login(account: &str, up: &Up) -> String {
    format!("LOGIN \"{account}\" \"{}\"", up.password())
}

fn laniakea(up: &Up, arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(program()?).args(arguments).arg("--config").arg(up.config()).output()?)
}

fn json(output: &Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
}

fn folder_of(up: &Up, account: &str) -> Result<PathBuf> {
    let shown = json(&laniakea(up, &["account", "show", account, "--json"])?)?;
    let id = shown["id"].as_str().context("id")?.to_owned();
    let digits = id.replace('-', "");
    let storage = &up.endpoints.clusters[0].storage;
    Ok(storage.join("accounts").join(&digits[28..30]).join(&digits[30..32]).join(id))
}

/// Changes one byte of a batch that others follow. Returns where.
fn damage(folder: &Path) -> Result<(PathBuf, usize)> {
    let segments = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let is_first = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seg."));
    let segment = segments.iter().filter(is_first).min().context("a segment")?.clone();
    let bytes = fs::read(&segment)?;
    let wanted = b"body of number 2";
    let place = bytes.windows(wanted.len()).position(|bytes| bytes == wanted).context("the second message")?;
    flip(&segment, place)?;
    Ok((segment, place))
}

fn flip(segment: &Path, place: usize) -> Result<()> {
    let mut bytes = fs::read(segment)?;
    bytes[place] ^= 1;
    Ok(fs::write(segment, bytes)?)
}

fn contents(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            all.push((path.clone(), fs::read(&path)?));
        }
    }
    all.sort();
    Ok(all)
}
