//! The tables: paths to entries, entries, and one ordered index for all indexed attributes.

use redb::{Database, ReadableTable, StorageError, Table, TableDefinition, WriteTransaction};

use crate::server::{
    entry::{Entry, normal},
    refusal::Refusal,
};

/// Path of the name ([`crate::dn::Dn::path`]) → number of the entry.
pub(super) const PATHS: TableDefinition<'static, &'static str, u64> = TableDefinition::new("paths");
/// Number → entry.
pub(super) const ENTRIES: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("entries");
/// `attribute 00 value 00 number` → nothing; see [`index_key`].
pub(super) const INDEX: TableDefinition<'static, &'static [u8], ()> = TableDefinition::new("index");
/// Counters, and the version of this format.
pub(super) const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");

/// The version of what the tables hold; another one is not opened.
const FORMAT_VERSION: u64 = 1;
/// The form of an entry inside [`ENTRIES`].
const ENTRY_VERSION: u8 = 1;
/// Longer values are indexed by their beginning; every candidate is compared in full anyway.
const INDEXED_BYTES_MAX: usize = 256;

/// Attributes an equality filter finds without reading every entry.
const INDEXED: &[&str] = &[
    "objectclass",
    "uid",
    "cn",
    "mail",
    "maillocaladdress",
    "mailhost",
    "entryuuid",
    "mailalternateaddress",
    "mailroutingaddress",
    "zimbramaildeliveryaddress",
    "zimbramailalias",
    "zimbraid",
    "username",
    "memberof",
    "member",
];

/// The tables inside a transaction that writes.
pub(super) struct Tables<'t> {
    pub(super) paths: Table<'t, &'static str, u64>,
    pub(super) entries: Table<'t, u64, &'static [u8]>,
    pub(super) index: Table<'t, &'static [u8], ()>,
    meta: Table<'t, &'static str, u64>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            paths: transaction.open_table(PATHS)?,
            entries: transaction.open_table(ENTRIES)?,
            index: transaction.open_table(INDEX)?,
            meta: transaction.open_table(META)?,
        })
    }

    /// Returns a number never used before.
    pub(super) fn next_number(&mut self) -> Result<u64, StorageError> {
        let number = self.meta.get("next")?.map_or(1, |next| next.value());
        self.meta.insert("next", number + 1)?;
        Ok(number)
    }

    /// Goes on from a number when many have been given.
    pub(super) fn set_next_number(&mut self, next: u64) -> Result<(), StorageError> {
        self.meta.insert("next", next)?;
        Ok(())
    }

    pub(super) fn put(&mut self, number: u64, entry: &Entry) -> Result<(), Refusal> {
        self.entries.insert(number, encode(entry)?.as_slice())?;
        Ok(())
    }
}

/// Makes the tables of a new database and refuses one of another version.
pub(super) fn create(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut tables = Tables::open(&transaction)?;
        let version = tables.meta.get("version")?.map(|version| version.value());
        match version {
            None => drop(tables.meta.insert("version", FORMAT_VERSION)?),
            Some(FORMAT_VERSION) => {}
            Some(other) => return Err(redb::Error::Corrupted(format!("unknown format version {other}"))),
        }
    }
    transaction.commit()?;
    Ok(())
}

pub(super) fn encode(entry: &Entry) -> Result<Vec<u8>, Refusal> {
    Ok(postcard::to_extend(entry, vec![ENTRY_VERSION])?)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Entry, Refusal> {
    match bytes.split_first() {
        Some((&ENTRY_VERSION, rest)) => Ok(postcard::from_bytes(rest)?),
        _ => Err(postcard::Error::DeserializeBadEncoding.into()),
    }
}

pub(super) fn is_indexed(key: &str) -> bool {
    INDEXED.contains(&key)
}

/// Returns every index key of an entry, sorted.
pub(super) fn index_keys(entry: &Entry, number: u64) -> Vec<Vec<u8>> {
    let keys = INDEXED.iter().flat_map(|key| {
        let values = entry.values(key);
        values.iter().map(|value| index_key(key, &normal(key, value), number)).collect::<Vec<_>>()
    });
    let mut keys: Vec<_> = keys.collect();
    keys.sort();
    keys.dedup();
    keys
}

fn index_key(key: &str, value: &[u8], number: u64) -> Vec<u8> {
    let mut bytes = index_prefix(key, value);
    bytes.push(0);
    bytes.extend(number.to_be_bytes());
    bytes
}

/// Returns what the index keys of a value, or of all values that begin with it, begin with.
pub(super) fn index_prefix(key: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + value.len().min(INDEXED_BYTES_MAX) + 10);
    bytes.extend(key.as_bytes());
    bytes.push(0);
    bytes.extend(value.iter().take(INDEXED_BYTES_MAX).map(|byte| (*byte).max(1)));
    bytes
}

/// Returns the number at the end of an index key.
pub(super) fn number_of(key: &[u8]) -> Option<u64> {
    key.last_chunk().copied().map(u64::from_be_bytes)
}

/// Lists the numbers under index keys that begin with `prefix`, in the order of the keys.
pub(super) fn numbers<'a>(
    index: &'a impl ReadableTable<&'static [u8], ()>,
    prefix: &'a [u8],
    after: u64,
) -> Result<impl Iterator<Item = Result<u64, StorageError>> + 'a, StorageError> {
    let mut start = prefix.to_vec();
    if after > 0 {
        start.extend((after + 1).to_be_bytes());
    }
    let range = index.range(start.as_slice()..)?;
    Ok(range
        .take_while(move |item| item.as_ref().is_ok_and(|(key, _)| key.value().starts_with(prefix)) || item.is_err())
        .filter_map(|item| item.map(|(key, _)| number_of(key.value())).transpose()))
}
