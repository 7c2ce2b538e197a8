//! A batch while it is being built: the changes that will be written at once and synced at once.
//!
//! It is bound to the place in the log where it was begun, so that bodies have their addresses before anything is
//! written; the log accepts it there or not at all.

use super::blob::BodyRef;
use super::format::batch::{HEADER_BYTES, framed_bytes};
use super::format::checksum;
use super::format::record::{BodyFile, put_plain, put_with_body, put_with_body_file};

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
    file_bytes: u64,
}

impl Batch {
    pub(super) fn begin(place: Place, mut frame: Vec<u8>) -> Self {
        frame.clear();
        frame.resize(HEADER_BYTES, 0);
        Self { place, frame, count: 0, inline_bytes: 0, files: Vec::new(), file_bytes: 0 }
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
