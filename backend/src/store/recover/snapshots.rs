//! Which snapshot recovery begins with.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::{OpenError, OpenSegment, refuse};
use crate::store::files::{ReadError, read_snapshot_header, read_to};
use crate::store::format::layout::Name;
use crate::store::format::segment::SegmentHeader;
use crate::store::format::snapshot::{HEADER_BYTES, SnapshotHeader, decode_discards};
use crate::store::format::{FormatError, Position, checksum};
use crate::store::fs::{Fs, FsFile};

/// The snapshot that recovery begins with, if any.
#[derive(Default)]
pub(super) struct Chosen {
    pub header: Option<SnapshotHeader>,
    pub state: Option<Vec<u8>>,
    pub discards: BTreeMap<u64, u64>,
    pub kept: Vec<(Name, Option<Position>)>,
    pub damaged: u32,
}

/// How many snapshots an ownable keeps: the newest, and one to fall back to.
pub const SNAPSHOTS_KEPT: usize = 2;

pub(super) fn choose_snapshot<F: Fs>(
    fs: &F,
    dir: &Path,
    epoch: u128,
    names: &[Name],
    newest: &OpenSegment<F::File>,
) -> Result<Chosen, OpenError> {
    let mut candidates: Vec<Name> =
        names.iter().filter(|name| matches!(name, Name::Snapshot { .. })).copied().collect();
    candidates.sort_unstable_by(|a, b| b.cmp(a));
    let mut chosen = Chosen::default();
    for name in candidates {
        if matches!(name, Name::Snapshot { epoch: writer, .. } if writer > epoch) {
            return Err(OpenError::Stale);
        }
        if chosen.header.is_some() {
            if chosen.kept.len() < SNAPSHOTS_KEPT {
                let trim = newest.header.seals.len() >= SEALS_WORTH_TRIMMING;
                let position = if trim { position_of(fs, dir, name, &newest.header) } else { None };
                chosen.kept.push((name, position));
            }
            continue;
        }
        match read_snapshot(fs, dir, name) {
            Ok((header, state, discards)) if is_in_chain(&header.position, &newest.header) => {
                chosen.kept.push((name, Some(header.position)));
                (chosen.header, chosen.state, chosen.discards) = (Some(header), Some(state), discards);
            }
            // Written by somebody who was not the owner any more.
            Ok(_) => {}
            Err(ReadError::Format(FormatError::Damaged(_))) => chosen.damaged += 1,
            Err(error) => return Err(refuse(error, name, 0)),
        }
    }
    Ok(chosen)
}

/// From this many old segments on, recovery finds out which of them could be left out.
const SEALS_WORTH_TRIMMING: usize = 8;

/// The place that the snapshot to fall back to describes, if it can be told. The rest of it is read when it is needed.
fn position_of<F: Fs>(fs: &F, dir: &Path, name: Name, newest: &SegmentHeader) -> Option<Position> {
    let header = read_snapshot_header(&fs.open(&name.within(dir)).ok()?).ok()?;
    let named = Name::Snapshot { seq: header.position.seq, epoch: header.epoch };
    (named == name && is_in_chain(&header.position, newest)).then_some(header.position)
}

/// Whether a snapshot describes a place that every later owner has accepted.
pub fn is_in_chain(position: &Position, newest: &SegmentHeader) -> bool {
    if position.generation == newest.generation {
        return true;
    }
    let seal = newest.seals.iter().find(|seal| seal.generation == position.generation);
    seal.is_some_and(|seal| {
        position.offset < seal.length || (position.offset == seal.length && position.chain == seal.chain)
    })
}

type Snapshot = (SnapshotHeader, Vec<u8>, BTreeMap<u64, u64>);

/// Reads and checks a whole snapshot.
pub fn read_snapshot<F: Fs>(fs: &F, dir: &Path, name: Name) -> Result<Snapshot, ReadError> {
    let file = fs.open(&name.within(dir))?;
    let header = read_snapshot_header(&file)?;
    if name != (Name::Snapshot { seq: header.position.seq, epoch: header.epoch }) {
        return Err(FormatError::Damaged("the snapshot bears another's name").into());
    }
    let length = file.length()?;
    let (Some(expected), Some(tables)) = (header.file_bytes(), header.discards_offset()) else {
        return Err(FormatError::Damaged("impossible lengths in a snapshot").into());
    };
    if length != expected {
        return Err(FormatError::Damaged("a snapshot without its end").into());
    }
    let state_length =
        usize::try_from(header.state_length).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut state = vec![0; state_length];
    file.read_exact_at(&mut state, HEADER_BYTES as u64)?;
    let state_end = HEADER_BYTES as u64 + header.state_length;
    let rest = read_to(&file, state_end, Some(length))?;
    let (padding, rest) = rest.split_at_checked((tables - state_end) as usize).unwrap_or_default();
    let (discards, footer) = rest.split_at_checked(header.discards_length as usize).unwrap_or_default();
    if padding.iter().any(|byte| *byte != 0) || footer != header.footer() {
        return Err(FormatError::Damaged("a snapshot without its end").into());
    }
    if checksum(&state, 0) != header.state_checksum || checksum(discards, 0) != header.discards_checksum {
        return Err(FormatError::Damaged("checksum of a snapshot").into());
    }
    let discards = decode_discards(discards)?.into_iter().collect();
    Ok((header, state, discards))
}
