//! I2: one epoch has one writer of one segment file. The simulated filesystem knows which process wrote into which file;
//! checked for all segments of an ownable whenever it is opened, and at the end of a run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::i07_sealed::header_of;
use crate::store::{Fs, SimulatedFs, format::layout::Name};

#[derive(Debug, Default)]
pub struct Writers {
    /// The process that writes under each epoch of an ownable, and where it was first seen to.
    of_epoch: BTreeMap<(PathBuf, u128), (usize, PathBuf)>,
    /// The epoch of each segment by who wrote it: a header never changes, so each is read once.
    epochs: BTreeMap<(PathBuf, usize), u128>,
}

impl Writers {
    /// Looks at the segments of an ownable.
    pub fn look(&mut self, fs: &SimulatedFs, dir: &Path) {
        let names = fs.list(dir).unwrap_or_default();
        let is_segment = |name: &Name| matches!(name, Name::Segment { .. });
        for name in names.iter().filter_map(|name| Name::parse(name)).filter(is_segment) {
            let path = name.within(dir);
            let writers = fs.writers(&path).unwrap_or_default();
            assert!(writers.len() <= 1, "one writer of one file: {} was written by {writers:?} (I2)", path.display());
            let Some(writer) = writers.first().copied() else { continue };
            let Some(epoch) = self.epoch(fs, &path, writer) else { continue };
            let found = || (writer, path.clone());
            let (known, first) = self.of_epoch.entry((dir.to_owned(), epoch)).or_insert_with(found);
            assert!(
                *known == writer,
                "one writer of one epoch: under {epoch:x} process {known} wrote {} and process {writer} {} (I2)",
                first.display(),
                path.display()
            );
        }
    }

    fn epoch(&mut self, fs: &SimulatedFs, path: &Path, writer: usize) -> Option<u128> {
        let key = (path.to_owned(), writer);
        if let Some(known) = self.epochs.get(&key) {
            return Some(*known);
        }
        let epoch = header_of(fs, path)?.epoch;
        self.epochs.insert(key, epoch);
        Some(epoch)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{FsFile as _, Log};

    const DIR: &str = "/a";

    fn segment(generation: u64) -> PathBuf {
        Name::Segment { generation }.within(Path::new(DIR))
    }

    /// A filesystem with a log that one process has written to.
    fn written() -> SimulatedFs {
        let fs = SimulatedFs::new();
        let (mut log, _) = Log::open(Arc::new(fs.again()), Path::new(DIR), 7).unwrap();
        let mut batch = log.batch();
        batch.push(b"record", None);
        let appended = log.write(batch).unwrap();
        drop(log.sync(appended).unwrap());
        fs
    }

    #[test]
    fn what_one_process_writes_is_in_order() {
        let mut writers = Writers::default();
        writers.look(&written(), Path::new(DIR));
        assert_eq!(writers.of_epoch.len(), 1);
    }

    #[test]
    #[should_panic(expected = "one writer of one file")]
    fn a_second_writer_of_a_file_is_noticed() {
        let fs = written();
        fs.again().open(&segment(1)).unwrap().write_at(b"x", 4000).unwrap();
        Writers::default().look(&fs, Path::new(DIR));
    }

    #[test]
    #[should_panic(expected = "one writer of one epoch")]
    fn a_second_writer_under_an_epoch_is_noticed() {
        let fs = written();
        let mut header = header_of(&fs, &segment(1)).unwrap();
        header.generation = 2;
        fs.again().create(&segment(2)).unwrap().write_at(&header.encode(), 0).unwrap();
        Writers::default().look(&fs, Path::new(DIR));
    }
}
