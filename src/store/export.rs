//! `laniakea store export`: the mail of one account's folder as Maildir or mbox, of a damaged one as far as it can be read.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use laniakea_backend::{
    cluster::OwnableId,
    mailbox::{Account, Change, Flags, InternalDate, SystemFlag},
    store::{BodyRef, RealFs},
    worker::{Rescued, rescue},
};
use laniakea_directory::AccountId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::exit::{Failure, say, say_json};

/// The mailbox for messages whose own is not known any more.
const STRAYS: &str = "Rescued";

/// Write the mail of one account to files, also of a damaged one.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  laniakea store export /srv/mail/blue/accounts/1f/a0/0190c0de-0000-7000-8000-000000001fa0 ./rescued

Maildir keeps flags and dates; mbox, in the form that quotes every From line (mboxrd), keeps dates. Nothing is written to the
account. Only one that nobody has open can be judged. Messages whose mailbox is not known any more are put into Rescued.
Exit code 78 if something could not be read; the rest is exported.")]
pub struct Export {
    /// The account's directory.
    directory: PathBuf,
    /// Where to; a directory that is empty, or not there yet.
    to: PathBuf,
    /// As what.
    #[arg(long, value_enum, default_value = "maildir")]
    format: Format,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What mail is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One directory for each mailbox, one file for each message (Maildir++).
    Maildir,
    /// One file for each mailbox.
    Mbox,
}

/// One message to be written.
struct Item {
    mailbox: String,
    /// Unique in the whole account.
    name: String,
    flags: Flags,
    date: InternalDate,
    body: BodyRef,
    summary: u64,
}

/// What came of it.
#[derive(Default)]
struct Outcome {
    mailboxes: BTreeMap<String, u64>,
    /// Messages whose bytes could not be read.
    unreadable: Vec<String>,
    /// Messages whose bytes lie where the log is damaged.
    doubtful: Vec<String>,
}

impl Export {
    pub fn run(self) -> Result<(), Failure> {
        let id = OwnableId::Account(AccountId(Uuid::nil()));
        let rescued: Rescued<Account, _> = rescue(Arc::new(RealFs::default()), &self.directory, id)
            .with_context(|| format!("read {}", self.directory.display()))?;
        let items = items(&rescued);
        if items.is_empty() && !self.directory.is_dir() {
            return Err(Failure::usage(format_args!("{} is no directory", self.directory.display())));
        }
        fs::create_dir_all(&self.to).with_context(|| format!("make {}", self.to.display()))?;
        if fs::read_dir(&self.to).with_context(|| format!("read {}", self.to.display()))?.next().is_some() {
            return Err(Failure::usage(format_args!("{} is not empty", self.to.display())));
        }
        let outcome = self.write(&rescued, items)?;
        self.tell(&rescued, &outcome);
        let damage = rescued.salvaged.damage.len();
        match damage + outcome.unreadable.len() {
            0 => Ok(()),
            _ => Err(Failure::configuration(format_args!(
                "{} is damaged in {damage} places; {} messages could not be read, {} may be wrong",
                self.directory.display(),
                outcome.unreadable.len(),
                outcome.doubtful.len()
            ))),
        }
    }

    fn write(&self, rescued: &Rescued<Account, RealFs>, items: Vec<Item>) -> Result<Outcome, Failure> {
        let progress = ProgressBar::new(items.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta}") {
            progress.set_style(style);
        }
        let mut outcome = Outcome::default();
        for item in progress.wrap_iter(items.into_iter()) {
            let reader = &rescued.salvaged.reader;
            let Ok(message) = reader.read(item.body, item.summary..item.body.len()) else {
                outcome.unreadable.push(item.name);
                continue;
            };
            if rescued.salvaged.is_doubtful(item.body) {
                outcome.doubtful.push(item.name.clone());
            }
            let written = match self.format {
                Format::Maildir => put_into_maildir(&self.to, &item, &message),
                Format::Mbox => put_into_mbox(&self.to, &item, &message),
            };
            written.with_context(|| format!("write to {}", self.to.display()))?;
            *outcome.mailboxes.entry(item.mailbox).or_default() += 1;
        }
        progress.finish_and_clear();
        // Once for all files, which are many.
        File::open(&self.to)
            .and_then(|folder| Ok(rustix::fs::syncfs(folder)?))
            .with_context(|| format!("sync {}", self.to.display()))?;
        Ok(outcome)
    }

    fn tell(&self, rescued: &Rescued<Account, RealFs>, outcome: &Outcome) {
        let damage: Vec<String> = rescued.salvaged.damage.iter().map(ToString::to_string).collect();
        let messages: u64 = outcome.mailboxes.values().sum();
        if self.json {
            let mailboxes: Value = outcome
                .mailboxes
                .iter()
                .map(|(name, messages)| json!({ "name": name, "messages": messages }))
                .collect();
            return say_json(&json!({
                "directory": self.directory,
                "to": self.to,
                "mailboxes": mailboxes,
                "messages": messages,
                "damage": damage,
                "misfits": rescued.misfits.len(),
                "unreadable": outcome.unreadable,
                "doubtful": outcome.doubtful,
            }));
        }
        damage.iter().for_each(|damage| say(format_args!("DAMAGED: {damage}")));
        outcome.unreadable.iter().for_each(|name| say(format_args!("UNREADABLE: {name}")));
        outcome.doubtful.iter().for_each(|name| say(format_args!("PERHAPS WRONG: {name}")));
        let mailboxes = outcome.mailboxes.len();
        say(format_args!("{messages} messages of {mailboxes} mailboxes exported to {}", self.to.display()));
    }
}

/// Every message there is, those without a mailbox last.
fn items(rescued: &Rescued<Account, RealFs>) -> Vec<Item> {
    let mut items = Vec::new();
    for mailbox in rescued.state.mailboxes() {
        for (_, message) in mailbox.iter() {
            items.push(Item {
                mailbox: mailbox.name.to_utf7(),
                name: format!("{}.{}", mailbox.id, message.uid),
                flags: message.flags.clone(),
                date: message.internal_date,
                body: message.body,
                summary: u64::from(message.summary_len),
            });
        }
    }
    for (number, record) in rescued.misfits.iter().enumerate() {
        if let (Ok(Change::Added(added)), Some(body)) = (Change::decode(&record.payload), record.body) {
            items.push(Item {
                mailbox: STRAYS.to_owned(),
                name: format!("stray.{number}"),
                flags: added.flags,
                date: added.internal_date,
                body,
                summary: u64::from(added.summary_len).min(body.len()),
            });
        }
    }
    items
}

/// As a Maildir++ folder is called: a dot between the levels, and so none within one.
fn folder(mailbox: &str) -> String {
    mailbox.replace('.', "_").replace('/', ".")
}

fn put_into_maildir(to: &Path, item: &Item, message: &[u8]) -> io::Result<()> {
    let maildir = if item.mailbox == "INBOX" { to.to_owned() } else { to.join(format!(".{}", folder(&item.mailbox))) };
    for part in ["tmp", "new", "cur"] {
        fs::create_dir_all(maildir.join(part))?;
    }
    let seconds = u64::try_from(seconds_of(item.date)).unwrap_or(0);
    let name = format!("{seconds}.{}.laniakea", item.name);
    let temporary = maildir.join("tmp").join(&name);
    let mut file = File::create_new(&temporary)?;
    file.write_all(message)?;
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))?;
    // In the order of the alphabet.
    let letters = [
        (SystemFlag::Draft, 'D'),
        (SystemFlag::Flagged, 'F'),
        (SystemFlag::Answered, 'R'),
        (SystemFlag::Seen, 'S'),
        (SystemFlag::Deleted, 'T'),
    ];
    let set: String = letters.iter().filter(|(flag, _)| item.flags.has(*flag)).map(|(_, letter)| *letter).collect();
    fs::rename(temporary, maildir.join("cur").join(format!("{name}:2,{set}")))
}

fn put_into_mbox(to: &Path, item: &Item, message: &[u8]) -> io::Result<()> {
    let path = to.join(format!("{}.mbox", folder(&item.mailbox)));
    let mut out = BufWriter::new(File::options().create(true).append(true).open(path)?);
    let date = jiff::Timestamp::from_second(seconds_of(item.date)).unwrap_or_default();
    writeln!(out, "From MAILER-DAEMON {}", date.strftime("%a %b %e %H:%M:%S %Y"))?;
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // So that whoever reads it takes one away from each.
        if line.iter().position(|byte| *byte != b'>').is_some_and(|at| line.split_at(at).1.starts_with(b"From ")) {
            out.write_all(b">")?;
        }
        out.write_all(line)?;
        out.write_all(b"\n")?;
    }
    out.write_all(b"\n")?;
    out.flush()
}

fn seconds_of(date: InternalDate) -> i64 {
    date.at.0
}

#[cfg(test)]
mod tests {
    use laniakea_backend::mailbox::Flag;

    use super::*;

    fn item(mailbox: &str, flags: Flags) -> Item {
        let date = InternalDate { at: laniakea_backend::mailbox::Timestamp(86_400), offset_minutes: 0 };
        let body = BodyRef::Inline { generation: 1, offset: 0, length: 0 };
        Item { mailbox: mailbox.into(), name: "1.7".into(), flags, date, body, summary: 0 }
    }

    #[test]
    fn a_maildir_has_a_folder_for_each_mailbox_and_flags_in_the_name() {
        let to = tempfile::tempdir().unwrap();
        let flags: Flags = [SystemFlag::Seen, SystemFlag::Answered].into_iter().map(Flag::System).collect();
        put_into_maildir(to.path(), &item("INBOX", flags), b"text\r\n").unwrap();
        put_into_maildir(to.path(), &item("a.b/c", Flags::new()), b"text\r\n").unwrap();
        assert_eq!(fs::read(to.path().join("cur/86400.1.7.laniakea:2,RS")).unwrap(), b"text\r\n");
        assert!(to.path().join(".a_b.c/cur/86400.1.7.laniakea:2,").exists());
    }

    #[test]
    fn from_lines_are_quoted_so_that_they_can_be_told_apart() {
        let to = tempfile::tempdir().unwrap();
        let message = b"Subject: x\r\n\r\nFrom here\r\n>From there\r\n> From\r\n";
        put_into_mbox(to.path(), &item("INBOX", Flags::new()), message).unwrap();
        put_into_mbox(to.path(), &item("INBOX", Flags::new()), b"Subject: y\n\nend").unwrap();
        let written = fs::read_to_string(to.path().join("INBOX.mbox")).unwrap();
        let first = "From MAILER-DAEMON Fri Jan  2 00:00:00 1970\nSubject: x\n\n>From here\n>>From there\n> From\n\n";
        let second = "From MAILER-DAEMON Fri Jan  2 00:00:00 1970\nSubject: y\n\nend\n\n";
        assert_eq!(written, format!("{first}{second}"));
    }
}
