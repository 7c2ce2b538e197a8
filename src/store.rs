//! `laniakea store`: read what is on a storage and tell whether it is whole.

mod export;
mod quarantine;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use laniakea_backend::{
    cluster::OwnableId,
    mailbox::Account,
    queue::Queue,
    store::{
        BodyRef, OpenError, RealFs,
        check::{Audit, check, dump},
        format::layout::Name,
    },
    worker::bodies_named,
};
use laniakea_directory::AccountId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    exit::{Failure, say, say_json},
    initialise::Initialise,
    probe::Probe,
};

/// Check and show what is on a storage, and try whether it may carry a cluster.
#[derive(clap::Subcommand)]
pub enum Store {
    /// Read every byte of accounts and queue shards, and tell what is damaged.
    #[command(after_help = "\
Example:
  laniakea store check ./laniakea-data/storage/cluster-1

Only a cluster that is down, or accounts that nobody has open, can be judged: what is being written looks unfinished.
Exit code 78 if anything is damaged.")]
    Check {
        /// Directories of accounts or queue shards, or any directory above them.
        #[arg(required = true)]
        directories: Vec<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List segments, batches, changes and snapshots of one account or queue shard.
    #[command(after_help = "Example:\n  laniakea store dump ./laniakea-data/storage/cluster-1/queue/3f")]
    Dump {
        /// Its directory.
        directory: PathBuf,
    },
    Export(export::Export),
    #[command(subcommand)]
    Quarantine(quarantine::Quarantine),
    Init(Initialise),
    Probe(Probe),
}

impl Store {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Check { directories, json } => check_all(&directories, json),
            Self::Dump { directory } => {
                let audit =
                    dump(&RealFs::default(), &directory, needed(&directory).as_deref(), &mut io::stdout().lock());
                judge(&directory, audit).map(|_| ())
            }
            Self::Export(export) => export.run(),
            Self::Quarantine(command) => command.run(),
            Self::Init(initialise) => initialise.run(),
            Self::Probe(probe) => probe.run(),
        }
    }
}

fn check_all(directories: &[PathBuf], as_json: bool) -> Result<(), Failure> {
    let mut ownables = Vec::new();
    for directory in directories {
        find(directory, &mut ownables).with_context(|| format!("look into {}", directory.display()))?;
    }
    if ownables.is_empty() {
        return Err(Failure::usage("there is no account and no queue shard in these directories"));
    }
    let progress = ProgressBar::new(ownables.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta} {msg}") {
        progress.set_style(style);
    }
    let mut reports = Vec::new();
    let mut damaged = 0;
    for directory in progress.wrap_iter(ownables.iter()) {
        let audit = judge(directory, check(&RealFs::default(), directory, needed(directory).as_deref()))?;
        damaged += usize::from(!audit.is_whole());
        if as_json {
            reports.push(to_json(directory, &audit));
        } else {
            progress.suspend(|| tell(directory, &audit));
        }
    }
    progress.finish_and_clear();
    if as_json {
        say_json(&Value::Array(reports));
    } else {
        say(format_args!("{} checked, {damaged} damaged", ownables.len()));
    }
    match damaged {
        0 => Ok(()),
        _ => Err(Failure::configuration(format_args!("{damaged} of {} are damaged", ownables.len()))),
    }
}

/// Collects the directories that hold a log, this one or any below.
fn find(directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut below = Vec::new();
    let mut is_ownable = false;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        is_ownable |= entry.file_name().to_str().and_then(Name::parse).is_some();
        if entry.file_type()?.is_dir() {
            below.push(entry.path());
        }
    }
    if is_ownable {
        found.push(directory.to_owned());
        return Ok(());
    }
    below.sort();
    below.iter().try_for_each(|directory| find(directory, found))
}

/// The bodies an account or a queue shard still needs; `None` if its log cannot be read, which the check will tell.
fn needed(directory: &Path) -> Option<Vec<BodyRef>> {
    let fs = Arc::new(RealFs::default());
    let is_queue = directory.parent().and_then(Path::file_name).is_some_and(|above| above == "queue");
    let id = if is_queue { OwnableId::Queue(0) } else { OwnableId::Account(AccountId(Uuid::nil())) };
    match is_queue {
        true => bodies_named::<Queue, _>(fs, directory, id).ok(),
        false => bodies_named::<Account, _>(fs, directory, id).ok(),
    }
}

fn judge(directory: &Path, audit: Result<Audit, OpenError>) -> Result<Audit, Failure> {
    audit.with_context(|| format!("read {}", directory.display())).map_err(Failure::from)
}

fn tell(directory: &Path, audit: &Audit) {
    for damage in &audit.damage {
        say(format_args!("{}: DAMAGED: {damage}", directory.display()));
    }
    if audit.torn_bytes > 0 {
        say(format_args!("{}: {} bytes of an unfinished batch at the end", directory.display(), audit.torn_bytes));
    }
    for name in &audit.garbage {
        say(format_args!("{}: {name} belongs to nobody any more", directory.display()));
    }
}

fn to_json(directory: &Path, audit: &Audit) -> Value {
    let damage: Vec<String> = audit.damage.iter().map(ToString::to_string).collect();
    json!({
        "directory": directory,
        "whole": audit.is_whole(),
        "damage": damage,
        "garbage": audit.garbage,
        "last_batch": audit.seq,
        "segments": audit.segments,
        "batches": audit.batches,
        "changes": audit.records,
        "bodies": audit.bodies,
        "body_bytes": audit.body_bytes,
        "snapshots": audit.snapshots,
        "torn_bytes": audit.torn_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ownables_are_found_below_and_bodies_are_none() {
        let root = tempfile::tempdir().unwrap();
        let account = root.path().join("accounts/ab/cd/x");
        std::fs::create_dir_all(account.join("m")).unwrap();
        std::fs::create_dir_all(root.path().join("cluster/live")).unwrap();
        std::fs::write(account.join("seg.0000000000000001"), b"").unwrap();
        let mut found = Vec::new();
        find(root.path(), &mut found).unwrap();
        assert_eq!(found, [account]);
        let audit = check(&RealFs::default(), &found[0], None).unwrap();
        assert!(!audit.is_whole());
        assert_eq!(to_json(&found[0], &audit)["whole"], false);
    }
}
