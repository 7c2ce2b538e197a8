//! How a connection is handed over: from a router to a member, and from a member to the owner.
//!
//! A handed-over connection begins with a [`Preamble`], a PROXY protocol v2 header with a few values of our own; then
//! comes the native protocol. A member that does not own the account answers [`Moved`], and the owner believes the
//! [`Ticket`] in it, so that nobody has to prove the password twice.
//!
//! **Architecture invariant:** pure. Bytes to values and back; whose preamble is believed is decided in `drive`.
#![doc = include_str!("FORMAT.md")]

mod cookie;
mod moved;
mod preamble;
mod protocol;
mod ticket;

pub use cookie::CookieKey;
pub use moved::{Moved, MovedError};
pub use preamble::{PREAMBLE_BYTES_MAX, Preamble, PreambleError, TlsFacts, hops_of_header};
pub use protocol::{Protocol, SessionId};
pub use ticket::{SealedTicket, TICKET_LIFETIME, Ticket, TicketError, TicketKey};
