//! Many accounts from a file: what can be added is, what cannot is told by line, and an interrupted import goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;

use anyhow::{Result, ensure};
use integration_tests::{
    client::Imap,
    up::{Shape, Up},
};
use serde_json::Value;

/// Imports a file; what the program prints, and whether it says that all went in.
fn import(up: &Up, file: &std::path::Path) -> Result<(Value, bool)> {
    let output = up.laniakea(&["account", "import", "--json", &file.display().to_string()])?;
    Ok((serde_json::from_slice(&output.stdout)?, output.status.success()))
}

#[tokio::test]
async fn accounts_come_from_spreadsheets_and_from_ldif() -> Result<()> {
    let up = Up::start_as(Shape { members: 1, accounts: 1, ..Shape::default() }).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("people.csv");
    fs::write(
        &file,
        "Address,name,cluster,quota,password,more_addresses\n\
         eve@example.org,\"Smith, Eve\",cluster-2,2 GiB,pw,e@example.org e.smith@second.example\n\
         user1@example.org,,cluster-1,,,\n\
         no address,,cluster-1,,,\n\
         adam@example.org,,cluster-9,,,\n\
         anna@example.org,,cluster-1,much,,\n",
    )?;
    let (said, all_in) = import(&up, &file)?;
    ensure!(!all_in && said["added"] == 1 && said["existed"] == 1 && said["refused"] == 3, "{said}");
    let lines: Vec<u64> = said["reasons"].as_array().unwrap().iter().filter_map(|one| one["line"].as_u64()).collect();
    ensure!(lines == [4, 5, 6], "{said}");
    Imap::login(up.router()?.imap()?, "eve@example.org", "pw").await?;

    let base = &up.endpoints.directory.base;
    let mut ldif = format!("dn: ou=people,{base}\nobjectClass: organizationalUnit\nou: people\n");
    let mut half = 0;
    for number in 0..40 {
        if number == 20 {
            half = ldif.len();
        }
        ldif += &format!(
            "\ndn: uid=p{number},ou=people,{base}\nobjectClass: inetOrgPerson\nobjectClass: inetLocalMailRecipient\n\
             uid: p{number}\ncn: P\nsn: P\nmailLocalAddress: p{number}@example.org\nmailHost: cluster-1\nuserPassword:: cHc=\n"
        );
    }
    let file = folder.path().join("people.ldif");
    fs::write(&file, &ldif)?;
    let (said, all_in) = import(&up, &file)?;
    ensure!(all_in && said["added"] == 41, "{said}");
    Imap::login(up.router()?.imap()?, "p39", "pw").await?;
    let (said, _) = import(&up, &file)?;
    ensure!(said["added"] == 0 && said["existed"] == 41, "{said}");

    // As an import leaves it that was interrupted half-way: only the rest is done again.
    let note = folder.path().join("people.ldif.import");
    fs::write(&note, format!("{} {half} {}\n", ldif.len(), ldif[..half].lines().count()))?;
    let (said, _) = import(&up, &file)?;
    ensure!(said["existed"] == 20 && !note.exists(), "{said}");
    // Of another file it says nothing.
    fs::write(&note, format!("{} {half} 1\n", ldif.len() + 1))?;
    let (said, _) = import(&up, &file)?;
    ensure!(said["existed"] == 41, "{said}");
    Ok(())
}

#[tokio::test]
async fn a_directory_that_does_not_run_is_filled_at_once() -> Result<()> {
    let mut up = Up::start_as(Shape { clusters: 1, members: 1, accounts: 1, ..Shape::default() }).await?;
    let base = up.endpoints.directory.base.clone();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("people.ldif");
    let account = |number: u32, address: u32| {
        format!(
            "dn: uid=p{number},ou=accounts,{base}\nobjectClass: inetOrgPerson\nobjectClass: inetLocalMailRecipient\n\
             uid: p{number}\ncn: P\nsn: P\nmailLocalAddress: p{address}@example.org\nmailHost: cluster-1\n\
             userPassword: pw\nentryUUID: 6f8a3b1e-0d5c-4e53-9a53-3f1d0c4b7a{number:02}\n\n"
        )
    };
    fs::write(&file, format!("{}{}{}", account(10, 10), account(11, 11), account(12, 10)))?;
    let arguments = ["account", "import", "--offline", "--json", &file.display().to_string()];
    let refused = up.laniakea(&arguments)?;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(64) && why.contains("stop it first"), "{why}");

    up.stop()?;
    let output = up.laniakea(&arguments)?;
    let said: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(said["added"] == 2 && said["refused"] == 1 && said["reasons"][0]["line"] == 23, "{said}");
    up.start_again().await?;
    Imap::login(up.router()?.imap()?, "p11", "pw").await?;
    Imap::login(up.router()?.imap()?, &up.account(1), up.password()).await?;
    let shown = up.json(&["account", "show", "p10"])?;
    ensure!(shown["id"] == "6f8a3b1e-0d5c-4e53-9a53-3f1d0c4b7a10", "{shown}");
    Ok(())
}
