//! The cluster's storage as this member uses it: where it is, and how much room it has left.
//!
//! New mail is refused in time, so that there is room for what frees room: an expunge, a snapshot and a compaction are
//! written as long as anything fits, a message from outside or from a client only while the reserve is untouched.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::spawn_blocking;

use super::{
    arbiter::{LEVEL_LOWEST, volume_level},
    lanes::Lanes,
};
use crate::store::FEATURE_LEVEL;

/// How often the storage is asked. What a fast disk takes in the meantime has to fit into the reserve.
const INTERVAL: Duration = Duration::from_secs(1);
/// The reserve of a small storage: this part of it, whatever is configured.
const SHARE_MAX: u64 = 10;
/// Files that are kept for segments, snapshots and long bodies, where a filesystem has a limited number of them.
const FILES_RESERVED: u64 = 1024;

/// A cluster's storage. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Storage {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    lanes: Lanes,
    reserve: u64,
    /// As of the last look; more than there is, before the first.
    free: AtomicU64,
    /// What is kept of that.
    floor: AtomicU64,
    /// What was admitted since.
    admitted: AtomicU64,
    /// Whether something was refused since.
    has_refused: AtomicBool,
    is_full: AtomicBool,
    /// The feature level of the volume, as of the last look; the lowest there is, before the first.
    level: AtomicU16,
}

/// What a filesystem has, in bytes and in files; no total of files where they are not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Space {
    total: u64,
    free: u64,
    files_total: u64,
    files_free: u64,
}

impl Space {
    /// How many of the free bytes are kept: all, if there are too few files.
    fn floor(self, reserve: u64) -> u64 {
        let lacks_files = self.files_free < FILES_RESERVED.min(self.files_total / SHARE_MAX);
        if reserve > 0 && lacks_files { u64::MAX } else { reserve.min(self.total / SHARE_MAX) }
    }

    fn is_full(self, reserve: u64) -> bool {
        self.free < self.floor(reserve)
    }
}

impl Storage {
    /// The storage at `path`, of which so many bytes are kept for what frees room; 0 keeps none.
    #[must_use]
    pub fn new(path: PathBuf, reserve: u64) -> Self {
        let shared = Shared {
            path,
            lanes: Lanes::default(),
            reserve,
            free: AtomicU64::new(u64::MAX),
            floor: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            has_refused: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            level: AtomicU16::new(LEVEL_LOWEST),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The threads that commit to it.
    pub(super) fn lanes(&self) -> &Lanes {
        &self.shared.lanes
    }

    /// The feature level to write: that of the volume, which every member of the cluster knows.
    #[must_use]
    pub fn level(&self) -> u16 {
        self.shared.level.load(Ordering::Relaxed)
    }

    /// Whether so many bytes of new mail may be written. What was admitted since the last look counts as written.
    #[must_use]
    pub fn admit(&self, bytes: u64) -> bool {
        let Shared { free, floor, admitted, has_refused, .. } = &*self.shared;
        let taken = admitted.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let fits = free.load(Ordering::Relaxed).saturating_sub(taken) >= floor.load(Ordering::Relaxed);
        if !fits {
            admitted.fetch_sub(bytes, Ordering::Relaxed);
            has_refused.store(true, Ordering::Relaxed);
        }
        fits
    }

    /// Whether less than the reserve is left, or would be with what was refused lately.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.is_full.load(Ordering::Relaxed)
    }

    /// Free bytes, if they are known.
    #[must_use]
    pub fn free(&self) -> Option<u64> {
        Some(self.shared.free.load(Ordering::Relaxed)).filter(|free| *free < u64::MAX)
    }

    /// Looks again and again, until the process ends.
    pub async fn watch(self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        // A storage that hangs is looked at once when it is back, not once for every second.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let shared = Arc::clone(&self.shared);
            // What cannot be asked is as it was.
            let looking = move || (space_of(&shared.path), volume_level(&shared.path));
            let Ok((space, level)) = spawn_blocking(looking).await else { continue };
            if let Ok(space) = space {
                self.note(space);
            }
            if let Ok(level) = level {
                self.note_level(level);
            }
        }
    }

    fn note_level(&self, level: u16) {
        // Should it have been raised beyond this program, this program writes no more than it knows.
        let level = level.min(FEATURE_LEVEL);
        let before = self.shared.level.swap(level, Ordering::Relaxed);
        if before != level {
            tracing::info!(storage = %self.shared.path.display(), level, "the volume is at another feature level");
        }
    }

    fn note(&self, space: Space) {
        let Shared { path, lanes: _, reserve, free, floor, admitted, has_refused, is_full, level: _ } = &*self.shared;
        admitted.store(0, Ordering::Relaxed);
        free.store(space.free, Ordering::Relaxed);
        floor.store(space.floor(*reserve), Ordering::Relaxed);
        metrics::gauge!("laniakea_member_storage_free_bytes").set(space.free as f64);
        let full = has_refused.swap(false, Ordering::Relaxed) || space.is_full(*reserve);
        metrics::gauge!("laniakea_member_storage_full").set(if full { 1.0 } else { 0.0 });
        let Space { free, files_free, .. } = space;
        match (is_full.swap(full, Ordering::Relaxed), full) {
            (false, true) => tracing::error!(
                storage = %path.display(), free, files_free, reserve,
                "the storage is nearly full: new mail is refused until there is room again"
            ),
            (true, false) => tracing::info!(storage = %path.display(), free, "the storage has room again"),
            (false, false) | (true, true) => {}
        }
    }
}

fn space_of(path: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Space {
        total: found.f_blocks.saturating_mul(found.f_frsize),
        free: found.f_bavail.saturating_mul(found.f_frsize),
        files_total: found.f_files,
        files_free: found.f_favail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn space(total: u64, free: u64, files_total: u64, files_free: u64) -> Space {
        Space { total, free, files_total, files_free }
    }

    #[test]
    fn the_reserve_is_kept_and_no_more_than_a_share_of_a_small_storage() {
        assert!(!space(10_000 * MIB, 256 * MIB, 0, 0).is_full(256 * MIB));
        assert!(space(10_000 * MIB, 255 * MIB, 0, 0).is_full(256 * MIB));
        assert!(!space(100 * MIB, 10 * MIB, 0, 0).is_full(256 * MIB));
        assert!(space(100 * MIB, 9 * MIB, 0, 0).is_full(256 * MIB));
        assert!(!space(100 * MIB, 0, 100, 0).is_full(0), "no reserve");
    }

    #[test]
    fn files_run_out_as_bytes_do() {
        assert!(space(100 * MIB, 50 * MIB, 1_000_000, 1023).is_full(MIB));
        assert!(!space(100 * MIB, 50 * MIB, 1_000_000, 1024).is_full(MIB));
        assert!(!space(100 * MIB, 50 * MIB, 0, 0).is_full(MIB), "files are not limited");
    }

    #[test]
    fn what_was_admitted_since_the_last_look_is_not_free_any_more() {
        let storage = Storage::new(PathBuf::from("/"), 10 * MIB);
        assert!(storage.admit(1 << 60) && storage.free().is_none(), "before the first look nothing is refused");
        storage.note(space(1_000 * MIB, 15 * MIB, 0, 0));
        assert!(storage.admit(3 * MIB));
        assert!(!storage.admit(3 * MIB));
        assert!(storage.admit(2 * MIB) && !storage.admit(1), "what was refused takes nothing");
        assert!(!storage.is_full());
        storage.note(space(1_000 * MIB, 10 * MIB, 0, 0));
        assert!(storage.is_full(), "something was refused");
        storage.note(space(1_000 * MIB, 10 * MIB, 0, 0));
        assert!(!storage.is_full());
        storage.note(space(1_000 * MIB, 9 * MIB, 0, 0));
        assert!(storage.is_full() && !storage.admit(1));
    }

    #[test]
    fn a_real_filesystem_tells() {
        let space = space_of(Path::new("/")).unwrap();
        assert!(space.total >= space.free && space.total > 0);
    }
}
