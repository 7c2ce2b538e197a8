//! A batch while it is being built: the changes that will be written at once and synced at once.
//!
//! It is bound to the place in the log where it was begun, so that bodies have their addresses before anything is
//! written; the log accepts it there or not at all.

use super::blob::BodyRef;
use super::format::batch::{HEADER_BYTES, framed_bytes};
use super::format::checksum;
use super::format::record::{BodyFile, put_mark, put_moved, put_plain, put_with_body, put_with_body_file};
use super::log::Upkeep;

/// Where a batch will stand, and which names its body files will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub generation: u64,
    pub offset: u64,
    pub epoch: u128,
    pub next_file: u64,
    pub inline_bytes_max: usize,
}

/// Changes that are written and made durable together.
#[derive(Debug)]
pub struct Batch {
    pub(super) place: Place,
    /// Room for the header, then the records.
    pub(super) frame: Vec<u8>,
    pub(super) count: u32,
    pub(super) inline_bytes: u64,
    /// Bodies that get files of their own, by number.
    pub(super) files: Vec<(u64, Vec<u8>)>,
    pub(super) file_bytes: u64,
    /// Bodies of older segments that stand here from now on: where they were, and where they will be.
    pub(super) moves: Vec<(BodyRef, BodyRef)>,
    /// Whether a snapshot is to be taken of the place behind this batch.
    pub(super) has_mark: bool,
}

impl Batch {
    pub(super) fn begin(place: Place, mut frame: Vec<u8>) -> Self {
        frame.clear();
        frame.resize(HEADER_BYTES, 0);
        Self {
            place,
            frame,
            count: 0,
            inline_bytes: 0,
            files: Vec::new(),
            file_bytes: 0,
            moves: Vec::new(),
            has_mark: false,
        }
    }

    /// Adds a change, and the body it brings along. Returns where the body will be.
    pub fn push(&mut self, payload: &[u8], body: Option<&[u8]>) -> Option<BodyRef> {
        self.count += 1;
        let Some(body) = body else {
            put_plain(&mut self.frame, payload);
            return None;
        };
        if body.len() <= self.place.inline_bytes_max {
            let at = put_with_body(&mut self.frame, payload, body);
            self.inline_bytes += body.len() as u64;
            let (generation, offset) = (self.place.generation, self.place.offset + at as u64);
            return Some(BodyRef::Inline { generation, offset, length: body.len() as u32 });
        }
        let (epoch, number) = (self.place.epoch, self.place.next_file + self.files.len() as u64);
        let length = body.len() as u64;
        put_with_body_file(&mut self.frame, payload, &BodyFile { epoch, number, length, checksum: checksum(body, 0) });
        self.files.push((number, body.to_vec()));
        self.file_bytes += length;
        Some(BodyRef::File { epoch, number, length })
    }

    /// Adds a body that stands in an older segment, so that the older segment is needed no longer. A body that is not in
    /// a segment, or is in the one being written, stays where it is.
    pub fn push_moved(&mut self, from: BodyRef, body: &[u8]) {
        let BodyRef::Inline { generation: old, offset: was, length } = from else { return };
        if old >= self.place.generation || body.len() != length as usize {
            return;
        }
        self.count += 1;
        let at = put_moved(&mut self.frame, old, was, body);
        self.inline_bytes += u64::from(length);
        let (generation, offset) = (self.place.generation, self.place.offset + at as u64);
        self.moves.push((from, BodyRef::Inline { generation, offset, length }));
    }

    /// Adds the record that ends a piece of upkeep, and changes nothing.
    pub fn push_mark(&mut self, upkeep: &Upkeep) {
        self.count += 1;
        put_mark(&mut self.frame);
        self.has_mark |= upkeep.ends_with_snapshot;
    }

    /// The number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no change in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of bytes to be written, bodies included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        framed_bytes(self.records_bytes() as u64) + self.file_bytes
    }

    pub(super) fn records_bytes(&self) -> usize {
        self.frame.len() - HEADER_BYTES
    }
}
