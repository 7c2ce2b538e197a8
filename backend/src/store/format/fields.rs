//! Fields of fixed width, little endian: taken from the front of a slice, put at the end of a buffer.

use super::{ALIGNMENT, FEATURE_LEVEL, FORMAT, FormatError};

/// Takes fields one after the other from bytes that may end too early.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(FormatError::Damaged("cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn u8(&mut self) -> Result<u8, FormatError> {
        self.array().map(u8::from_le_bytes)
    }

    pub fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn u128(&mut self) -> Result<u128, FormatError> {
        self.array().map(u128::from_le_bytes)
    }

    /// Takes bytes that are zero in this format, so that a later one may give them a meaning.
    pub fn zeros(&mut self, count: usize) -> Result<(), FormatError> {
        if self.bytes(count)?.iter().any(|byte| *byte != 0) {
            return Err(FormatError::Damaged("reserved bytes are set"));
        }
        Ok(())
    }

    /// Takes what every file begins with: magic, format, feature level. Returns the level.
    pub fn preamble(&mut self, magic: &[u8; 8]) -> Result<u16, FormatError> {
        if self.bytes(magic.len())? != magic {
            return Err(FormatError::Damaged("not a file of this kind"));
        }
        let (format, level) = (self.u16()?, self.u16()?);
        if format > FORMAT || level > FEATURE_LEVEL {
            return Err(FormatError::Newer(level.max(format)));
        }
        if format == 0 || level == 0 {
            return Err(FormatError::Damaged("no such format"));
        }
        Ok(level)
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(FormatError::Damaged("cut short"))?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// Puts fields at the end of a buffer.
pub trait PutFields {
    fn put(&mut self, bytes: &[u8]);

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn put_u128(&mut self, value: u128) {
        self.put(&value.to_le_bytes());
    }

    fn put_preamble(&mut self, magic: &[u8; 8], level: u16) {
        self.put(magic);
        self.put_u16(FORMAT);
        self.put_u16(level);
    }
}

impl PutFields for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Fills up with zeros to the next multiple of [`ALIGNMENT`].
pub fn pad(buffer: &mut Vec<u8>) {
    buffer.resize(buffer.len().next_multiple_of(ALIGNMENT), 0);
}
