//! The answer "another member has this account", as a response code.

use std::{fmt, net::SocketAddr, str::FromStr};

use super::SealedTicket;

/// Where the owner is, and the ticket that spares the client a second login there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The owner's handoff address.
    pub owner: SocketAddr,
    /// To be shown to the owner.
    pub ticket: SealedTicket,
}

/// The text is not `MOVED address ticket`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a MOVED response code")]
pub struct MovedError;

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MOVED {} {}", self.owner, self.ticket)
    }
}

impl FromStr for Moved {
    type Err = MovedError;

    /// Reads what stands between the brackets.
    fn from_str(text: &str) -> Result<Self, MovedError> {
        let rest = text.strip_prefix("MOVED ").ok_or(MovedError)?;
        let (owner, ticket) = rest.split_once(' ').ok_or(MovedError)?;
        let owner = owner.parse().map_err(|_| MovedError)?;
        let ticket = SealedTicket::from_base64(ticket).ok_or(MovedError)?;
        Ok(Self { owner, ticket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_survives_text() {
        let ticket = SealedTicket::from_bytes(&[1, 2, 3, 255]).unwrap();
        for owner in ["192.0.2.7:7143", "[2001:db8::7]:7143"] {
            let moved = Moved { owner: owner.parse().unwrap(), ticket: ticket.clone() };
            assert_eq!(moved.to_string().parse(), Ok(moved));
        }
    }

    #[test]
    fn anything_else_is_not_moved() {
        for text in ["", "MOVED", "MOVED x", "MOVED 192.0.2.7:1", "MOVED 192.0.2.7:1 !", "moved 192.0.2.7:1 AQ"] {
            assert_eq!(text.parse::<Moved>(), Err(MovedError), "{text}");
        }
    }
}
