//! One change within a batch, and the body it brings along.

use super::fields::{Fields, PutFields};
use super::{FormatError, checksum};

/// A body up to this length lies in the log; a longer one gets a file of its own.
pub const INLINE_BODY_BYTES_MAX: usize = 64 * 1024;

const PLAIN: u8 = 1;
const WITH_BODY: u8 = 2;
const WITH_BODY_FILE: u8 = 3;
const MOVED_BODY: u8 = 4;
const MARK: u8 = 5;
/// Where a moved body was: segment and offset.
const ORIGIN_BYTES: usize = 16;
/// What the record of a moved body takes beside the body.
pub const MOVED_HEAD_BYTES: u64 = 24 + ORIGIN_BYTES as u64;

/// A record as it stands in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// What it is for.
    pub purpose: Purpose,
    /// The bytes of the change; none in the store's own records.
    pub payload: &'a [u8],
    /// The body it brings along.
    pub body: RawBody<'a>,
}

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A change of the state.
    Change,
    /// The store's own: the body that was at another place of the log is here now.
    Moved {
        /// The segment it was in.
        generation: u64,
        /// Where in that segment.
        offset: u64,
    },
    /// The store's own: nothing changed; there is a place between two batches that a snapshot can describe.
    Mark,
}

/// Where a change has its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawBody<'a> {
    /// It brings none.
    Absent,
    /// Behind the change.
    Inline {
        /// Where it begins, counted from the first record of the batch.
        offset: usize,
        /// The body.
        bytes: &'a [u8],
        /// What its checksum should be; the batch has another, so only an audit compares it.
        checksum: u64,
    },
    /// In a file of its own.
    File(BodyFile),
}

/// A body that has a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyFile {
    /// The ownership that wrote the file.
    pub epoch: u128,
    /// Which file of that ownership.
    pub number: u64,
    /// How long it is.
    pub length: u64,
    /// The checksum of all its bytes.
    pub checksum: u64,
}

/// Adds a change without a body to the records of a batch.
pub fn put_plain(out: &mut Vec<u8>, payload: &[u8]) {
    put_head(out, PLAIN, payload);
    out.put(payload);
}

/// Adds a change with its body. Returns where in `out` the body begins.
pub fn put_with_body(out: &mut Vec<u8>, payload: &[u8], body: &[u8]) -> usize {
    put_inline(out, WITH_BODY, payload, body)
}

/// Adds a body that was at another place of the log. Returns where in `out` it begins.
pub fn put_moved(out: &mut Vec<u8>, generation: u64, offset: u64, body: &[u8]) -> usize {
    let mut origin = Vec::with_capacity(ORIGIN_BYTES);
    origin.put_u64(generation);
    origin.put_u64(offset);
    put_inline(out, MOVED_BODY, &origin, body)
}

/// Adds a record that changes nothing.
pub fn put_mark(out: &mut Vec<u8>) {
    put_head(out, MARK, &[]);
}

fn put_inline(out: &mut Vec<u8>, kind: u8, payload: &[u8], body: &[u8]) -> usize {
    assert!(body.len() <= INLINE_BODY_BYTES_MAX, "a body in the log is short");
    put_head(out, kind, payload);
    out.put_u32(body.len() as u32);
    out.put_u32(0);
    out.put_u64(checksum(body, 0));
    out.put(payload);
    let offset = out.len();
    out.put(body);
    offset
}

/// Adds a change that names the file of its body.
pub fn put_with_body_file(out: &mut Vec<u8>, payload: &[u8], file: &BodyFile) {
    put_head(out, WITH_BODY_FILE, payload);
    out.put_u64(file.number);
    out.put_u128(file.epoch);
    out.put_u64(file.length);
    out.put_u64(file.checksum);
    out.put(payload);
}

fn put_head(out: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    assert!(u32::try_from(payload.len()).is_ok(), "a change is shorter than 4 GiB");
    out.put(&[kind, 0, 0, 0]);
    out.put_u32(payload.len() as u32);
}

/// Reads the records of one batch in order.
pub struct Records<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// Reads these records.
    #[must_use]
    pub fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    fn read(&mut self) -> Result<RawRecord<'a>, FormatError> {
        let rest = self.all.get(self.at..).unwrap_or_default();
        let mut fields = Fields::new(rest);
        let kind = fields.u8()?;
        fields.zeros(3)?;
        let payload_length = fields.u32()? as usize;
        let mut used = 8 + payload_length;
        let purpose = Purpose::Change;
        let record = match kind {
            PLAIN => RawRecord { purpose, payload: fields.bytes(payload_length)?, body: RawBody::Absent },
            MARK if payload_length == 0 => RawRecord { purpose: Purpose::Mark, payload: &[], body: RawBody::Absent },
            WITH_BODY | MOVED_BODY => {
                let length = fields.u32()? as usize;
                fields.zeros(4)?;
                let checksum = fields.u64()?;
                let payload = fields.bytes(payload_length)?;
                used += 16;
                let body = RawBody::Inline { offset: self.at + used, bytes: fields.bytes(length)?, checksum };
                used += length;
                match kind {
                    MOVED_BODY => RawRecord { purpose: origin(payload)?, payload: &[], body },
                    _ => RawRecord { purpose, payload, body },
                }
            }
            WITH_BODY_FILE => {
                let (number, epoch) = (fields.u64()?, fields.u128()?);
                let file = BodyFile { epoch, number, length: fields.u64()?, checksum: fields.u64()? };
                used += 40;
                RawRecord { purpose, payload: fields.bytes(payload_length)?, body: RawBody::File(file) }
            }
            _ => return Err(FormatError::Damaged("unknown kind of record")),
        };
        self.at += used;
        Ok(record)
    }
}

fn origin(payload: &[u8]) -> Result<Purpose, FormatError> {
    let mut fields = Fields::new(payload);
    let moved = Purpose::Moved { generation: fields.u64()?, offset: fields.u64()? };
    if fields.is_empty() { Ok(moved) } else { Err(FormatError::Damaged("where a body was, and more")) }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RawRecord<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.all.len() {
            return None;
        }
        let record = self.read();
        if record.is_err() {
            self.at = self.all.len();
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: BodyFile = BodyFile { epoch: 3, number: 2, length: 1 << 40, checksum: 6 };

    fn five() -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        put_plain(&mut out, b"one");
        let offset = put_with_body(&mut out, b"two", b"body of two");
        put_with_body_file(&mut out, b"three", &FILE);
        put_moved(&mut out, 7, 4096, b"moved");
        put_mark(&mut out);
        (out, offset)
    }

    #[test]
    fn a_moved_body_takes_what_is_reckoned_for_it() {
        let mut out = Vec::new();
        put_moved(&mut out, 7, 4096, b"moved");
        assert_eq!(out.len() as u64, MOVED_HEAD_BYTES + 5);
    }

    #[test]
    fn records_are_read_back_and_bodies_are_where_they_were_said_to_be() {
        let (bytes, offset) = five();
        let records: Vec<_> = Records::new(&bytes).collect::<Result<_, _>>().unwrap();
        let purpose = Purpose::Change;
        assert_eq!(records[0], RawRecord { purpose, payload: b"one", body: RawBody::Absent });
        let inline = RawBody::Inline { offset, bytes: b"body of two", checksum: checksum(b"body of two", 0) };
        assert_eq!(records[1], RawRecord { purpose, payload: b"two", body: inline });
        assert_eq!(&bytes[offset..offset + 11], b"body of two");
        assert_eq!(records[2], RawRecord { purpose, payload: b"three", body: RawBody::File(FILE) });
        assert_eq!(records[3].purpose, Purpose::Moved { generation: 7, offset: 4096 });
        assert!(matches!(records[3].body, RawBody::Inline { bytes: b"moved", .. }));
        assert_eq!(records[4], RawRecord { purpose: Purpose::Mark, payload: b"", body: RawBody::Absent });
        assert_eq!(records.len(), 5);
    }

    #[test]
    fn records_cut_short_end_in_an_error_and_never_panic() {
        let (bytes, _) = five();
        for length in 0..bytes.len() {
            let whole = Records::new(&bytes[..length]).filter(Result::is_ok).count();
            assert!(whole < 5);
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Records::new(&bytes).count();
        }
    }
}
