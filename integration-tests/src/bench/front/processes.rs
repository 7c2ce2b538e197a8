//! What a front end's processes use: all that descend from one.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// A process and all that descend from it; nothing where there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree(pub(super) Option<u32>);

impl Tree {
    /// Processor time so far, of children that have ended included.
    pub(super) fn cpu(self) -> Result<Duration> {
        let mut ticks = 0;
        for pid in self.pids()? {
            // One that has ended meanwhile is among its parent's children.
            if let Some(fields) = stat(pid) {
                ticks += fields.iter().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
            }
        }
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Bytes of memory; what several share counts once.
    pub(super) fn memory(self) -> Result<u64> {
        let mut kilobytes = 0;
        for pid in self.pids()? {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
            kilobytes += pss.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(kilobytes * 1024)
    }

    fn pids(self) -> Result<Vec<u32>> {
        let Some(first) = self.0 else { return Ok(Vec::new()) };
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc").context("list processes")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
            let parent = stat(pid).and_then(|fields| fields.get(1)?.parse::<u32>().ok());
            parents.extend(parent.map(|parent| (pid, parent)));
        }
        let mut family = vec![first];
        let mut at = 0;
        while let Some(&parent) = family.get(at) {
            family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        Ok(family)
    }
}

/// The fields behind the name, which may hold anything (proc(5)).
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit(')').next()?.split_whitespace().map(str::to_owned).collect())
}
