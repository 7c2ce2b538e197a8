//! The process of one mount.

use std::{
    io::{self, BufRead, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use fuser::{Config, MountOption};

use super::{Faults, filesystem::FaultFs, state::State};

/// Operations that may be under way at once before others wait; those that are to wait do not count.
const THREADS: usize = 4;

/// Open files of the process: one for each file that the kernel remembers.
const OPEN_FILES_MAX: u64 = 65_536;

/// Mounts `folder` at `at` and obeys what is told on standard input, line by line, until that ends.
///
/// # Errors
/// If it cannot be mounted, or is told what it does not understand.
pub fn serve(folder: &Path, at: &Path, cached: Duration) -> Result<()> {
    raise_limit();
    let state = Arc::new(State::new(folder).with_context(|| format!("open {}", folder.display()))?);
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("faultfs".into()), MountOption::NoAtime];
    config.n_threads = Some(THREADS);
    let filesystem = FaultFs::new(Arc::clone(&state), cached);
    let session = fuser::spawn_mount(filesystem, at, &config).with_context(|| format!("mount {}", at.display()))?;
    answer()?;
    for line in io::stdin().lock().lines() {
        let faults: Faults = serde_json::from_str(&line?)?;
        state.set(faults);
        answer()?;
    }
    drop(session);
    Ok(())
}

fn answer() -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "ready")?;
    Ok(out.flush()?)
}

fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let old = getrlimit(Resource::Nofile);
    let current = old.maximum.map_or(OPEN_FILES_MAX, |most| most.min(OPEN_FILES_MAX));
    // With fewer files it works as well, until they are used up.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: old.maximum });
}
