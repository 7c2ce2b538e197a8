//! SMTP and LMTP as bytes: commands, replies and message content (RFC 5321, RFC 2033).
//!
//! Both sides of the protocol are here, because a router and a member speak it to clients and to one another. Nothing in
//! here knows which commands are allowed when: that is `session::smtp`. What a client wrote is parsed into values and
//! written anew from them; its text is never passed on.

mod command;
mod content;
mod parameter;
mod path;
mod reply;

pub use command::{Command, CommandFault, Mail, Rcpt, parse_command};
pub use content::{ContentFault, ContentReader, DotStuffer, Progress};
pub use parameter::{
    Body, MailParameters, Notify, OriginalRecipient, RcptParameters, Return, decode_xtext, encode_xtext,
};
pub use path::{ForwardPath, Mailbox, PathFault};
pub use reply::{Enhanced, REPLY_BYTES_MAX, Reply, ReplyFault, parse_reply};
