//! `laniakea account import`: many accounts from a file, with progress; it goes on where it was interrupted. With
//! `--offline` it fills the embedded directory itself, all or nothing.

use std::{
    cell::{Cell, RefCell},
    fs::{self, File},
    io::{BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use laniakea_config::{Config, Role};
use laniakea_directory::{
    Address, Admin, NewAccount, Secret, SetupError,
    ldif::{LdifEntry, LdifReader},
    provision::{self, NewPassword, ProvisionError},
    server::{self, Abandoned, LoadError, Loading},
};
use serde_json::json;

use super::{Common, failure, home_cluster, login, size};
use crate::exit::{Failure, say, say_json};

/// What `--help` adds.
pub const HELP: &str = "Examples:
  laniakea account import people.csv
  laniakea account import people.csv --cluster cluster-2 --dry-run
  laniakea account import dump.ldif
  laniakea account import dump.ldif --offline

CSV: the first line names the columns, in any order: address (required), login, name, cluster,
password, password_hash ({SSHA512}…), quota, forward, more_addresses (separated by spaces).
LDIF: entries are added as they stand, those that accounts stand under as well.

Accounts that exist are left as they are, so an import may be repeated. An interrupted one goes on
where it was: the place is kept beside the file, in FILE.import, until all is done.

--offline fills the embedded directory while it is stopped, many times faster, and keeps the entryUUID
of LDIF entries, by which accounts find their mail. It needs the rights of the user the directory runs
as. Interrupted, it leaves the directory as it was.

Exit code 64 if lines were refused, 75 if the directory could not be reached.";

/// Additions under way at a time.
const UNDER_WAY_MAX: usize = 256;
/// Items between two notes of the place; also the most that is done again after an interruption.
const CHUNK: usize = 4096;
/// Refused lines that are shown; the others are counted.
const SHOWN_MAX: usize = 20;
/// How long a directory may be away before the import stops.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries to reach it.
const RETRY: Duration = Duration::from_secs(1);

/// Add many accounts from a file.
#[derive(clap::Args)]
pub struct Import {
    /// A file that ends in .csv or .ldif.
    file: PathBuf,
    /// The home cluster of accounts whose line names none; may be left out where there is only one.
    #[arg(long)]
    cluster: Option<String>,
    /// Read and check the whole file, add nothing.
    #[arg(long)]
    dry_run: bool,
    /// Fill the embedded directory while it does not run.
    #[arg(long, conflicts_with = "dry_run")]
    offline: bool,
    #[command(flatten)]
    common: Common,
}

/// One thing to be added, and the line it stands on.
enum Item {
    Account(u64, Box<NewAccount>),
    Entry(LdifEntry),
    /// A line that cannot be used.
    Refused(u64, String),
}

impl Item {
    fn line(&self) -> u64 {
        match self {
            Self::Account(line, _) | Self::Refused(line, _) => *line,
            Self::Entry(entry) => entry.line,
        }
    }
}

/// What has been done.
#[derive(Default)]
struct Tally {
    added: u64,
    existed: u64,
    refused: u64,
    reasons: Vec<(u64, String)>,
}

impl Tally {
    fn refuse(&mut self, line: u64, reason: String) {
        self.refused += 1;
        if self.reasons.len() < SHOWN_MAX {
            self.reasons.push((line, reason));
        }
    }

    /// Takes down what the directory tells while it is filled.
    fn note(&mut self, told: Loading, bar: &ProgressBar) {
        match told {
            Loading::Read => self.added += 1,
            Loading::Existed => self.existed += 1,
            Loading::Refused { line, why, was_read } => {
                self.added -= u64::from(was_read);
                self.refuse(line, why);
            }
            Loading::Placed { keys, of } => {
                bar.set_length(of);
                bar.set_position(keys);
                bar.set_message(format!("{} read, putting them in order", self.added));
            }
        }
    }
}

impl Import {
    pub async fn run(self) -> Result<(), Failure> {
        if self.offline {
            // It waits for the disk, and nobody else runs here.
            return self.load();
        }
        let (config, admin) = self.common.admin().await?;
        let mut place = Place::load(&self.file)?;
        let mut source = Source::open(&self.file, &place, &config, self.cluster.as_deref())?;
        let bar = progress_bar(place.bytes);
        if place.offset > 0 {
            bar.suspend(|| eprintln!("going on at line {}", place.line + 1));
        }
        if !self.dry_run {
            admin.prepare().await.map_err(failure)?;
        }
        let mut tally = Tally::default();
        loop {
            let chunk = source.chunk(|entry| admin.is_account(entry))?;
            if chunk.is_empty() {
                break;
            }
            if self.dry_run {
                chunk.into_iter().for_each(|item| check(item, &mut tally));
            } else {
                add(&admin, chunk, &mut tally, &bar).await?;
            }
            (place.offset, place.line) = source.place();
            bar.set_position(place.offset);
            bar.set_message(format!("{} added, {} existed, {} refused", tally.added, tally.existed, tally.refused));
            if !self.dry_run {
                place.save(&self.file)?;
            }
        }
        bar.finish_and_clear();
        place.forget(&self.file);
        self.report(&tally)
    }

    fn load(self) -> Result<(), Failure> {
        let config = self.common.installation.load(Role::Directory)?;
        let Some(embedded) = &config.directory.embedded else {
            return Err(Failure::configuration(
                "the configuration has no `embedded` in `directory`: fill an LDAP server of your own with its own tools",
            ));
        };
        let place = Place { offset: 0, line: 0, ..Place::load(&self.file)? };
        let mut source = Source::open(&self.file, &place, &config, self.cluster.as_deref())?;
        let (bar, tally, failed) = (progress_bar(place.bytes), RefCell::new(Tally::default()), Cell::new(None));
        let mut waiting = Vec::new().into_iter();
        let entries = std::iter::from_fn(|| {
            loop {
                match waiting.next() {
                    Some(Item::Refused(line, why)) => tally.borrow_mut().refuse(line, why),
                    Some(Item::Entry(entry)) => return Some(Ok(entry)),
                    Some(Item::Account(line, account)) => {
                        let described = provision::describe(&config.directory, &account);
                        let described = described.map(|entry| LdifEntry { line, ..entry });
                        let abandon = |error: SetupError| failed.set(Some(Failure::Usage(error.into())));
                        return Some(described.map_err(abandon).map_err(|()| Abandoned));
                    }
                    None => match source.chunk(|_| true) {
                        Ok(chunk) if chunk.is_empty() => return None,
                        Ok(chunk) => waiting = chunk.into_iter(),
                        Err(failure) => {
                            failed.set(Some(failure));
                            return Some(Err(Abandoned));
                        }
                    },
                }
                bar.set_position(source.place().0);
            }
        });
        let loaded = server::load(embedded, entries, &mut |told| tally.borrow_mut().note(told, &bar));
        bar.finish_and_clear();
        loaded.map_err(|error| match error {
            LoadError::Running => Failure::usage(error),
            error => failed.take().unwrap_or(Failure::Temporary(error.into())),
        })?;
        self.report(&tally.into_inner())
    }

    fn report(&self, tally: &Tally) -> Result<(), Failure> {
        let Tally { added, existed, refused, reasons } = tally;
        if self.common.json {
            let reasons: Vec<_> = reasons.iter().map(|(line, why)| json!({ "line": line, "reason": why })).collect();
            say_json(&json!({ "added": added, "existed": existed, "refused": refused, "reasons": reasons }));
        } else {
            reasons.iter().for_each(|(line, why)| say(format_args!("line {line}: {why}")));
            let verb = if self.dry_run { "can be added" } else { "added" };
            say(format_args!("{added} {verb}, {existed} existed already, {refused} refused"));
        }
        match refused {
            0 => Ok(()),
            _ => Err(Failure::usage(format_args!("{refused} of the lines were refused"))),
        }
    }
}

fn check(item: Item, tally: &mut Tally) {
    match item {
        Item::Refused(line, why) => tally.refuse(line, why),
        Item::Account(..) | Item::Entry(_) => tally.added += 1,
    }
}

/// Adds what a chunk holds, many at a time.
async fn add(admin: &Admin, chunk: Vec<Item>, tally: &mut Tally, bar: &ProgressBar) -> Result<(), Failure> {
    let additions = stream::iter(chunk).map(|item| async move { (item.line(), add_one(admin, item).await) });
    let mut outcomes = additions.buffer_unordered(UNDER_WAY_MAX);
    while let Some((line, outcome)) = outcomes.next().await {
        match outcome {
            Ok(None) => tally.added += 1,
            Ok(Some(why)) => tally.refuse(line, why),
            Err(ProvisionError::Exists(_)) => tally.existed += 1,
            Err(error @ (ProvisionError::Lookup(_) | ProvisionError::Setup(_))) => {
                bar.abandon();
                return Err(failure(error));
            }
            Err(error) => tally.refuse(line, error.to_string()),
        }
    }
    Ok(())
}

/// Adds one item, however often the directory is away for a moment; or says why it cannot be.
async fn add_one(admin: &Admin, item: Item) -> Result<Option<String>, ProvisionError> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let outcome = match &item {
            Item::Refused(_, why) => return Ok(Some(why.clone())),
            Item::Account(_, account) => admin.import((**account).clone()).await,
            Item::Entry(entry) => admin.import_entry(entry.clone()).await,
        };
        match outcome {
            Err(ProvisionError::Lookup(_)) if Instant::now() < give_up => tokio::time::sleep(RETRY).await,
            other => return other.map(|()| None),
        }
    }
}

/// How far an import has come: kept beside the file while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Length of the file: another one begins anew.
    bytes: u64,
    offset: u64,
    line: u64,
}

impl Place {
    fn load(file: &Path) -> Result<Self, Failure> {
        let bytes =
            fs::metadata(file).with_context(|| format!("read {}", file.display())).map_err(Failure::Usage)?.len();
        let begin = Self { bytes, offset: 0, line: 0 };
        let kept = fs::read_to_string(note(file)).unwrap_or_default();
        let numbers: Vec<u64> = kept.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        match numbers.as_slice() {
            [known, offset, line] if *known == bytes && *offset <= bytes => {
                Ok(Self { bytes, offset: *offset, line: *line })
            }
            _ => Ok(begin),
        }
    }

    fn save(self, file: &Path) -> Result<(), Failure> {
        let text = format!("{} {} {}\n", self.bytes, self.offset, self.line);
        let path = note(file);
        fs::write(&path, text).with_context(|| format!("write {}", path.display())).map_err(Failure::Usage)
    }

    fn forget(self, file: &Path) {
        // It may never have been written.
        let _ = fs::remove_file(note(file));
    }
}

fn note(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".import");
    name.into()
}

fn progress_bar(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {eta} left");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Where the items come from.
enum Source {
    Csv(CsvSource),
    Ldif { reader: LdifReader<BufReader<File>>, waiting: Option<LdifEntry> },
}

struct CsvSource {
    reader: csv::Reader<File>,
    columns: Vec<Column>,
    cluster: Result<String, String>,
    clusters: Vec<String>,
    /// Bytes and lines of the file in front of what the reader was given.
    skipped: (u64, u64),
}

impl Source {
    fn open(path: &Path, place: &Place, config: &Config, cluster: Option<&str>) -> Result<Self, Failure> {
        let open = || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(place.offset))?;
            Ok::<_, std::io::Error>(file)
        };
        let file = open().with_context(|| format!("open {}", path.display())).map_err(Failure::Usage)?;
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "ldif" => {
                let reader = LdifReader::new(BufReader::with_capacity(1 << 20, file), place.offset, place.line);
                Ok(Self::Ldif { reader, waiting: None })
            }
            "csv" => Ok(Self::Csv(CsvSource::new(path, file, place, config, cluster)?)),
            _ => Err(Failure::usage("the file's name must end in .csv or .ldif, which says what it holds")),
        }
    }

    /// The next items; none at the end. What other entries stand under comes in a chunk of its own.
    fn chunk(&mut self, is_account: impl Fn(&LdifEntry) -> bool) -> Result<Vec<Item>, Failure> {
        match self {
            Self::Csv(source) => source.chunk(),
            Self::Ldif { reader, waiting } => ldif_chunk(reader, waiting, is_account),
        }
    }

    /// Bytes and lines of the file up to the end of the last chunk.
    fn place(&self) -> (u64, u64) {
        match self {
            Self::Csv(source) => source.place(),
            Self::Ldif { reader, waiting: None } => reader.place(),
            // The one read ahead is read again.
            Self::Ldif { reader, waiting: Some(_) } => reader.place_before(),
        }
    }
}

fn ldif_chunk(
    reader: &mut LdifReader<BufReader<File>>,
    waiting: &mut Option<LdifEntry>,
    is_account: impl Fn(&LdifEntry) -> bool,
) -> Result<Vec<Item>, Failure> {
    let mut chunk = Vec::new();
    while chunk.len() < CHUNK {
        let next = match waiting.take() {
            Some(entry) => Some(entry),
            None => reader.next_entry().map_err(|error| Failure::Usage(error.into()))?,
        };
        let Some(entry) = next else { break };
        let stands_alone = !is_account(&entry);
        if stands_alone && !chunk.is_empty() {
            *waiting = Some(entry);
            break;
        }
        chunk.push(Item::Entry(entry));
        if stands_alone {
            break;
        }
    }
    Ok(chunk)
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Address,
    Login,
    Name,
    Cluster,
    Password,
    PasswordHash,
    Quota,
    Forward,
    MoreAddresses,
}

const COLUMNS: [(&str, Column); 9] = [
    ("address", Column::Address),
    ("login", Column::Login),
    ("name", Column::Name),
    ("cluster", Column::Cluster),
    ("password", Column::Password),
    ("password_hash", Column::PasswordHash),
    ("quota", Column::Quota),
    ("forward", Column::Forward),
    ("more_addresses", Column::MoreAddresses),
];

impl CsvSource {
    fn new(path: &Path, rest: File, place: &Place, config: &Config, cluster: Option<&str>) -> Result<Self, Failure> {
        let header = File::open(path).with_context(|| format!("open {}", path.display())).map_err(Failure::Usage)?;
        let mut header = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(header.take(HEADER_BYTES_MAX));
        let names = header.headers().context("read the first line").map_err(Failure::Usage)?.clone();
        let columns = names.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        if !columns.contains(&Column::Address) {
            return Err(Failure::usage("the first line names no column `address`"));
        }
        let clusters = config.clusters.iter().map(|cluster| cluster.name.clone()).collect();
        // Only lines that name none need it.
        let cluster = home_cluster(config, cluster).map_err(|error| error.to_string());
        let mut builder = csv::ReaderBuilder::new();
        let mut reader = builder.has_headers(place.offset == 0).flexible(true).trim(csv::Trim::All).from_reader(rest);
        if place.offset == 0 {
            reader.headers().context("read the first line").map_err(Failure::Usage)?;
        }
        Ok(Self { reader, columns, cluster, clusters, skipped: (place.offset, place.line) })
    }

    fn place(&self) -> (u64, u64) {
        let position = self.reader.position();
        // Its lines are counted from 1.
        (self.skipped.0 + position.byte(), self.skipped.1 + position.line().saturating_sub(1))
    }

    fn chunk(&mut self) -> Result<Vec<Item>, Failure> {
        let mut chunk = Vec::new();
        let mut record = csv::StringRecord::new();
        while chunk.len() < CHUNK {
            let line = self.place().1 + 1;
            match self.reader.read_record(&mut record) {
                Ok(false) => break,
                Ok(true) => chunk.push(match self.account(&record) {
                    Ok(account) => Item::Account(line, Box::new(account)),
                    Err(why) => Item::Refused(line, why),
                }),
                Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                    chunk.push(Item::Refused(line, "the line is not UTF-8".into()));
                }
                Err(error) => return Err(Failure::Usage(error.into())),
            }
        }
        Ok(chunk)
    }

    fn account(&self, record: &csv::StringRecord) -> Result<NewAccount, String> {
        if record.len() != self.columns.len() {
            return Err(format!("{} fields, where the first line has {}", record.len(), self.columns.len()));
        }
        let field = |column| {
            let at = self.columns.iter().position(|known| *known == column)?;
            record.get(at).filter(|text| !text.is_empty())
        };
        let told = |failure: Failure| failure.to_string();
        let first = field(Column::Address).ok_or("it has no address")?;
        let mut addresses = vec![address(first)?];
        for text in field(Column::MoreAddresses).unwrap_or_default().split_whitespace() {
            addresses.push(address(text)?);
        }
        let mail_host = match field(Column::Cluster) {
            Some(name) if self.clusters.iter().any(|known| known == name) => name.to_owned(),
            Some(name) => return Err(format!("there is no cluster `{name}`")),
            None => self.cluster.clone()?,
        };
        let password = match (field(Column::Password), field(Column::PasswordHash)) {
            (Some(_), Some(_)) => return Err("it has a password and a hash; one is enough".into()),
            (Some(plain), None) => NewPassword::Plain(Secret::new(plain.as_bytes().to_vec())),
            (None, Some(stored)) if laniakea_directory::password::has_scheme(stored.as_bytes()) => {
                NewPassword::Hashed(stored.to_owned())
            }
            (None, Some(_)) => return Err("the hash has no {SCHEME}".into()),
            (None, None) => NewPassword::Absent,
        };
        Ok(NewAccount {
            login: login(field(Column::Login).unwrap_or(first)).map_err(told)?,
            addresses,
            name: field(Column::Name).unwrap_or_default().to_owned(),
            mail_host,
            password,
            forward: field(Column::Forward).map(address).transpose()?,
            quota: field(Column::Quota).map(size).transpose().map_err(told)?,
        })
    }
}

/// The line that names the columns is shorter than this.
const HEADER_BYTES_MAX: u64 = 4096;

fn column(name: &str) -> Result<Column, Failure> {
    let known = COLUMNS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, column)| *column);
    known.ok_or_else(|| {
        let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        Failure::usage(format_args!("there is no column `{name}`; the columns are {}", names.join(", ")))
    })
}

fn address(text: &str) -> Result<Address, String> {
    super::address(text).map_err(|failure| failure.to_string())
}
