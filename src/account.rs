//! `laniakea account`: accounts in the directory.

mod import;

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use laniakea_config::{Config, Role, units};
use laniakea_directory::{
    AccountRecord, Address, Admin, LoginName, NewAccount, Secret, Status,
    provision::{AccountChange, NewPassword, ProvisionError},
};
use rand::RngExt as _;
use serde_json::{Value, json};

use crate::{
    config::count,
    exit::{Failure, say, say_json},
    installation::{Installation, command_runtime},
    router::unknown,
    table::table,
};

/// Add, show, list, change and delete accounts.
#[derive(clap::Subcommand)]
pub enum Account {
    /// Add an account.
    #[command(after_help = "Examples:
  laniakea account add jane@example.org --cluster cluster-1
  laniakea account add jane@example.org --cluster cluster-1 --quota '2 GiB' --password-file - < password

Without --password-file a password is made up and printed.")]
    Add(Add),
    /// Show one account.
    #[command(after_help = "Example:\n  laniakea account show jane@example.org --json")]
    Show(Named),
    /// List accounts.
    #[command(after_help = "Example:\n  laniakea account list --cluster cluster-1")]
    List(List),
    /// Change an account: cluster, status, quota, forward, addresses.
    #[command(after_help = "Examples:
  laniakea account set jane@example.org --quota '5 GiB' --add-address sales@example.org
  laniakea account set jane@example.org --status maintenance")]
    Set(Box<Set>),
    /// Give an account another password.
    #[command(after_help = "Examples:
  laniakea account passwd jane@example.org
  laniakea account passwd jane@example.org --password-file - < password

Without --password-file a password is made up and printed.")]
    Passwd(Passwd),
    /// Let nobody log in and refuse mail for good; `set --status active` undoes it.
    #[command(after_help = "Example:\n  laniakea account disable jane@example.org")]
    Disable(Named),
    /// Add many accounts from a file.
    #[command(after_help = import::HELP)]
    Import(import::Import),
    /// Delete an account's entry; its mail stays in the store.
    #[command(after_help = "Example:\n  laniakea account delete jane@example.org --yes")]
    Delete(Delete),
}

/// An account that exists.
#[derive(clap::Args)]
pub struct Named {
    /// Its login name or one of its addresses.
    account: String,
    #[command(flatten)]
    common: Common,
}

/// What every account command takes.
#[derive(clap::Args)]
struct Common {
    #[command(flatten)]
    installation: Installation,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Add an account.
#[derive(clap::Args)]
pub struct Add {
    /// Its first address; also its login name unless --login is given.
    address: String,
    /// Its home cluster, or a server of another kind that the settings allow; may be left out where there is one cluster.
    #[arg(long)]
    cluster: Option<String>,
    /// Its login name.
    #[arg(long)]
    login: Option<String>,
    /// The name of the person.
    #[arg(long, default_value = "")]
    name: String,
    /// One more address; may be repeated.
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Where its mail goes instead.
    #[arg(long, value_name = "ADDRESS")]
    forward: Option<String>,
    /// How much it may hold, such as `2 GiB`.
    #[arg(long, value_name = "SIZE")]
    quota: Option<String>,
    /// File whose first line is the password; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// List accounts.
#[derive(clap::Args)]
pub struct List {
    /// Only those of this cluster.
    #[arg(long)]
    cluster: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Change an account.
#[derive(clap::Args)]
pub struct Set {
    /// Its login name or one of its addresses.
    account: String,
    /// Another home cluster, or a server of another kind. Moves no mail: copy it first, or change accounts that have none.
    #[arg(long)]
    cluster: Option<String>,
    /// active, nologin, maintenance or disabled.
    #[arg(long)]
    status: Option<String>,
    /// How much it may hold, such as `2 GiB`; `none` for no limit.
    #[arg(long, value_name = "SIZE")]
    quota: Option<String>,
    /// Where its mail goes instead; `none` to keep it here again.
    #[arg(long, value_name = "ADDRESS")]
    forward: Option<String>,
    /// One more address; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    add_address: Vec<String>,
    /// One address less; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    remove_address: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Give an account another password.
#[derive(clap::Args)]
pub struct Passwd {
    /// Its login name or one of its addresses.
    account: String,
    /// File whose first line is the password; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Delete an account's entry.
#[derive(clap::Args)]
pub struct Delete {
    /// Its login name or one of its addresses.
    account: String,
    /// Really.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    common: Common,
}

impl Account {
    pub fn run(self) -> Result<(), Failure> {
        command_runtime()?.block_on(async {
            match self {
                Self::Add(command) => command.run().await,
                Self::Show(command) => command.show().await,
                Self::List(command) => command.run().await,
                Self::Set(command) => command.run().await,
                Self::Passwd(command) => command.run().await,
                Self::Disable(command) => command.disable().await,
                Self::Import(command) => command.run().await,
                Self::Delete(command) => command.run().await,
            }
        })
    }
}

impl Common {
    async fn admin(&self) -> Result<(Config, Admin), Failure> {
        let config = self.installation.load(Role::Command)?;
        let admin = Admin::connect(&config.directory).await.map_err(failure)?;
        Ok((config, admin))
    }

    fn tell(&self, text: &str, record: &AccountRecord) {
        if self.json { say_json(&to_json(record)) } else { say(text) }
    }
}

impl Add {
    async fn run(self) -> Result<(), Failure> {
        let mut addresses = vec![address(&self.address)?];
        for text in &self.addresses {
            addresses.push(address(text)?);
        }
        let login = login(self.login.as_deref().unwrap_or(&self.address))?;
        let quota = self.quota.as_deref().map(size).transpose()?;
        let forward = self.forward.as_deref().map(address).transpose()?;
        let (password, made_up) = password(self.password_file.as_deref())?;
        let (config, admin) = self.common.admin().await?;
        let mail_host = home_cluster(&config, self.cluster.as_deref())?;
        let account = NewAccount {
            login: login.clone(),
            addresses,
            name: self.name,
            mail_host: mail_host.clone(),
            password: NewPassword::Plain(password),
            forward,
            quota,
        };
        admin.add(account).await.map_err(failure)?;
        let record = admin.show(login.as_str()).await.map_err(failure)?;
        if self.common.json {
            let mut value = to_json(&record);
            if let (Some(map), Some(password)) = (value.as_object_mut(), &made_up) {
                map.insert("password".into(), json!(password));
            }
            say_json(&value);
        } else {
            say(format_args!("added {} in {mail_host}", login.as_str()));
            made_up.iter().for_each(|password| say(format_args!("password: {password}")));
        }
        Ok(())
    }
}

impl Named {
    async fn show(self) -> Result<(), Failure> {
        let (_, admin) = self.common.admin().await?;
        let record = admin.show(&self.account).await.map_err(failure)?;
        self.common.tell(&describe(&record), &record);
        Ok(())
    }

    async fn disable(self) -> Result<(), Failure> {
        let (_, admin) = self.common.admin().await?;
        let record = admin.show(&self.account).await.map_err(failure)?;
        admin.set(&record.login, vec![AccountChange::Status(Status::Disabled)]).await.map_err(failure)?;
        let text = format!(
            "{} is disabled: nobody logs in, mail is refused. Undo: laniakea account set {} --status active",
            record.login, record.login
        );
        self.common.tell(&text, &AccountRecord { status: Status::Disabled, ..record.clone() });
        Ok(())
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let (_, admin) = self.common.admin().await?;
        let mut records = admin.list().await.map_err(failure)?;
        records.sort_by(|a, b| a.login.cmp(&b.login));
        records.retain(|record| self.cluster.as_ref().is_none_or(|cluster| record.mail_host == *cluster));
        if self.common.json {
            say_json(&records.iter().map(to_json).collect());
            return Ok(());
        }
        let row = |record: &AccountRecord| {
            let addresses: Vec<String> = record.addresses.iter().map(ToString::to_string).collect();
            vec![
                record.login.clone(),
                record.mail_host.clone(),
                status_name(&record.status),
                quota_name(record.quota),
                addresses.join(" "),
            ]
        };
        let rows: Vec<Vec<String>> = records.iter().map(row).collect();
        say(table("", &["ACCOUNT", "CLUSTER", "STATUS", "QUOTA", "ADDRESSES"], &rows));
        say(count(records.len(), "account"));
        Ok(())
    }
}

impl Set {
    async fn run(self) -> Result<(), Failure> {
        let mut changes = Vec::new();
        if let Some(text) = &self.status {
            changes.push(AccountChange::Status(status(text)?));
        }
        if let Some(text) = &self.quota {
            changes.push(AccountChange::Quota(unless_none(text, size)?));
        }
        if let Some(text) = &self.forward {
            changes.push(AccountChange::Forward(unless_none(text, address)?));
        }
        for text in &self.add_address {
            changes.push(AccountChange::AddAddress(address(text)?));
        }
        for text in &self.remove_address {
            changes.push(AccountChange::RemoveAddress(address(text)?));
        }
        let (config, admin) = self.common.admin().await?;
        if let Some(name) = &self.cluster {
            changes.push(AccountChange::MailHost(home_cluster(&config, Some(name))?));
        }
        if changes.is_empty() {
            return Err(Failure::usage(
                "nothing to change: give --status, --quota, --forward, --cluster, --add-address or --remove-address",
            ));
        }
        let record = admin.show(&self.account).await.map_err(failure)?;
        admin.set(&record.login, changes).await.map_err(failure)?;
        let record = admin.show(&record.login).await.map_err(failure)?;
        self.common.tell(&describe(&record), &record);
        Ok(())
    }
}

impl Passwd {
    async fn run(self) -> Result<(), Failure> {
        let (password, made_up) = password(self.password_file.as_deref())?;
        let (_, admin) = self.common.admin().await?;
        let record = admin.show(&self.account).await.map_err(failure)?;
        let change = AccountChange::Password(NewPassword::Plain(password));
        admin.set(&record.login, vec![change]).await.map_err(failure)?;
        if self.common.json {
            say_json(&json!({ "login": record.login, "password": made_up }));
        } else {
            say(format_args!("{} has another password; sessions that are open stay open", record.login));
            made_up.iter().for_each(|password| say(format_args!("password: {password}")));
        }
        Ok(())
    }
}

impl Delete {
    async fn run(self) -> Result<(), Failure> {
        let (_, admin) = self.common.admin().await?;
        let record = admin.show(&self.account).await.map_err(failure)?;
        if !self.yes {
            return Err(Failure::usage(format_args!(
                "this deletes {} ({}) from the directory; repeat with --yes. To keep the entry and lock it: laniakea account disable {}",
                record.login, record.dn, record.login
            )));
        }
        admin.delete(&record.login).await.map_err(failure)?;
        self.common.tell(
            &format!(
                "deleted {}; its mail stays in {} under the account id {}",
                record.login, record.mail_host, record.id
            ),
            &record,
        );
        Ok(())
    }
}

/// A name that is not there was typed wrongly; a directory that does not answer may do so later.
pub fn failure(error: ProvisionError) -> Failure {
    match error {
        ProvisionError::Exists(_)
        | ProvisionError::Absent(_)
        | ProvisionError::PasswordNotText
        | ProvisionError::SchemeUnknown
        | ProvisionError::Refused { .. } => Failure::Usage(error.into()),
        ProvisionError::Setup(_) => Failure::Configuration(error.into()),
        ProvisionError::Lookup(_) => Failure::Temporary(error.into()),
    }
}

/// Letters that are not mistaken for one another.
const PASSWORD_LETTERS: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// 20 letters out of 57: 116 bits.
const PASSWORD_LETTERS_COUNT: usize = 20;

/// A password nobody has thought of.
pub fn random_password() -> String {
    let mut random = rand::rng();
    let letter =
        |_| PASSWORD_LETTERS.get(random.random_range(0..PASSWORD_LETTERS.len())).copied().map_or('x', char::from);
    (0..PASSWORD_LETTERS_COUNT).map(letter).collect()
}

/// The password from `file`, or a made-up one (also returned as text, to be shown once).
fn password(file: Option<&Path>) -> Result<(Secret, Option<String>), Failure> {
    let Some(path) = file else {
        let made_up = random_password();
        return Ok((Secret::new(made_up.clone().into_bytes()), Some(made_up)));
    };
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .context("read the password from standard input")
            .map_err(Failure::Usage)?;
        bytes
    } else {
        fs::read(path).with_context(|| format!("read the password from {}", path.display())).map_err(Failure::Usage)?
    };
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(Failure::usage("the password is empty; an account without a password is not possible"));
    }
    Ok((Secret::new(line.to_vec()), None))
}

fn address(text: &str) -> Result<Address, Failure> {
    Address::parse(text).map_err(|error| Failure::usage(format_args!("`{text}` is not an e-mail address: {error}")))
}

fn login(text: &str) -> Result<LoginName, Failure> {
    LoginName::parse(text).map_err(|error| Failure::usage(format_args!("`{text}` cannot be a login name: {error}")))
}

fn size(text: &str) -> Result<u64, Failure> {
    units::parse_size(text).ok_or_else(|| Failure::usage(format_args!("`{text}` is not {}", units::SIZE_FORM)))
}

fn status(text: &str) -> Result<Status, Failure> {
    match Status::parse(text) {
        Status::Unrecognised(_) => {
            Err(Failure::usage(format_args!("`{text}` is not a status: active, nologin, maintenance or disabled")))
        }
        status => Ok(status),
    }
}

fn unless_none<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, Failure>) -> Result<Option<T>, Failure> {
    if text == "none" { Ok(None) } else { parse(text).map(Some) }
}

fn home_cluster(config: &Config, told: Option<&str>) -> Result<String, Failure> {
    let names = config.clusters.iter().map(|cluster| cluster.name.as_str());
    match (told, config.clusters.as_slice()) {
        (Some(name), _) if config.cluster(name).is_some() => Ok(name.to_owned()),
        (Some(host), _) if config.foreign(host).is_some() => Ok(host.to_owned()),
        (Some(name), _) => Err(unknown("cluster", name, names)),
        (None, [only]) => Ok(only.name.clone()),
        (None, _) => {
            let names: Vec<&str> = names.collect();
            Err(Failure::usage(format_args!("say which cluster with --cluster: {}", names.join(", "))))
        }
    }
}

fn status_name(status: &Status) -> String {
    match status {
        Status::Active => "active".into(),
        Status::NoLogin => "nologin".into(),
        Status::Maintenance => "maintenance".into(),
        Status::Disabled => "disabled".into(),
        Status::Unrecognised(text) => format!("{text} (unknown: mail waits, nobody logs in)"),
    }
}

fn quota_name(quota: Option<u64>) -> String {
    quota.map_or_else(|| "none".into(), units::print_size)
}

/// One account for a person.
pub fn describe(record: &AccountRecord) -> String {
    let addresses: Vec<String> = record.addresses.iter().map(ToString::to_string).collect();
    let mut lines = vec![
        format!("account    {}", record.login),
        format!("id         {}", record.id),
        format!("entry      {}", record.dn),
        format!(
            "cluster    {}",
            if record.mail_host.is_empty() { "none (mail waits, nobody logs in)" } else { &record.mail_host }
        ),
        format!("status     {}", status_name(&record.status)),
        format!("quota      {}", quota_name(record.quota)),
        format!("addresses  {}", addresses.join(", ")),
    ];
    if let Some(forward) = &record.forward {
        lines.push(format!("forward    {forward}"));
    }
    lines.join("\n")
}

/// One account for a program.
pub fn to_json(record: &AccountRecord) -> Value {
    json!({
        "login": record.login,
        "id": record.id.to_string(),
        "dn": record.dn,
        "cluster": record.mail_host,
        "status": status_name(&record.status),
        "quota": record.quota,
        "addresses": record.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "forward": record.forward.as_ref().map(ToString::to_string),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_passwords_differ_and_are_long() {
        let (one, two) = (random_password(), random_password());
        assert_ne!(one, two);
        assert_eq!(one.len(), PASSWORD_LETTERS_COUNT);
    }

    #[test]
    fn the_first_line_of_a_file_is_the_password() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "swordfish\r\nignored\n").unwrap();
        let (secret, made_up) = password(Some(file.path())).unwrap();
        assert_eq!((secret.expose(), made_up), (&b"swordfish"[..], None));
        fs::write(file.path(), "\n").unwrap();
        assert!(matches!(password(Some(file.path())), Err(Failure::Usage(_))));
    }
}
