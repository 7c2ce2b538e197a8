//! One mount of a filesystem that fails on command; started by tests, on a host.
//!
//! ```text
//! faultfs FOLDER MOUNTPOINT CACHED-MILLISECONDS
//! ```
//!
//! What is to go wrong is told on standard input, as one line of JSON.

use std::{path::Path, time::Duration};

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, at, cached] = arguments.as_slice() else { bail!("usage: faultfs FOLDER MOUNTPOINT CACHED-MS") };
    integration_tests::faultfs::serve(Path::new(folder), Path::new(at), Duration::from_millis(cached.parse()?))
}
