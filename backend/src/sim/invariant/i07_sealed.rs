//! I7: no file changes below its sealed length, and no name is used twice. Checked for the segments that the newest one
//! names, whenever an ownable is looked at; names carry an epoch or a generation, and `link` and exclusive creation refuse
//! one that is taken, so a second use would be a file whose bytes have changed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::store::{
    Fs, FsFile, SimulatedFs,
    format::{layout::Name, segment::SegmentHeader},
};

#[derive(Debug, Default)]
pub struct Sealed(BTreeMap<(PathBuf, u64), u64>);

impl Sealed {
    /// Looks at the segments of an ownable.
    pub fn look(&mut self, fs: &SimulatedFs, dir: &Path) {
        let Ok(names) = fs.list(dir) else { return };
        let newest = names.iter().filter_map(|name| match Name::parse(name) {
            Some(Name::Segment { generation }) => Some(generation),
            _ => None,
        });
        let Some(newest) = newest.max() else { return };
        let Some(header) = header_of(fs, &Name::Segment { generation: newest }.within(dir)) else { return };
        for seal in header.seals {
            let path = Name::Segment { generation: seal.generation }.within(dir);
            let Some(bytes) = read(fs, &path) else { continue };
            let below = bytes.get(..usize::try_from(seal.length).unwrap_or(usize::MAX));
            let digest = below.map_or(0, xxhash_rust::xxh3::xxh3_64);
            let known = *self.0.entry((path.clone(), seal.length)).or_insert(digest);
            assert!(known == digest, "nothing changes below a seal: {} below {} (I7)", path.display(), seal.length);
        }
    }
}

/// The header of a segment, if it is whole.
pub(super) fn header_of(fs: &SimulatedFs, path: &Path) -> Option<SegmentHeader> {
    let bytes = read(fs, path)?;
    let length = SegmentHeader::peek_length(&bytes).ok()?;
    SegmentHeader::decode(bytes.get(..length)?).ok()
}

fn read(fs: &SimulatedFs, path: &Path) -> Option<Vec<u8>> {
    let file = fs.open(path).ok()?;
    let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
    file.read_exact_at(&mut bytes, 0).ok()?;
    Some(bytes)
}
