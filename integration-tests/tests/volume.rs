//! A volume that is not mounted, or goes away under members that run: they stop, and no empty cluster takes its place.
//! A volume that is full: new mail is refused, and what frees room goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    client::{Imap, Smtp},
    hosts::{self, Host, Network, on_host},
    up::program,
};
use serde_json::Value;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn members_whose_volume_is_unmounted_under_them_stop_and_start_only_when_it_is_back() -> Result<()> {
    losing_it(&["umount", "-l"], |host, storage| host.run("umount", &["-l", storage]).map(drop))
}

#[test]
fn members_whose_volume_is_covered_by_an_empty_one_stop_and_make_no_new_cluster_in_it() -> Result<()> {
    losing_it(&["mount over"], |host, storage| host.run("mount", &["-t", "tmpfs", "empty", storage]).map(drop))
}

/// Short enough to lie in the log, and many to a megabyte.
const MESSAGE_BYTES: usize = 60_000;

#[tokio::test]
async fn a_full_volume_refuses_new_mail_and_gives_room_again_for_what_is_expunged() -> Result<()> {
    if !hosts::are_possible()? {
        return Ok(());
    }
    let folder = tempfile::Builder::new().prefix("laniakea-volume-").tempdir()?;
    let mut network = Network::new()?;
    let host = network.host("alone")?;
    let storage = folder.path().join("mount");
    fs::create_dir(&storage)?;
    let storage = storage.to_str().context("path")?;
    host.run("mount", &["-t", "tmpfs", "-o", "size=24m", "volume", storage])?;
    let mut up = start_up(&host, folder.path(), storage)?;
    let endpoints = until_ready(folder.path(), &mut up)?;
    let at = |service: &str| -> Result<SocketAddr> {
        Ok(endpoints["routers"][0][service].as_str().with_context(|| service.to_owned())?.parse()?)
    };
    let account = format!("user1@{}", endpoints["domain"].as_str().context("domain")?);
    on_host(&host)?;

    let message = format!("Subject: full\r\n\r\n{}", format!("{}\r\n", "x".repeat(78)).repeat(MESSAGE_BYTES / 80));
    let mut client = Imap::login(at("imap")?, &account, "secret").await?;
    let mut kept = 0;
    let refusal = loop {
        let answer = client.append("INBOX", message.as_bytes()).await?;
        if !answer.is_ok() {
            break answer.tagged;
        }
        kept += 1;
        ensure!(kept < 1_000, "24 MiB do not hold {kept} messages");
    };
    println!("  {kept} messages fit: {}", refusal.trim());
    ensure!(kept > 200 && refusal.starts_with("NO [UNAVAILABLE]"), "{kept} messages, then {refusal}");
    let mail = Smtp::connect(at("smtp")?).await?.mail("a@elsewhere.example", &[&account], message.as_bytes()).await?;
    ensure!(mail.data[0].code == 452 && mail.data[0].text.contains("4.3.1"), "{mail:?}");
    let config = folder.path().join("data/laniakea.yaml");
    let status = ["cluster", "status", "--config", config.to_str().context("path")?];
    let begin = Instant::now();
    loop {
        ensure!(!client.append("INBOX", message.as_bytes()).await?.is_ok(), "there is room");
        let told = run(&host, &status)?;
        if told.status.code() == Some(75) && String::from_utf8_lossy(&told.stderr).contains("is nearly full") {
            break;
        }
        ensure!(begin.elapsed() < PATIENCE, "the status does not tell: {told:?}");
    }

    // Flags and expunges are written from the reserve, and so is the compaction that follows.
    client.ok("SELECT INBOX").await?;
    client.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)").await?;
    client.ok("EXPUNGE").await?;
    let begin = Instant::now();
    while !client.append("INBOX", message.as_bytes()).await?.is_ok() {
        ensure!(begin.elapsed() < PATIENCE, "there is no room again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mail = Smtp::connect(at("smtp")?).await?.mail("a@elsewhere.example", &[&account], message.as_bytes()).await?;
    ensure!(mail.data[0].is_ok(), "{mail:?}");
    until("the status is good again", || Ok(run(&host, &status)?.status.success()))?;
    up.kill()?;
    up.wait()?;
    Ok(())
}

fn until(what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !is_so()? {
        ensure!(begin.elapsed() < PATIENCE, "{what}, but not in time");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn losing_it(how: &[&str], lose: impl Fn(&Host, &str) -> Result<()>) -> Result<()> {
    if !hosts::are_possible()? {
        return Ok(());
    }
    let folder = tempfile::Builder::new().prefix("laniakea-volume-").tempdir()?;
    let mut network = Network::new()?;
    let host = network.host("alone")?;
    let storage = folder.path().join("mount");
    fs::create_dir(&storage)?;
    let storage = storage.to_str().context("path")?;
    host.run("mount", &["-t", "tmpfs", "volume", storage])?;
    let mut up = start_up(&host, folder.path(), storage)?;
    let endpoints = until_ready(folder.path(), &mut up)?;
    let seen = host.root()?.join(storage.trim_start_matches('/'));
    ensure!(seen.join("laniakea-volume").exists() && seen.join("cluster/live").exists(), "there is no cluster");

    let members = endpoints["clusters"][0]["members"].as_array().context("members")?.clone();
    let lost = Instant::now();
    lose(&host, storage)?;
    for member in &members {
        let pid = member["pid"].as_i64().context("pid")?;
        // `up` waits for its children, so that none stays as a zombie.
        while host.run("sh", &["-c", &format!("kill -0 {pid}")]).is_ok() {
            ensure!(lost.elapsed() < PATIENCE, "{member} goes on without its volume");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    println!("  {}: both members ended within {:?}", how.join(" "), lost.elapsed());
    for member in &members {
        let log = format!("data/logs/{}.log", member["name"].as_str().context("name")?);
        let log = fs::read_to_string(folder.path().join(log))?;
        ensure!(log.contains("the volume went away under this member"), "{log}");
    }
    let left: Vec<_> = fs::read_dir(&seen)?.collect::<Result<_, _>>()?;
    ensure!(left.is_empty(), "the mount point is not empty any more: {left:?}");
    up.kill()?;
    up.wait()?;

    let config = folder.path().join("data/laniakea.yaml");
    let config = config.to_str().context("path")?;
    let refused = run(&host, &["backend", "--name", "cluster-1-a", "--config", config])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(78), "a member without its volume: {}\n{said}", refused.status);
    for expected in ["has no file laniakea-volume", "Mount it and start again", "laniakea store init"] {
        ensure!(said.contains(expected), "the message lacks {expected}: {said}");
    }
    let storage_of = format!("cluster-1={storage}");
    let data = folder.path().join("data");
    let again = ["up", "--data", data.to_str().context("path")?, "--storage", &storage_of];
    let refused = run(&host, &again)?;
    ensure!(refused.status.code() == Some(78), "`up` without its volume: {}", refused.status);
    let left: Vec<_> = fs::read_dir(&seen)?.collect::<Result<_, _>>()?;
    ensure!(left.is_empty(), "the mount point is not empty any more: {left:?}");
    Ok(())
}

fn start_up(host: &Host, folder: &Path, storage: &str) -> Result<Child> {
    let mut command = host.command(program()?.to_str().context("path")?)?;
    command.arg("up").arg("--data").arg(folder.join("data"));
    command.args(["--clusters", "1", "--members", "2", "--accounts", "2", "--password", "secret"]);
    command.args(["--restart-after", "never", "--storage", &format!("cluster-1={storage}")]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    host.spawn(&mut command)
}

fn until_ready(folder: &Path, up: &mut Child) -> Result<Value> {
    let begin = Instant::now();
    loop {
        if let Ok(text) = fs::read_to_string(folder.join("data/endpoints.json")) {
            return Ok(serde_json::from_str(&text)?);
        }
        ensure!(up.try_wait()?.is_none() && begin.elapsed() < PATIENCE, "`up` does not get ready");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn run(host: &Host, arguments: &[&str]) -> Result<Output> {
    let mut command = host.command(program()?.to_str().context("path")?)?;
    host.output(command.args(arguments))
}
