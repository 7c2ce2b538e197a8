//! Operators provision with their own LDAP tools: ldapsearch, ldapadd, ldapmodify, ldapdelete, ldapwhoami.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use integration_tests::{
    client::{Imap, Smtp},
    tool,
    up::{Shape, Up},
};

struct Tools<'a> {
    up: &'a Up,
    home: tempfile::TempDir,
}

impl Tools<'_> {
    fn run(&self, name: &str, arguments: &[&str], input: &str) -> Result<String> {
        let program: PathBuf = tool::find(name, "ldap-utils")?.unwrap_or_default();
        let directory = &self.up.endpoints.directory;
        let url = format!("ldap://{}", directory.ldap);
        let common = ["-x", "-H", &url, "-D", &directory.admin_dn, "-w", &directory.admin_password];
        tool::run(&program, &[&common, arguments].concat(), self.home.path(), input.as_bytes())
    }
}

#[tokio::test]
async fn debians_ldap_tools_provision_accounts() -> Result<()> {
    if tool::find("ldapsearch", "ldap-utils")?.is_none() {
        return Ok(());
    }
    let up = Up::start_as(Shape { members: 1, accounts: 2, ..Shape::default() }).await?;
    let tools = Tools { up: &up, home: tempfile::tempdir()? };
    let base = up.endpoints.directory.base.clone();

    ensure!(tools.run("ldapwhoami", &[], "")?.contains(&up.endpoints.directory.admin_dn));
    let account = up.account(1);
    let found = tools.run(
        "ldapsearch",
        &["-LLL", "-b", &base, &format!("(mail={account})"), "uid", "mailHost", "entryUUID", "objectClass"],
        "",
    )?;
    for line in ["mailHost: cluster-1", "objectClass: inetLocalMailRecipient", "entryUUID: "] {
        ensure!(found.contains(line), "`{line}` is missing: {found}");
    }
    let dn = found.lines().find_map(|line| line.strip_prefix("dn: ")).unwrap();
    let parent = dn.split_once(',').unwrap().1;
    let counted = tools.run(
        "ldapsearch",
        &["-LLL", "-E", "pr=1/noprompt", "-b", &base, "(&(objectClass=inetLocalMailRecipient)(uid=user*))", "dn"],
        "",
    )?;
    ensure!(counted.matches("dn: ").count() == 2, "{counted}");

    let hash = "{SSHA}df1uRQ0vdE0c0DZ2vF9MWzYPHqZzYWx0eThieQ=="; // "secret", as slappasswd makes it
    let entry = format!(
        "dn: uid=eve,{parent}\nobjectClass: inetOrgPerson\nobjectClass: inetLocalMailRecipient\nuid: eve\ncn: Eve\nsn: E\n\
         mail: eve@example.org\nmailLocalAddress: eve@example.org\nmailLocalAddress: e.v.e@example.org\nmailHost: cluster-2\nuserPassword: {hash}\n"
    );
    tools.run("ldapadd", &[], &entry)?;
    let mut smtp = Smtp::connect(up.router()?.smtp()?).await?;
    let mail = smtp.mail("a@example.net", &["e.v.e@example.org"], b"Subject: hi\r\n\r\nhi\r\n").await?;
    ensure!(mail.data.first().is_some_and(|reply| reply.code == 250), "{mail:?}");

    tools.run("ldappasswd", &["-s", "new secret", &format!("uid=eve,{parent}")], "")?;
    let mut imap = Imap::login(up.router()?.imap()?, "eve", "new secret").await?;
    ensure!(imap.ok("SELECT INBOX").await?.exists() == Some(1));

    tools.run(
        "ldapmodify",
        &[],
        &format!(
            "dn: uid=eve,{parent}\nchangetype: modify\nadd: mailLocalAddress\nmailLocalAddress: late@example.org\n-\n"
        ),
    )?;
    let mut smtp = Smtp::connect(up.router()?.smtp()?).await?;
    ensure!(accepts(&mut smtp, "late@example.org").await?, "the new address is refused");
    tools.run("ldapdelete", &[&format!("uid=eve,{parent}")], "")?;
    ensure!(tools.run("ldapsearch", &["-LLL", "-b", &base, "(uid=eve)", "dn"], "")?.trim().is_empty());
    refuses_strangers(&tools, &base)?;
    Ok(())
}

/// Password hashes are for the administrator.
fn refuses_strangers(tools: &Tools<'_>, base: &str) -> Result<()> {
    let program = tool::find("ldapsearch", "ldap-utils")?.unwrap_or_default();
    let url = format!("ldap://{}", tools.up.endpoints.directory.ldap);
    let anonymous =
        tool::run(&program, &["-x", "-LLL", "-H", &url, "-b", base, "(uid=*)", "userPassword"], Path::new("/tmp"), b"");
    let said = anonymous.unwrap_or_else(|refused| refused.to_string());
    ensure!(!said.lines().any(|line| line.starts_with("userPassword:")), "anonymous reads hashes: {said}");
    let wrong = ["-x", "-H", &url, "-D", &tools.up.endpoints.directory.admin_dn, "-w", "wrong", "-b", base];
    let refused = tool::run(&program, &wrong, Path::new("/tmp"), b"").unwrap_err().to_string();
    ensure!(refused.contains("(49)"), "{refused}");
    Ok(())
}

/// An unknown address is believed to be unknown for some seconds.
async fn accepts(smtp: &mut Smtp, address: &str) -> Result<bool> {
    for _ in 0..40 {
        smtp.command("MAIL FROM:<a@example.net>").await?;
        let reply = smtp.command(&format!("RCPT TO:<{address}>")).await?;
        smtp.command("RSET").await?;
        if reply.code == 250 {
            return Ok(true);
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    Ok(false)
}
