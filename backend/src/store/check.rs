//! Reading everything there is in an ownable, to tell a person whether it is whole, and what is in it.
//!
//! Opening reads as little as it can; this reads all: every byte of every segment that counts, every snapshot, every
//! body. It writes nothing. Only the owner may look at an ownable, so the member that owns it runs this, or nobody does
//! while the cluster is down.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::blob::BodyRef;
use super::files::{ReadError, read_to};
use super::format::layout::{BODIES, Name, body_path, parse_body_name};
use super::format::record::{BodyFile, Purpose, RawBody, RawRecord, Records};
use super::format::segment::{Seal, SegmentHeader};
use super::format::{FormatError, Position, checksum};
use super::fs::{Fs, FsFile};
use super::recover::{Damage, OpenError, OpenSegment, Scan, ScannedBatch, is_in_chain, open_segment, read_snapshot};

/// What an ownable is made of, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Audit {
    /// The last good batch.
    pub seq: u64,
    /// How many segments count.
    pub segments: usize,
    /// How many batches are in them.
    pub batches: u64,
    /// How many changes are in those.
    pub records: u64,
    /// How many bodies they brought along.
    pub bodies: u64,
    /// How many bytes those have.
    pub body_bytes: u64,
    /// How many snapshots are good.
    pub snapshots: usize,
    /// What is left of a batch that was never completed.
    pub torn_bytes: u64,
    /// What is damaged or missing.
    pub damage: Vec<Damage>,
    /// Files that belong to nobody any more; their owner will delete them.
    pub garbage: Vec<String>,
}

impl Audit {
    /// Whether nothing is damaged or missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Reads and checks everything in the directory of an ownable.
///
/// `needed` are the bodies that the state names, if it could be read: a change that is still in the log may name a body
/// that was reclaimed since, so what is missing and what is garbage can only be told by the state.
///
/// # Errors
/// [`OpenError::Newer`] if a newer program wrote it, [`OpenError::Io`] if the disk fails. Damage is no error but a
/// finding.
pub fn check<F: Fs>(fs: &F, dir: &Path, needed: Option<&[BodyRef]>) -> Result<Audit, OpenError> {
    visit(fs, dir, needed, &mut |_| Ok(()))
}

/// Checks everything, and writes down what there is, a line for each thing.
///
/// # Errors
/// As [`check`], and whatever `out` says.
pub fn dump<F: Fs>(
    fs: &F,
    dir: &Path,
    needed: Option<&[BodyRef]>,
    out: &mut impl io::Write,
) -> Result<Audit, OpenError> {
    let audit = visit(fs, dir, needed, &mut |seen| match seen {
        Seen::Segment(header) => {
            let SegmentHeader { generation, epoch, first_seq, acked, identity, .. } = header;
            writeln!(out, "segment {generation} epoch {epoch:x} from batch {first_seq} acked {acked} by {identity:?}")?;
            for Seal { generation, length, chain, body_bytes } in &header.seals {
                writeln!(out, "  seals {generation} at {length} chain {chain:016x} with {body_bytes} bytes of bodies")?;
            }
            Ok(())
        }
        Seen::Batch(batch) => {
            let header = &batch.header;
            writeln!(
                out,
                "  batch {} at {} acked {} records {}",
                header.seq, header.offset, header.acked, header.records
            )
        }
        Seen::Record(RawRecord { purpose: Purpose::Mark, .. }) => writeln!(out, "    mark"),
        Seen::Record(RawRecord { purpose: Purpose::Moved { generation, offset }, .. }) => {
            writeln!(out, "    body that was at {offset} of segment {generation}")
        }
        Seen::Record(RawRecord { payload, body, .. }) => match body {
            RawBody::Absent => writeln!(out, "    change of {} bytes", payload.len()),
            RawBody::Inline { bytes, .. } => {
                writeln!(out, "    change of {} bytes, body of {}", payload.len(), bytes.len())
            }
            RawBody::File(BodyFile { epoch, number, length, .. }) => {
                writeln!(
                    out,
                    "    change of {} bytes, body of {length} in {BODIES}/{epoch:032x}.{number:x}",
                    payload.len()
                )
            }
        },
        Seen::Snapshot(name, Position { seq, generation, offset, .. }) => {
            writeln!(out, "{name} after batch {seq} at {offset} of segment {generation}")
        }
    })?;
    for damage in &audit.damage {
        writeln!(out, "DAMAGE {damage}")?;
    }
    for name in &audit.garbage {
        writeln!(out, "garbage {name}")?;
    }
    Ok(audit)
}

enum Seen<'a> {
    Segment(&'a SegmentHeader),
    Batch(&'a ScannedBatch<'a>),
    Record(&'a RawRecord<'a>),
    Snapshot(Name, Position),
}

type Visitor<'v> = &'v mut dyn FnMut(Seen<'_>) -> io::Result<()>;

fn visit<F: Fs>(fs: &F, dir: &Path, needed: Option<&[BodyRef]>, visitor: Visitor<'_>) -> Result<Audit, OpenError> {
    let needed_files = needed.map(|needed| needed.iter().filter_map(file_of).collect());
    let mut visit = Visit { fs, dir, audit: Audit::default(), needed_files, visitor };
    let names: Vec<Name> = list(fs, dir)?.iter().filter_map(|name| Name::parse(name)).collect();
    let newest = names
        .iter()
        .filter_map(|name| if let Name::Segment { generation } = name { Some(*generation) } else { None })
        .max();
    let mut newest_header = None;
    if let Some(generation) = newest {
        newest_header = visit.chain(generation)?;
    }
    visit.snapshots(&names, newest_header.as_ref())?;
    visit.leftovers(&names, newest_header.as_ref());
    visit.bodies(needed.unwrap_or_default(), newest_header.as_ref())?;
    Ok(visit.audit)
}

fn file_of(body: &BodyRef) -> Option<(u128, u64)> {
    match body {
        BodyRef::File { epoch, number, .. } => Some((*epoch, *number)),
        BodyRef::Inline { .. } => None,
    }
}

fn list<F: Fs>(fs: &F, dir: &Path) -> io::Result<Vec<String>> {
    match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

struct Visit<'a, F: Fs> {
    fs: &'a F,
    dir: &'a Path,
    audit: Audit,
    /// Body files that the state names, if that is known.
    needed_files: Option<BTreeSet<(u128, u64)>>,
    visitor: Visitor<'a>,
}

impl<F: Fs> Visit<'_, F> {
    /// Reads all segments that the newest names, and the newest. Returns its header if that is good.
    fn chain(&mut self, newest: u64) -> Result<Option<SegmentHeader>, OpenError> {
        let Some(last) = self.segment(newest)? else { return Ok(None) };
        let mut before: Option<Seal> = None;
        for seal in &last.header.seals {
            let Some(segment) = self.segment(seal.generation)? else { continue };
            self.continuity(&segment, before);
            self.agreement(&segment, &last.header);
            self.batches(&segment, Some(seal))?;
            before = Some(*seal);
        }
        self.continuity(&last, before);
        self.batches(&last, None)?;
        Ok(Some(last.header))
    }

    fn segment(&mut self, generation: u64) -> Result<Option<OpenSegment<F::File>>, OpenError> {
        match open_segment(self.fs, self.dir, generation) {
            Ok(segment) => {
                self.audit.segments += 1;
                Ok(Some(segment))
            }
            Err(OpenError::Quarantined(damage)) => {
                self.audit.damage.push(damage);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Neighbours go on where the one before ends; between others, segments were left out.
    fn continuity(&mut self, segment: &OpenSegment<F::File>, before: Option<Seal>) {
        let Some(before) = before.filter(|before| before.generation + 1 == segment.header.generation) else { return };
        if segment.header.chain != before.chain {
            self.damaged(segment.name(), 0, "the segment does not continue what is before it");
        }
    }

    /// What an older header has sealed, the newest seals in the same place.
    fn agreement(&mut self, segment: &OpenSegment<F::File>, newest: &SegmentHeader) {
        let contradicts = |older: &Seal| newest.seals.iter().any(|s| s.generation == older.generation && s != older);
        if segment.header.seals.iter().any(contradicts) || segment.header.epoch > newest.epoch {
            self.damaged(segment.name(), 0, "the segment contradicts the newest one");
        }
    }

    fn batches(&mut self, segment: &OpenSegment<F::File>, seal: Option<&Seal>) -> Result<(), OpenError> {
        let (header, name) = (&segment.header, segment.name());
        (self.visitor)(Seen::Segment(header))?;
        let start = Position {
            seq: header.first_seq - 1,
            generation: header.generation,
            offset: segment.header_bytes,
            chain: header.chain,
            body_bytes: 0,
        };
        let bytes = read_to(&segment.file, start.offset, seal.map(|seal| seal.length))?;
        let mut scan = Scan::new(header, &bytes, start);
        loop {
            match scan.next_batch() {
                Ok(Some(batch)) => self.batch(name, &batch)?,
                Ok(None) => break,
                Err(damage) => {
                    self.audit.damage.push(damage);
                    return Ok(());
                }
            }
        }
        self.audit.seq = scan.at.seq;
        match seal {
            Some(seal) if Seal::from(scan.at) != *seal => {
                self.damaged(name, scan.at.offset, "bytes that were sealed are missing or changed");
            }
            Some(_) => {}
            None => match scan.torn_bytes() {
                Ok(torn) => self.audit.torn_bytes = torn,
                Err(damage) => self.audit.damage.push(damage),
            },
        }
        Ok(())
    }

    fn batch(&mut self, name: Name, batch: &ScannedBatch<'_>) -> Result<(), OpenError> {
        self.audit.batches += 1;
        (self.visitor)(Seen::Batch(batch))?;
        for record in Records::new(batch.records) {
            let Ok(record) = record else {
                self.damaged(name, batch.header.offset, "a record that makes no sense");
                break;
            };
            self.audit.records += 1;
            (self.visitor)(Seen::Record(&record))?;
            match record.body {
                RawBody::Absent => {}
                RawBody::Inline { bytes, checksum: expected, .. } => {
                    self.body(bytes.len() as u64);
                    if checksum(bytes, 0) != expected {
                        self.damaged(name, batch.header.offset, "checksum of a body");
                    }
                }
                RawBody::File(file) => self.body_file(&file)?,
            }
        }
        Ok(())
    }

    fn body(&mut self, bytes: u64) {
        self.audit.bodies += 1;
        self.audit.body_bytes += bytes;
    }

    fn body_file(&mut self, named: &BodyFile) -> Result<(), OpenError> {
        self.body(named.length);
        let path = body_path(self.dir, named.epoch, named.number);
        let is_whole = match self.fs.open(&path) {
            // Whether it is missing, the state tells.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
            Ok(file) => {
                let bytes = read_to(&file, 0, None)?;
                bytes.len() as u64 == named.length && checksum(&bytes, 0) == named.checksum
            }
        };
        // What nobody names any more may be in any state.
        if !is_whole && self.needed_files.as_ref().is_none_or(|needed| needed.contains(&(named.epoch, named.number))) {
            self.damaged_body(&path, "the body file is changed");
        }
        Ok(())
    }

    fn snapshots(&mut self, names: &[Name], newest: Option<&SegmentHeader>) -> Result<(), OpenError> {
        for name in names.iter().filter(|name| matches!(name, Name::Snapshot { .. })) {
            match read_snapshot(self.fs, self.dir, *name) {
                Ok((header, _, _)) if newest.is_some_and(|newest| is_in_chain(&header.position, newest)) => {
                    self.audit.snapshots += 1;
                    (self.visitor)(Seen::Snapshot(*name, header.position))?;
                }
                Ok(_) => self.audit.garbage.push(name.to_string()),
                Err(ReadError::Format(FormatError::Newer(level))) => return Err(OpenError::Newer(level)),
                Err(ReadError::Format(FormatError::Damaged(what))) => self.damaged(*name, 0, what),
                Err(ReadError::Io(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn leftovers(&mut self, names: &[Name], newest: Option<&SegmentHeader>) {
        for name in names {
            let useless = match *name {
                Name::Segment { generation } => newest.is_some_and(|newest| {
                    generation != newest.generation && !newest.seals.iter().any(|seal| seal.generation == generation)
                }),
                Name::Temporary { .. } => true,
                Name::Snapshot { .. } => false,
            };
            if useless {
                self.audit.garbage.push(name.to_string());
            }
        }
    }

    /// Whether the bodies that the state names are there, and which body files it does not name: of messages that went,
    /// and of batches that never came.
    fn bodies(&mut self, needed: &[BodyRef], newest: Option<&SegmentHeader>) -> Result<(), OpenError> {
        for body in needed {
            match *body {
                BodyRef::Inline { generation, offset, length } => {
                    let counts = newest.is_some_and(|newest| {
                        let sealed = newest.seals.iter().find(|seal| seal.generation == generation);
                        generation == newest.generation
                            || sealed.is_some_and(|seal| offset + u64::from(length) <= seal.length)
                    });
                    if !counts {
                        self.damaged(
                            Name::Segment { generation },
                            offset,
                            "a message's body lies where nothing counts",
                        );
                    }
                }
                BodyRef::File { epoch, number, length } => {
                    let path = body_path(self.dir, epoch, number);
                    match self.fs.open(&path) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {
                            self.damaged_body(&path, "the body file is missing");
                        }
                        Err(error) => return Err(error.into()),
                        Ok(file) if file.length()? != length => self.damaged_body(&path, "the body file is changed"),
                        Ok(_) => {}
                    }
                }
            }
        }
        let Some(needed) = &self.needed_files else { return Ok(()) };
        for name in list(self.fs, &self.dir.join(BODIES))? {
            if parse_body_name(&name).is_some_and(|body| !needed.contains(&body)) {
                self.audit.garbage.push(format!("{BODIES}/{name}"));
            }
        }
        Ok(())
    }

    fn damaged_body(&mut self, path: &Path, what: &'static str) {
        let damage = Damage { file: path.display().to_string(), offset: 0, what };
        if !self.audit.damage.contains(&damage) {
            self.audit.damage.push(damage);
        }
    }

    fn damaged(&mut self, name: Name, offset: u64, what: &'static str) {
        self.audit.damage.push(Damage::new(name, offset, what));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{Contents, Limits, Log, SimulatedFs};

    const DIR: &str = "/a";

    /// A state that is nothing but its bodies.
    struct Bodies(Vec<BodyRef>);

    impl Contents for Bodies {
        fn encode_snapshot(&self, _: &dyn Fn(BodyRef) -> BodyRef) -> Vec<u8> {
            b"state".to_vec()
        }

        fn for_each_body(&self, visit: &mut dyn FnMut(BodyRef)) {
            self.0.iter().copied().for_each(visit);
        }

        fn body_bytes(&self) -> u64 {
            0
        }
    }

    fn filled() -> (SimulatedFs, Vec<BodyRef>) {
        let fs = SimulatedFs::new();
        let limits = Limits { inline_body_bytes: 10, segment_bytes: 300, ..Limits::default() };
        let (mut log, _) = Log::open_with(Arc::new(fs.clone()), Path::new(DIR), 1, limits).unwrap();
        let mut bodies = Bodies(Vec::new());
        for body in [&b"short"[..], b"a longer body", b"short too"] {
            let mut batch = log.batch();
            bodies.0.extend(batch.push(b"change", Some(body)));
            let appended = log.write(batch).unwrap();
            let synced = log.sync(appended).unwrap();
            log.validated(synced);
            log.snapshot(&bodies).unwrap();
        }
        log.close();
        (fs, bodies.0)
    }

    #[test]
    fn a_sound_ownable_has_nothing_wrong_with_it() {
        let (fs, bodies) = filled();
        let audit = check(&fs, Path::new(DIR), Some(&bodies)).unwrap();
        assert!(audit.is_whole(), "{:?}", audit.damage);
        assert_eq!((audit.bodies, audit.body_bytes, audit.records), (3, 27, 3));
        assert!(audit.segments == 2 && audit.snapshots >= 2 && audit.garbage.is_empty());
    }

    #[test]
    fn every_flipped_bit_of_everything_is_found() {
        let (fs, needed) = filled();
        let bodies = fs.list(&Path::new(DIR).join(BODIES)).unwrap();
        let names = fs.list(Path::new(DIR)).unwrap().into_iter().filter(|name| name != BODIES);
        let paths = names.chain(bodies.iter().map(|name| format!("{BODIES}/{name}")));
        for path in paths.map(|name| Path::new(DIR).join(name)) {
            let length = fs.open(&path).unwrap().length().unwrap() as usize;
            for bit in 0..length * 8 {
                fs.flip(&path, bit).unwrap();
                let found = match check(&fs, Path::new(DIR), Some(&needed)) {
                    // The very last batch may look torn instead.
                    Ok(audit) => !audit.is_whole() || audit.torn_bytes > 0,
                    Err(_) => true,
                };
                assert!(found, "{} bit {bit}", path.display());
                fs.flip(&path, bit).unwrap();
            }
        }
    }

    #[test]
    fn a_missing_body_and_one_too_many_are_told_apart() {
        let (fs, needed) = filled();
        let folder = Path::new(DIR).join(BODIES);
        let name = fs.list(&folder).unwrap().remove(0);
        fs.link(&folder.join(&name), &body_path(Path::new(DIR), 1, 99)).unwrap();
        fs.unlink(&folder.join(&name)).unwrap();
        let audit = check(&fs, Path::new(DIR), Some(&needed)).unwrap();
        assert_eq!((audit.damage.len(), audit.garbage.len()), (1, 1));
    }

    #[test]
    fn a_dump_tells_of_everything() {
        let mut out = Vec::new();
        dump(&filled().0, Path::new(DIR), None, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for word in ["segment 2", "seals 1", "batch 3", "body of 13 in m/", "snap."] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }

    #[test]
    fn nothing_is_whole() {
        assert!(check(&SimulatedFs::new(), Path::new(DIR), None).unwrap().is_whole());
    }
}
