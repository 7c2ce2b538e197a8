//! What a filesystem must do before a cluster may live on it, and how to find out whether it does.
//!
//! Two sides look at the same folder, each through its own mount: *here*, who asks, and *there*, a peer. An
//! [`Examination`] says which operations each side carries out next and judges the answers; drivers carry them out on real
//! mounts (`drive/probe`), tests on filesystems that lie. Both sides take turns as writer and reader, so that both mounts
//! are examined.
//!
//! | assumption | what is tried | who depends on it |
//! |---|---|---|
//! | F1 | both sides link, and create, one name at the same time: exactly one has it, and what is there says who | terms, incarnations, segments |
//! | F2 | fsync of files and folders is accepted | every acknowledgement |
//! | F3 | what a side has synced, the other reads: in a file it never saw, and in one it has read before | recovery by the next owner |
//! | F4 | nothing can be renamed or made inside a folder that the other side emptied and removed | the tick, the fence |
//! | F5 | a listing shows what the reader itself, and what the other side, has made and removed | joining, gathering, recovery |
//! | caches | `stat`, `open` and a name once missed show what the other side has done since | reading records, quarantine, repair |
//!
//! **Architecture invariant:** no IO, no clock. What passes between the sides is a closed set of operations on a closed set
//! of names, all inside one folder: neither side can be asked for anything else.
//!
//! What no probe can see: whether bytes survive a power cut after fsync, and what the filesystem does while one of its
//! hosts is dying. [`Filesystem::beyond`] says what to set for that.

mod examination;
mod filesystem;
mod finding;
mod operation;
mod script;

pub use examination::{Examination, Extent, Step};
pub use filesystem::{Filesystem, Kind};
pub use finding::{Check, Findings, Tally, Trouble, Verdict};
pub use operation::{Answer, BATCH_MAX, Name, Operation, Place, Side, Tick};

#[cfg(test)]
mod fake;
