//! Many entries at once, into a database that nobody serves.
//!
//! Entries are written in the order they come. What is kept in another order (names, index) is sorted on the disk first
//! and then written from one end to the other, so that five million entries touch each page of the tables once. All of
//! it is one transaction: whatever ends it early leaves the database as it was.

use std::{collections::HashMap, fs, io, path::Path};

use extsort::{ExternalSorter, Sortable};
use laniakea_config::PasswordScheme;
use ldap3_proto::LdapResultCode as Code;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use redb::{Database, ReadableTable as _};
use uuid::Uuid;

use super::{
    apply::{UNIQUE, apply},
    table::{Tables, decode, encode, index_keys, index_prefix, number_of, numbers},
};
use crate::name::Secret;
use crate::{
    dn::{Dn, DnError},
    ldif::LdifEntry,
    password::hash_password,
    server::{
        change::{self, Change},
        entry::{Attribute, Entry, Stamp, normal},
        refusal::{Refusal, refuse},
        schema,
    },
};

/// Memory for the database's pages while it is filled.
const CACHE_BYTES: usize = 1 << 30;
/// Entries prepared at a time, on all cores.
const CHUNK: usize = 4096;
/// Keys sorted in memory before they go to the disk: some 100 MB.
const SORTED_IN_MEMORY: usize = 1 << 20;
/// Where sorted keys wait, inside the data folder.
const SORT_FOLDER: &str = "load.tmp";
/// Keys between two reports.
const REPORT_EVERY: u64 = 1 << 16;

/// Why nothing was loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The server holds the database.
    #[error("the directory is running: stop it first, or load through it")]
    Running,
    /// See [`Abandoned`].
    #[error(transparent)]
    Abandoned(#[from] Abandoned),
    /// The database cannot be opened or written.
    #[error("the directory's database")]
    Database(#[from] redb::Error),
    /// Keys cannot be sorted on the disk.
    #[error("sort in {SORT_FOLDER} of the directory's data folder")]
    Sort(#[source] io::Error),
    /// The base is malformed.
    #[error("base")]
    Name(#[from] DnError),
    /// An entry that was just written cannot be read, or what stands above cannot be made.
    #[error("{0}")]
    Refused(String),
}

/// Where the entries come from has failed, and knows why: no more come, and those that came must not stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are not all entries")]
pub struct Abandoned;

/// What is told while loading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loading {
    /// An entry was read and is good, as far as it can be seen alone.
    Read,
    /// There is an entry of this name already; it is left as it is.
    Existed,
    /// The entry that begins on this line is left out.
    Refused {
        /// From 1, as the entry said.
        line: u64,
        /// Why.
        why: String,
        /// Whether it was told as read before.
        was_read: bool,
    },
    /// So many keys have been put in their places.
    Placed {
        /// Until now.
        keys: u64,
        /// In all.
        of: u64,
    },
}

/// The database, what is known of it, and who is told.
pub(in crate::server) struct Load<'a> {
    pub(in crate::server) data: &'a Path,
    pub(in crate::server) database: &'a Path,
    pub(in crate::server) base: &'a Dn,
    /// What the others stand under, made first where it is missing.
    pub(in crate::server) frame: Vec<Change>,
    pub(in crate::server) stamp: Stamp,
    /// How passwords are stored that stand in the file as plain text.
    pub(in crate::server) new_passwords: PasswordScheme,
}

impl Load<'_> {
    pub(in crate::server) fn run(
        &self,
        entries: impl Iterator<Item = Result<LdifEntry, Abandoned>>,
        told: &mut dyn FnMut(Loading),
    ) -> Result<(), LoadError> {
        let database = match Database::builder().set_cache_size(CACHE_BYTES).create(self.database) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(LoadError::Running),
            opened => opened.map_err(redb::Error::from)?,
        };
        super::table::create(&database)?;
        let sorting = self.data.join(SORT_FOLDER);
        // Of a load that was killed.
        let _ = fs::remove_dir_all(&sorting);
        fs::create_dir(&sorting).map_err(LoadError::Sort)?;
        let transaction = database.begin_write().map_err(redb::Error::from)?;
        let loaded = {
            let mut tables = Tables::open(&transaction)?;
            self.make_frame(&mut tables).and_then(|()| self.fill(&mut tables, &sorting, entries, told))
        };
        let removed = fs::remove_dir_all(&sorting).map_err(LoadError::Sort);
        // Without a commit nothing has happened.
        loaded.and(removed)?;
        transaction.commit().map_err(|error| LoadError::Database(error.into()))
    }

    fn make_frame(&self, tables: &mut Tables<'_>) -> Result<(), LoadError> {
        for change in &self.frame {
            match apply(tables, change.clone(), self.stamp.clone()) {
                Err(refusal) if refusal.code != Code::EntryAlreadyExists => {
                    return Err(LoadError::Refused(refusal.text));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn fill(
        &self,
        tables: &mut Tables<'_>,
        sorting: &Path,
        mut entries: impl Iterator<Item = Result<LdifEntry, Abandoned>>,
        told: &mut dyn FnMut(Loading),
    ) -> Result<(), LoadError> {
        let sorter = ExternalSorter::new().with_segment_size(SORTED_IN_MEMORY).with_sort_dir(sorting.to_owned());
        let mut sorter = sorter.with_parallel_sort().pushed();
        let first = tables.next_number().map_err(redb::Error::from)?;
        let (mut lines, mut keys) = (Vec::new(), 0);
        loop {
            let chunk = entries.by_ref().take(CHUNK).collect::<Result<Vec<_>, _>>()?;
            if chunk.is_empty() {
                break;
            }
            let begin = first + lines.len() as u64;
            lines.extend(chunk.iter().map(|entry| entry.line));
            let numbered: Vec<_> = (begin..).zip(chunk).collect();
            let prepared: Vec<_> =
                numbered.into_par_iter().map(|(number, entry)| (entry.line, self.prepare(number, entry))).collect();
            for (line, prepared) in prepared {
                match prepared {
                    Err(refusal) => told(Loading::Refused { line, why: refusal.text, was_read: false }),
                    Ok(prepared) if tables.paths.get(prepared.path.as_str()).map_err(redb::Error::from)?.is_some() => {
                        told(Loading::Existed);
                    }
                    Ok(Prepared { number, bytes, keys: own, .. }) => {
                        tables.entries.insert(number, bytes.as_slice()).map_err(redb::Error::from)?;
                        keys += own.len() as u64;
                        sorter.push_iter(own).map_err(LoadError::Sort)?;
                        told(Loading::Read);
                    }
                }
            }
        }
        tables.set_next_number(first + lines.len() as u64).map_err(redb::Error::from)?;
        let line_of = |number: u64| lines.get((number - first) as usize).copied().unwrap_or_default();
        let mut placing =
            Placing { tables, refused: HashMap::new(), last: Vec::new(), holder: 0, parent: String::new() };
        for (placed, key) in (1..).zip(sorter.done().map_err(LoadError::Sort)?) {
            placing.place(&key.map_err(LoadError::Sort)?).map_err(|refusal| LoadError::Refused(refusal.text))?;
            if placed % REPORT_EVERY == 0 {
                told(Loading::Placed { keys: placed, of: keys });
            }
        }
        let mut refused: Vec<_> = placing.refused.into_iter().collect();
        refused.sort_unstable();
        for (number, why) in refused {
            tables.entries.remove(number).map_err(redb::Error::from)?;
            told(Loading::Refused { line: line_of(number), why, was_read: true });
        }
        Ok(())
    }

    /// Makes of an entry of a file what the tables hold. What a server keeps by itself is dropped, but for the
    /// `entryUUID`: an account's mail is found by it.
    fn prepare(&self, number: u64, entry: LdifEntry) -> Result<Prepared, Refusal> {
        let dn = Dn::parse(&entry.dn)?;
        let path = dn.path();
        if !path.starts_with(&self.base.path()) {
            return refuse(Code::NoSuchObject, format!("not below {}", self.base));
        }
        let uuid = match entry.values("entryUUID") {
            [value] => match Uuid::try_parse_ascii(value) {
                Ok(uuid) => uuid,
                Err(_) => return refuse(Code::InvalidAttributeSyntax, "entryUUID: not a UUID"),
            },
            _ => Uuid::new_v4(),
        };
        let attributes = entry.attributes.into_iter().filter(|(name, _)| !is_kept_by_servers(name));
        let mut attributes: Vec<_> = attributes.map(|(name, values)| Attribute { name, values }).collect();
        for value in change::plain_passwords(&mut attributes) {
            *value = hash_password(&Secret::new(std::mem::take(value)), self.new_passwords).into_bytes();
        }
        let mut entry = Entry {
            dn: dn.to_string(),
            attributes: change::check_new(attributes)?,
            uuid,
            created: self.stamp.clone(),
            modified: self.stamp.clone(),
        };
        entry.complete_by_name(&dn);
        schema::check(&entry)?;
        let mut keys = unique_keys(&entry, number);
        keys.push(Key::new(Kind::Path, path.as_bytes(), number));
        keys.extend(index_keys(&entry, number).into_iter().map(|bytes| Key { kind: Kind::Index, bytes }));
        Ok(Prepared { number, path, bytes: encode(&entry)?, keys })
    }
}

/// An entry that can be written.
struct Prepared {
    number: u64,
    path: String,
    bytes: Vec<u8>,
    keys: Vec<Key>,
}

/// Attributes of the dump of another server that are its own bookkeeping.
fn is_kept_by_servers(name: &str) -> bool {
    const OF_OTHERS: [&str; 4] = ["structuralObjectClass", "entryCSN", "contextCSN", "nsUniqueId"];
    schema::is_operational(name) || OF_OTHERS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// A key on its way to its place: what, and the number of the entry behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: Kind,
    bytes: Vec<u8>,
}

/// Values that lead to one entry only come first, then names: both may refuse entries, and the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Unique,
    Path,
    Index,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Unique, Self::Path, Self::Index];
}

impl Key {
    fn new(kind: Kind, what: &[u8], number: u64) -> Self {
        Self { kind, bytes: [what, &number.to_be_bytes()].concat() }
    }
}

impl Sortable for Key {
    fn encode<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        // An entry has at most 1 MiB.
        writer.write_all(&(self.bytes.len() as u32).to_le_bytes())?;
        writer.write_all(&[self.kind as u8])?;
        writer.write_all(&self.bytes)
    }

    fn decode<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let mut head = [0; 5];
        reader.read_exact(&mut head)?;
        let [len @ .., kind] = head;
        let kind = Kind::ALL.get(usize::from(kind)).copied().ok_or(io::ErrorKind::InvalidData)?;
        let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
        reader.read_exact(&mut bytes)?;
        Ok(Self { kind, bytes })
    }
}

/// The values of an entry that no other may have: the index keys they would have under the first attribute they share.
fn unique_keys(entry: &Entry, number: u64) -> Vec<Key> {
    let mut keys = Vec::new();
    for (key, shared) in UNIQUE {
        let first = shared.first().unwrap_or(key);
        for value in entry.values(key).iter() {
            keys.push(Key::new(Kind::Unique, &[&index_prefix(first, &normal(key, value)), &[0][..]].concat(), number));
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Puts sorted keys in their places.
struct Placing<'a, 't> {
    tables: &'a mut Tables<'t>,
    /// Entries that are left out, and why.
    refused: HashMap<u64, String>,
    /// The value that must be unique seen last, and the entry it belongs to.
    last: Vec<u8>,
    holder: u64,
    /// The last name that was found above another.
    parent: String,
}

impl Placing<'_, '_> {
    fn place(&mut self, Key { kind, bytes }: &Key) -> Result<(), Refusal> {
        let what = bytes.get(..bytes.len().saturating_sub(8)).unwrap_or_default();
        let number = number_of(bytes).unwrap_or(0);
        if self.refused.contains_key(&number) {
            return Ok(());
        }
        match kind {
            Kind::Unique => self.check_unique(what, number),
            Kind::Path => self.name(std::str::from_utf8(what).unwrap_or_default(), number),
            Kind::Index => {
                self.tables.index.insert(bytes.as_slice(), ())?;
                Ok(())
            }
        }
    }

    fn check_unique(&mut self, value: &[u8], number: u64) -> Result<(), Refusal> {
        let holder = if value == self.last.as_slice() { Some(self.holder) } else { self.holder_of(value)? };
        let Some(holder) = holder else {
            self.last = value.to_vec();
            self.holder = number;
            return Ok(());
        };
        let holder = self.dn_of(holder)?;
        let value = value.split(|byte| *byte == 0).nth(1).map(String::from_utf8_lossy).unwrap_or_default();
        self.refused.insert(number, format!("{value} belongs to {holder}"));
        Ok(())
    }

    /// Who held a value before.
    fn holder_of(&self, value: &[u8]) -> Result<Option<u64>, Refusal> {
        let (attribute, rest) = value.split_at(value.iter().position(|byte| *byte == 0).unwrap_or(value.len()));
        let shared = UNIQUE
            .iter()
            .map(|(_, shared)| *shared)
            .find(|shared| shared.first().is_some_and(|first| first.as_bytes() == attribute));
        for other in shared.unwrap_or_default() {
            let prefix = [other.as_bytes(), rest].concat();
            if let Some(found) = numbers(&self.tables.index, &prefix, 0)?.next() {
                return Ok(Some(found?));
            }
        }
        Ok(None)
    }

    fn name(&mut self, path: &str, number: u64) -> Result<(), Refusal> {
        let above = path.strip_suffix('\0').and_then(|path| path.rfind('\0')).map_or("", |end| &path[..=end]);
        if above != self.parent {
            if self.tables.paths.get(above)?.is_none() {
                self.refused.insert(number, "there is no entry above it".into());
                return Ok(());
            }
            above.clone_into(&mut self.parent);
        }
        let before = self.tables.paths.insert(path, number)?.map(|before| before.value());
        if let Some(before) = before {
            self.tables.paths.insert(path, before)?;
            self.refused.insert(number, "the file has an entry of this name already".into());
        }
        Ok(())
    }

    fn dn_of(&self, number: u64) -> Result<String, Refusal> {
        let bytes = self.tables.entries.get(number)?;
        bytes.map_or(Ok(String::new()), |bytes| Ok(decode(bytes.value())?.dn))
    }
}

#[cfg(test)]
#[path = "load_test.rs"]
mod tests;
