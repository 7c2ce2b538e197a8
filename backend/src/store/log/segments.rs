//! How a log goes on in a new segment, and what it does when somebody else has the name.

use std::io;
use std::sync::Arc;

use super::{Current, Log};
use crate::sabotage::{self, Sabotage};
use crate::store::WriteError;
use crate::store::files::{Published, make_dir, publish, read_segment_header};
use crate::store::format::Position;
use crate::store::format::batch::{self as frame, BatchHeader, HEADER_BYTES};
use crate::store::format::layout::Name;
use crate::store::format::segment::{Seal, SegmentHeader};
use crate::store::fs::Fs;
use crate::store::recover::{Carry, Own, inline_bytes};

/// Why a new segment did not come to be.
pub(super) enum LinkError {
    Stale,
    /// A writer with a lower epoch has the name.
    Overtaken,
    Io(io::Error),
}

impl From<LinkError> for WriteError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Stale => Self::Stale,
            LinkError::Overtaken => Self::Io(io::Error::other("a writer of old times took the next segment")),
            LinkError::Io(error) => Self::from(error),
        }
    }
}

impl<F: Fs> Log<F> {
    /// The header of the segment that continues this log.
    pub(super) fn next_header(&self) -> SegmentHeader {
        let needed = self.oldest_needed();
        let mut seals = self.older.clone();
        if self.end.generation > 0 {
            seals.push(Seal::from(self.end));
        }
        seals.retain(|seal| self.is_needed(seal, needed));
        SegmentHeader {
            level: self.limits.level,
            epoch: self.epoch,
            generation: self.end.generation + 1,
            nonce: self.fs.nonce(),
            first_seq: self.end.seq + 1,
            chain: self.end.chain,
            acked: self.acked,
            snapshot: self.snapshots.first().map(|(name, _)| *name),
            seals,
            identity: self.fs.identity().to_owned(),
        }
    }

    /// Makes the next segment, with the batch that is to be carried over already inside.
    pub(super) fn link_segment(&mut self, carry: Option<&Carry>) -> Result<(), LinkError> {
        let header = self.prepared.take().unwrap_or_else(|| self.next_header());
        assert!(
            header.generation == self.end.generation + 1 && header.chain == self.end.chain,
            "segments are in order"
        );
        let (name, nonce) = (Name::Segment { generation: header.generation }, header.nonce);
        if header.generation == 1 {
            make_dir(&*self.fs, &self.dir).map_err(LinkError::Io)?;
        }
        if self.name_in_doubt && !sabotage::on(Sabotage::SkipOldNameSync) {
            // The new header says that the old segment is there; so it has to stay.
            self.fs.sync_dir(&self.dir).map_err(LinkError::Io)?;
        }
        let header_bytes = header.encode();
        let mut end =
            Position { generation: header.generation, offset: header_bytes.len() as u64, body_bytes: 0, ..self.end };
        let mut carried = Vec::new();
        if let Some(carry) = carry {
            carried.resize(HEADER_BYTES, 0);
            carried.extend_from_slice(&carry.records);
            let batch = BatchHeader { offset: end.offset, ..self.batch_header(carry.records.len(), carry.count) };
            end.chain = frame::seal(&mut carried, &batch, nonce);
            end.seq = batch.seq;
            end.offset += carried.len() as u64;
            end.body_bytes = inline_bytes(&carry.records);
        }
        self.attempted = Some(Own { nonce, synced: end.offset });
        let temporary = Name::Temporary { epoch: self.epoch, nonce };
        let published = publish(&*self.fs, &self.dir, temporary, name, &[&header_bytes, &carried]);
        let file = match published {
            Ok(Published::Done(file)) => file,
            Ok(Published::Taken) => self.look_at_rival(name, nonce)?,
            Err(error) => return Err(LinkError::Io(error)),
        };
        let file = Arc::new(file);
        self.forget_unneeded(&header);
        self.reader.remember_segment(header.generation, Arc::clone(&file));
        self.older = header.seals;
        self.end = end;
        self.name_in_doubt = false;
        self.current = Some(Current { file, nonce, synced: end.offset, length: end.offset });
        Ok(())
    }

    /// Somebody's file has the name: tells whose it is.
    fn look_at_rival(&self, name: Name, nonce: u64) -> Result<F::File, LinkError> {
        let file = self.fs.open(&name.within(&self.dir)).map_err(LinkError::Io)?;
        match read_segment_header(&file) {
            // The link was made and its answer was lost. This handle cannot write: let the log be opened again.
            Ok((header, _)) if header.nonce == nonce => Err(LinkError::Io(io::Error::other("the answer was lost"))),
            Ok((header, _)) if header.epoch < self.epoch || sabotage::on(Sabotage::IgnoreEpochs) => {
                Err(LinkError::Overtaken)
            }
            Ok(_) => Err(LinkError::Stale),
            Err(error) => Err(LinkError::Io(io::Error::other(error))),
        }
    }

    /// Dooms the segments that the new header does not name any more, and forgets what was discarded in them.
    fn forget_unneeded(&mut self, header: &SegmentHeader) {
        let sealed: Vec<u64> = header.seals.iter().map(|seal| seal.generation).collect();
        let gone = self
            .older
            .iter()
            .map(|seal| seal.generation)
            .chain((self.end.generation > 0).then_some(self.end.generation));
        for generation in gone.filter(|generation| !sealed.contains(generation)) {
            self.discards.remove(&generation);
            self.doomed.push((header.first_seq, Name::Segment { generation }));
        }
    }
}
