//! What an ownable keeps on the shared filesystem: an append-only log with one writer.

mod blob;
pub mod fs;
mod log;

pub use blob::{BodyRef, Reader};
pub use fs::{Fs, FsFile, RealFs};
pub use log::{Appended, Batch, Log, OpenError, Record, Recovered, Report, Stored, Synced, WriteError};
