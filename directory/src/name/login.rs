//! Login names, as a client writes them and as a directory compares them.

use std::fmt;

use crate::error::NameError;

/// A login name is an address or shorter.
const LOGIN_BYTES_MAX: usize = 254;

/// What a client says it is when it logs in: an address, or whatever the directory calls people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoginName(Box<str>);

impl LoginName {
    /// Takes 1 to 254 bytes of UTF-8 without control characters.
    ///
    /// # Errors
    ///
    /// Says whether the name is empty, too long, or holds a character that cannot stand in a name.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, NameError> {
        let bytes = text.as_ref();
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > LOGIN_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NameError::Character)?;
        if text.chars().any(char::is_control) {
            return Err(NameError::Character);
        }
        Ok(Self(text.into()))
    }

    /// Returns the name as the client wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name in lower case: the same for names the directory holds equal.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
