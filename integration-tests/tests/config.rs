//! The operator's commands, on a running installation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;

use anyhow::{Result, ensure};
use integration_tests::{
    client::{Imap, Smtp},
    up::{Shape, Up},
};

#[tokio::test]
async fn the_generated_file_is_accepted_and_a_broken_one_explained_by_line() -> Result<()> {
    let up = Up::start_as(Shape { clusters: 1, members: 1, accounts: 1, ..Shape::default() }).await?;
    let said = up.say(&["config", "check"])?;
    ensure!(said.contains("is good: 1 router, 1 cluster of 1 member in all, embedded directory"), "{said}");
    let shown = up.say(&["config", "show"])?;
    ensure!(shown.contains("name: cluster-1-a"), "{shown}");
    let schema: serde_json::Value = serde_json::from_str(&up.say(&["config", "schema"])?)?;
    ensure!(schema["required"].as_array().is_some_and(|keys| keys.len() == 4));

    let broken = up.data().join("broken.yaml");
    let text = fs::read_to_string(up.config())?;
    let line = text.lines().position(|line| line.contains("storage:")).unwrap() + 1;
    fs::write(
        &broken,
        text.replace("    storage:", "    storrage:").replace("control: 127.0.0.1", "control: localhost"),
    )?;
    let output = up.laniakea(&["config", "check", "--config", broken.to_str().unwrap()])?;
    let told = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(78), "{:?}", output.status);
    ensure!(
        told.contains(&format!("broken.yaml:{line}:5: unknown key `storrage`")) && told.contains("try: `storage`"),
        "{told}"
    );
    ensure!(told.contains("try: 127.0.0.1:"), "{told}");
    let output = up.laniakea(&["router", "--name", "router-9"])?;
    ensure!(output.status.code() == Some(78), "{:?}", output.status);
    let output = up.laniakea(&["account", "frobnicate"])?;
    ensure!(output.status.code() == Some(64), "{:?}", output.status);
    let output = up.laniakea(&["up", "--data", up.data().to_str().unwrap()])?;
    let told = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(64) && told.contains("another `laniakea up`"), "{told}");
    Ok(())
}

#[tokio::test]
async fn accounts_are_added_changed_and_deleted_while_everything_runs() -> Result<()> {
    let up = Up::start_as(Shape { accounts: 2, ..Shape::default() }).await?;
    let imap = up.router()?.imap()?;
    let output = up.laniakea(&["account", "add", "jane@example.org"])?;
    let told = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(64) && told.contains("cluster-1, cluster-2"), "{told}");
    let added = up.json(&[
        "account",
        "add",
        "jane@example.org",
        "--cluster",
        "cluster-2",
        "--address",
        "sales@example.org",
        "--quota",
        "2 GiB",
    ])?;
    let password = added["password"].as_str().unwrap();
    ensure!(up.laniakea(&["account", "add", "jane@example.org", "--cluster", "cluster-2"])?.status.code() == Some(64));

    let mut smtp = Smtp::connect(up.router()?.smtp()?).await?;
    let mail = smtp.mail("a@example.net", &["sales@example.org"], b"Subject: offer\r\n\r\nbuy\r\n").await?;
    ensure!(mail.data.first().is_some_and(|reply| reply.code == 250), "{mail:?}");
    let mut jane = Imap::login(imap, "jane@example.org", password).await?;
    ensure!(jane.ok("SELECT INBOX").await?.exists() == Some(1));

    let listed = up.json(&["account", "list"])?;
    ensure!(listed.as_array().is_some_and(|list| list.len() == 3), "{listed}");
    let shown = up.json(&["account", "show", "sales@example.org"])?;
    ensure!(
        shown["login"] == "jane@example.org" && shown["quota"] == 2_u64 << 30 && shown["cluster"] == "cluster-2",
        "{shown}"
    );

    let changed = up.json(&["account", "passwd", "jane@example.org"])?;
    let new = changed["password"].as_str().unwrap();
    ensure!(logs_in(&up, new).await?, "the new password is refused");
    up.say(&["account", "disable", "jane@example.org"])?;
    ensure!(!logs_in(&up, new).await?, "a disabled account logs in");
    up.say(&["account", "set", "jane@example.org", "--status", "active", "--quota", "none"])?;
    ensure!(logs_in(&up, new).await?, "an active account is refused");
    ensure!(
        up.laniakea(&["account", "delete", "jane@example.org"])?.status.code() == Some(64),
        "deleted without --yes"
    );
    up.say(&["account", "delete", "jane@example.org", "--yes"])?;
    ensure!(up.laniakea(&["account", "show", "jane@example.org"])?.status.code() == Some(64));
    Ok(())
}

#[tokio::test]
async fn status_and_explain_tell_who_has_what() -> Result<()> {
    let up = Up::start().await?;
    let account = up.account(1);
    let status = up.json(&["cluster", "status"])?;
    for cluster in status["clusters"].as_array().unwrap() {
        ensure!(cluster["controller"].is_string() && cluster["term"].is_u64(), "{cluster}");
        ensure!(cluster["members"].as_array().unwrap().iter().all(|member| member["alive"] == true), "{cluster}");
    }
    let mut imap = Imap::login(up.router()?.imap()?, &account, up.password()).await?;
    imap.ok("SELECT INBOX").await?;
    let story = up.say(&["explain", &account])?;
    for word in ["cluster    cluster-1", "controller cluster-1-", "owner      cluster-1-", "epoch", "if it dies"] {
        ensure!(story.contains(word), "`{word}` is missing:\n{story}");
    }
    let output = up.laniakea(&["explain", "nobody@example.org"])?;
    ensure!(output.status.code() == Some(64) && String::from_utf8(output.stderr)?.contains("550 5.1.1"));
    up.kill("cluster-2-b")?;
    up.kill("cluster-2-a")?;
    let output = up.laniakea(&["cluster", "status"])?;
    ensure!(
        output.status.code() == Some(75) && String::from_utf8(output.stderr)?.contains("cluster-2 has no controller")
    );
    Ok(())
}

/// The directory's answer may be remembered for a moment: what changed must be seen within two minutes.
async fn logs_in(up: &Up, password: &str) -> Result<bool> {
    let wanted = up.json(&["account", "show", "jane@example.org"])?["status"] == "active";
    let mut is_in = !wanted;
    for _ in 0..200 {
        is_in = Imap::login(up.router()?.imap()?, "jane@example.org", password).await.is_ok();
        if is_in == wanted {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    }
    Ok(is_in)
}
