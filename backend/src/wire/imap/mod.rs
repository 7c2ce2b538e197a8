//! IMAP4rev1 (RFC 3501) and the extensions we advertise, as syntax.
//!
//! A [`Reader`](read::Reader) cuts the client's bytes into whole commands, literals included; a
//! [`Cursor`](cursor::Cursor) walks over one of them; [`command::parse`] makes a
//! [`Command`](command::Command) of it. [`response`] writes what goes back.
//!
//! What a name means, whether a mailbox exists, what a flag does: none of that is known here.

pub mod command;
pub mod cursor;
pub mod read;
pub mod response;
pub mod sequence;

/// Reads and parses whatever the bytes hold. For fuzzing: no input may make it panic.
pub fn fuzz_commands(bytes: &[u8]) {
    let mut reader = read::Reader::new(1 << 20, bytes.to_vec());
    while let Some(event) = reader.command() {
        match event {
            read::Event::Command(raw) => drop(command::parse(&raw)),
            read::Event::Continue | read::Event::Refused { .. } => {}
            read::Event::Fatal(_) => return,
        }
    }
}
