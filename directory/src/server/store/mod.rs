//! Entries in an embedded database on a local disk: durable, indexed, written in batches.
//!
//! - `table`: the tables and their keys.
//! - `apply`: one change against the tables.
//! - `load`: many entries at once, while nobody serves.
//! - `writer`: the one thread that writes; all changes waiting at a moment share one commit.
//! - `read`: look-ups and searches on a snapshot.

mod apply;
mod load;
mod read;
mod table;
mod writer;

use std::{path::Path, sync::Arc};

use redb::{Database, ReadableDatabase};
use tokio::sync::oneshot;

use super::{change::Change, refusal::Refusal};

pub(super) use load::Load;
pub use load::{Abandoned, LoadError, Loading};
pub(super) use read::{Cursor, End, Reader, Scope, Search, Source};
pub(super) use writer::WriterGone;

/// Memory for the database's pages.
const CACHE_BYTES: usize = 256 << 20;

/// The database and its writer.
pub(super) struct Store {
    writer: writer::Writer,
    database: Arc<Database>,
}

impl Store {
    /// Opens the database, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, redb::Error> {
        let database = Arc::new(Database::builder().set_cache_size(CACHE_BYTES).create(path)?);
        table::create(&database)?;
        let writer = writer::Writer::start(Arc::clone(&database));
        Ok(Self { database, writer })
    }

    /// Returns a snapshot to read from.
    pub(super) fn reader(&self) -> Result<Reader, redb::Error> {
        Reader::open(&self.database.begin_read()?)
    }

    /// Hands a change to the writer, in order; the answer comes when it is on the disk.
    pub(super) async fn write(
        &self,
        change: Change,
        who: String,
    ) -> Result<oneshot::Receiver<Result<(), Refusal>>, WriterGone> {
        self.writer.send(change, who).await
    }
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
