//! The arbiter on a real shared filesystem: terms, incarnations and ticks as files.
//!
//! ```text
//! laniakea-volume                     marks the mounted volume, names its cluster and format
//! cluster/term/00000007               who won term 7; made by link(2), never changed
//! cluster/term/00000007.drained.00000002   who is being drained, by the second decision of term 7; likewise
//! cluster/inc/<member>.<number>       one run of a member and how to reach it; likewise
//! cluster/slot/<number>               the member with that bit in connectivity sets; likewise
//! cluster/live/<member>.<number>/     exists while that run may promise anything; holds one entry:
//!     t.<counter>.<sees>              the tick, renamed again and again by its owner
//! cluster/cool/<member>.<number>      that run was fenced, and may still answer reads for a moment
//! cluster/level/<number>              the volume is at that feature level; made by link(2), never changed; the highest counts
//! cluster/tmp/                        files on their way to a link
//! ```
//!
//! What it needs of the filesystem: exclusive `link` (one winner for each name), renames and removals that the server
//! decides (a tick after a fence fails), listings that are current in a directory this process has just changed
//! (`list_fresh`), and the content of a record that was synced before it got its name. It holds on mounts that cache
//! names, listings and contents as they like; the logs of accounts also need new bytes of a file read before.
//!
//! All of it is of constant size. Every call here blocks, perhaps for long: callers use threads of their own. Ambiguous
//! errors (a file server that restarts may report a success as an error) are resolved by reading what is there: every
//! record carries a nonce.

mod level;
mod record;
mod volume;

use std::{
    collections::{BTreeSet, HashMap},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use laniakea_directory::MemberName;
use parking_lot::Mutex;

use crate::{
    cluster::{
        Arbiter, DrainRecord, FenceOutcome, Incarnation, LiveEntry, Newcomer, Peer, SLOTS_MAX, Slots, Survey,
        TermRecord, TickError, TickName,
    },
    sabotage::{self, Sabotage},
    store::fs::{ClusterFs, FsFile, RealFs},
};

pub use level::{LEVEL_LOWEST, RaiseError, raise_volume_level, volume_level};
use record::{DrainFile, PeerRecord, Record, SlotRecord, TermFile, decode, encode};
#[cfg(test)]
pub(crate) use volume::make_folders;
pub use volume::{VOLUME_FORMAT, VolumeError, check_storage, cluster_of, initialise_storage};

/// Terms and incarnations that are kept for people to read; none of them is needed.
const HISTORY: usize = 16;

/// How the names begin that are made only to be listed with the others.
const PROBE: &str = "look-";

/// Attempts to win a race for a name before something must be wrong.
const RACES_MAX: u32 = 1000;

/// No record is longer.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// The arbiter of one cluster, on its storage.
#[derive(Debug)]
pub struct FileArbiter<F: ClusterFs = RealFs> {
    fs: Arc<F>,
    root: PathBuf,
    /// Records never change, so each is read once. Names are not reused.
    peers: Mutex<HashMap<Incarnation, Peer>>,
    terms: Mutex<HashMap<u64, TermRecord>>,
}

impl FileArbiter {
    /// The arbiter on `storage`, which [`check_storage`] has approved.
    #[must_use]
    pub fn new(storage: &Path) -> Self {
        Self::on(Arc::new(RealFs::default()), storage)
    }
}

impl<F: ClusterFs> FileArbiter<F> {
    /// The arbiter on a volume of any filesystem.
    #[must_use]
    pub fn on(fs: Arc<F>, storage: &Path) -> Self {
        Self { fs, root: storage.join("cluster"), peers: Mutex::default(), terms: Mutex::default() }
    }

    /// Makes `folder/name` with this content, unless the name is taken. Says whether it is ours.
    fn create(&self, folder: &str, name: &str, record: &impl Record) -> io::Result<bool> {
        let temporary = self.root.join("tmp").join(format!("{name}.{:032x}", record.nonce()));
        let target = self.root.join(folder).join(name);
        let file = self.fs.create(&temporary)?;
        file.write_at(&encode(record)?, 0)?;
        file.sync_data()?;
        let linked = self.fs.link(&temporary, &target);
        let removed = self.fs.unlink(&temporary);
        let ours = match linked {
            Ok(()) => true,
            // The link may have been made although an error came back.
            Err(error) => match self.read_nonce(&target) {
                Ok(nonce) => nonce == record.nonce(),
                Err(read) if read.kind() == ErrorKind::NotFound => return Err(error),
                Err(read) => return Err(read),
            },
        };
        removed?;
        self.fs.sync_dir(&self.root.join(folder))?;
        Ok(ours)
    }

    fn nonce(&self) -> u128 {
        u128::from(self.fs.nonce()) << 64 | u128::from(self.fs.nonce())
    }

    fn read_nonce(&self, path: &Path) -> io::Result<u128> {
        record::nonce(&self.read(path)?)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.fs.open(path)?;
        let length = file.length()?.min(RECORD_BYTES_MAX);
        let mut content = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut content, 0)?;
        Ok(content)
    }

    /// The member's bit: the one it has, or the lowest free one.
    fn slot(&self, newcomer: &Newcomer) -> io::Result<u8> {
        for slot in 0..SLOTS_MAX {
            let path = self.root.join("slot").join(slot.to_string());
            let content = match self.read(&path) {
                Ok(content) => content,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let record = SlotRecord { member: newcomer.member.clone(), nonce: self.nonce() };
                    if self.create("slot", &slot.to_string(), &record)? {
                        return Ok(slot);
                    }
                    self.read(&path)?
                }
                Err(error) => return Err(error),
            };
            if decode::<SlotRecord>(&content)?.member == newcomer.member {
                return Ok(slot);
            }
        }
        Err(io::Error::other("the cluster has had too many members"))
    }

    /// The highest term there is, and the terms below it.
    fn terms(&self) -> io::Result<Vec<u64>> {
        Ok(parse_terms(&self.fs.list(&self.root.join("term"))?))
    }

    fn highest_term(&self) -> io::Result<Option<TermRecord>> {
        self.highest_of(&self.fs.list(&self.root.join("term"))?)
    }

    fn highest_of(&self, names: &[String]) -> io::Result<Option<TermRecord>> {
        let Some(term) = parse_terms(names).first().copied() else { return Ok(None) };
        if let Some(known) = self.terms.lock().get(&term) {
            return Ok(Some(known.clone()));
        }
        let file: TermFile = decode(&self.read(&self.root.join("term").join(term_name(term)))?)?;
        let record = TermRecord { term, controller: file.controller };
        let mut known = self.terms.lock();
        known.clear();
        known.insert(term, record.clone());
        Ok(Some(record))
    }

    /// Who is being drained, by the newest decision among the names in the folder of terms.
    fn drained_of(&self, names: &[String]) -> io::Result<BTreeSet<MemberName>> {
        let newest = names.iter().filter_map(|name| parse_drain(name)).max();
        newest.map_or_else(|| Ok(BTreeSet::new()), |(term, number)| self.read_drain(term, number))
    }

    fn read_drain(&self, term: u64, number: u64) -> io::Result<BTreeSet<MemberName>> {
        let content = self.read(&self.root.join("term").join(drain_name(term, number)))?;
        Ok(decode::<DrainFile>(&content)?.drained)
    }

    fn peer(&self, incarnation: &Incarnation) -> io::Result<Peer> {
        if let Some(known) = self.peers.lock().get(incarnation) {
            return Ok(known.clone());
        }
        let content = self.read(&self.root.join("inc").join(incarnation.to_string()))?;
        let peer = decode::<PeerRecord>(&content)?.peer;
        self.peers.lock().insert(incarnation.clone(), peer.clone());
        Ok(peer)
    }

    /// Lists a folder as it is now. A filesystem may answer from a cache, but not for a folder that this process has just
    /// changed; and whoever joins or gathers must miss nobody.
    fn list_fresh(&self, folder: &str) -> io::Result<Vec<String>> {
        let folder = self.root.join(folder);
        // One that is younger than the volume; but never the cluster's own: where that is missing, nothing is mounted.
        self.fs.create_dir(&folder).or_else(nothing_if_taken)?;
        self.fs.create(&folder.join(format!("{PROBE}{:032x}-", self.nonce())))?;
        let names = self.fs.list(&folder)?;
        let (probes, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.starts_with(PROBE));
        // Those of others too: who probes at this moment does not need them any more, who died left them behind.
        for probe in probes {
            self.fs.unlink(&folder.join(probe)).or_else(nothing_if_missing)?;
        }
        Ok(names)
    }

    fn live(&self, incarnation: &Incarnation) -> PathBuf {
        self.root.join("live").join(incarnation.to_string())
    }

    /// The tick of one live directory; nothing if it is just being made, swept, or renamed under our eyes.
    fn read_tick(&self, incarnation: &Incarnation) -> io::Result<Option<TickName>> {
        match self.fs.list(&self.live(incarnation)) {
            Ok(names) => Ok(names.iter().find_map(|name| parse_tick(name))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_gone(&self, incarnation: &Incarnation) -> io::Result<bool> {
        match self.fs.list(&self.live(incarnation)) {
            Ok(_) => Ok(false),
            Err(error) if is_missing(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Empties the live directory until it can be removed. Afterwards no rename in it can ever succeed.
    fn sweep(&self, incarnation: &Incarnation) -> io::Result<()> {
        let directory = self.live(incarnation);
        for _ in 0..RACES_MAX {
            match self.fs.remove_dir(&directory) {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
                Err(error) => return Err(error),
            }
            for name in self.fs.list(&directory).or_else(nothing_if_missing)? {
                // Its owner may have renamed it meanwhile: the next round finds the new name.
                self.fs.unlink(&directory.join(name)).or_else(nothing_if_missing)?;
            }
        }
        // `create_dir` would succeed if it were gone; only the removal itself proves that it is.
        if let Err(error) = self.fs.remove_dir(&directory)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error);
        }
        self.fs.sync_dir(&self.root.join("live"))
    }

    /// Removes old records that only people read. Failures do not matter.
    fn tidy(&self, won: u64) {
        for term in self.terms().unwrap_or_default().into_iter().skip(HISTORY).filter(|term| *term < won) {
            let _ = self.fs.unlink(&self.root.join("term").join(term_name(term)));
        }
    }

    fn tidy_incarnations(&self, latest: &Incarnation, numbers: &[u64]) {
        let keep = numbers.len().saturating_sub(HISTORY);
        if keep == 0 {
            return;
        }
        let Ok(live) = self.fs.list(&self.root.join("live")) else { return };
        for number in numbers.iter().take(keep) {
            let old = Incarnation { member: latest.member.clone(), number: *number };
            // A number that still lives must stay readable.
            if !live.contains(&old.to_string()) {
                let _ = self.fs.unlink(&self.root.join("inc").join(old.to_string()));
            }
        }
    }
}

impl<F: ClusterFs> Arbiter for FileArbiter<F> {
    fn enlist(&self, newcomer: &Newcomer) -> io::Result<Peer> {
        let slot = self.slot(newcomer)?;
        for _ in 0..RACES_MAX {
            // A number that an old listing lacks may have been used, and its record tidied away.
            let names = self.list_fresh("inc")?;
            let of_member = names.iter().filter_map(|name| Incarnation::parse(name));
            let mut numbers: Vec<_> =
                of_member.filter(|one| one.member == newcomer.member).map(|one| one.number).collect();
            numbers.sort_unstable();
            let incarnation =
                Incarnation { member: newcomer.member.clone(), number: numbers.last().map_or(1, |last| last + 1) };
            let peer =
                Peer { incarnation: incarnation.clone(), slot, control: newcomer.control, handoff: newcomer.handoff };
            let record = PeerRecord { peer: peer.clone(), nonce: self.nonce() };
            if self.create("inc", &incarnation.to_string(), &record)? {
                self.tidy_incarnations(&incarnation, &numbers);
                return Ok(peer);
            }
        }
        Err(io::Error::other("no incarnation number could be taken"))
    }

    fn appear(&self, incarnation: &Incarnation) -> io::Result<()> {
        let directory = self.live(incarnation);
        self.fs.create_dir(&directory)?;
        self.fs.create(&directory.join(tick_name(&TickName::default())))?.sync_data()?;
        self.fs.sync_dir(&self.root.join("live"))
    }

    fn survey(&self) -> io::Result<Survey> {
        let mut live = Vec::new();
        for name in self.list_fresh("live")? {
            let Some(incarnation) = Incarnation::parse(&name) else { continue };
            // Even without a tick it is listed: whoever gathers must wait for it or fence it.
            let tick = self.read_tick(&incarnation)?;
            match self.peer(&incarnation) {
                Ok(peer) => live.push(LiveEntry { peer, tick }),
                // Swept and tidied since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound && self.is_gone(&incarnation)? => {}
                Err(error) => return Err(error),
            }
        }
        live.sort_by(|one, other| one.peer.incarnation.cmp(&other.peer.incarnation));
        // After the living: whoever was removed from there with a lease left had its mark before.
        let cooling = self.list_fresh("cool")?.iter().filter_map(|name| Incarnation::parse(name)).collect();
        let terms = self.list_fresh("term")?;
        Ok(Survey { term: self.highest_of(&terms)?, live, cooling, drained: self.drained_of(&terms)? })
    }

    fn win_term(&self, term: u64, candidate: &Incarnation) -> io::Result<TermRecord> {
        let record = TermFile { controller: candidate.clone(), nonce: self.nonce() };
        let won = self.create("term", &term_name(term), &record)?;
        let highest = self.highest_term()?.ok_or_else(|| io::Error::other("the term just won is not listed"))?;
        if won && highest.term < term {
            return Err(io::Error::other("a term below the one just won is listed as the highest"));
        }
        if won && highest.term == term {
            self.tidy(term);
        }
        Ok(highest)
    }

    fn fence(&self, incarnation: &Incarnation, under: u64, lease_left: bool) -> io::Result<FenceOutcome> {
        if let Some(higher) = self.highest_term()?.filter(|highest| highest.term > under) {
            return Ok(FenceOutcome::Superseded(higher));
        }
        if lease_left {
            self.fs
                .create(&self.root.join("cool").join(incarnation.to_string()))
                .map(drop)
                .or_else(nothing_if_taken)?;
            self.fs.sync_dir(&self.root.join("cool"))?;
        }
        if !sabotage::on(Sabotage::SkipFence) {
            self.sweep(incarnation)?;
        }
        self.peers.lock().remove(incarnation);
        Ok(FenceOutcome::Fenced)
    }

    fn cooled(&self, incarnation: &Incarnation) -> io::Result<()> {
        self.fs.unlink(&self.root.join("cool").join(incarnation.to_string())).or_else(nothing_if_missing)
    }

    fn record_drains(&self, record: &DrainRecord) -> io::Result<Option<TermRecord>> {
        let file = DrainFile { drained: record.drained.clone(), nonce: self.nonce() };
        let is_ours = self.create("term", &drain_name(record.term, record.number), &file)?;
        // An earlier attempt may have succeeded and been reported as failed.
        if !is_ours && self.read_drain(record.term, record.number)? != record.drained {
            return Err(io::Error::other("another decision has this number"));
        }
        let names = self.fs.list(&self.root.join("term"))?;
        for (term, number) in names.iter().filter_map(|name| parse_drain(name)) {
            if (term, number) < (record.term, record.number) {
                // One that stays counts for nothing.
                let _ = self.fs.unlink(&self.root.join("term").join(drain_name(term, number)));
            }
        }
        Ok(self.highest_of(&names)?.filter(|highest| highest.term > record.term))
    }

    fn depart(&self, incarnation: &Incarnation) -> io::Result<()> {
        self.sweep(incarnation)
    }

    fn tick(&self, incarnation: &Incarnation, name: &mut TickName, sees: Slots) -> Result<(), TickError> {
        let directory = self.live(incarnation);
        let next = |name: &TickName| TickName { counter: name.counter + 1, sees };
        let rename = |from: &TickName, to: &TickName| {
            self.fs.rename(&directory.join(tick_name(from)), &directory.join(tick_name(to)))
        };
        let once = next(name);
        match rename(name, &once) {
            Ok(()) => {
                *name = once;
                return Ok(());
            }
            Err(error) if !is_missing(&error) => return Err(TickError::Io(error)),
            Err(_) => {}
        }
        // A file server that restarted may have renamed and still report an error: then the new name is there.
        let twice = next(&once);
        match rename(&once, &twice) {
            Ok(()) => {
                *name = twice;
                Ok(())
            }
            Err(error) if is_missing(&error) && sabotage::on(Sabotage::IgnoreFence) => Ok(()),
            Err(error) if is_missing(&error) => Err(TickError::Fenced),
            Err(error) => Err(TickError::Io(error)),
        }
    }
}

/// The terms among the names in a folder, highest first.
fn parse_terms(names: &[String]) -> Vec<u64> {
    let mut terms: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
    terms.sort_unstable_by(|one, other| other.cmp(one));
    terms
}

fn term_name(term: u64) -> String {
    format!("{term:08}")
}

fn drain_name(term: u64, number: u64) -> String {
    format!("{}.drained.{number:08}", term_name(term))
}

fn parse_drain(name: &str) -> Option<(u64, u64)> {
    let (term, number) = name.split_once(".drained.")?;
    Some((term.parse().ok()?, number.parse().ok()?))
}

fn tick_name(name: &TickName) -> String {
    format!("t.{:016x}.{:016x}", name.counter, name.sees.0)
}

fn parse_tick(name: &str) -> Option<TickName> {
    let (counter, sees) = name.strip_prefix("t.")?.split_once('.')?;
    let counter = u64::from_str_radix(counter, 16).ok()?;
    Some(TickName { counter, sees: Slots(u64::from_str_radix(sees, 16).ok()?) })
}

/// NFS says that a directory is gone in two ways.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::StaleNetworkFileHandle)
}

fn nothing_if_missing<T: Default>(error: io::Error) -> io::Result<T> {
    if is_missing(&error) { Ok(T::default()) } else { Err(error) }
}

/// For what may have been made before.
fn nothing_if_taken(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests;
