//! What is said when something is not done: one table from refusals and faults to RFC 5530.

use crate::mailbox::{NameError, Refusal};
use crate::session::Fault;
use crate::wire::imap::read;
use crate::wire::imap::response::{Code, Condition};

/// The code and text for a refusal of the account.
pub fn refusal_code(refusal: Refusal) -> Option<Code> {
    let word = match refusal {
        Refusal::NoSuchMailbox => "NONEXISTENT",
        // RFC 3501 §7.1: creating the mailbox and trying again may succeed.
        Refusal::TryCreate => "TRYCREATE",
        Refusal::AlreadyExists => "ALREADYEXISTS",
        // RFC 9051 §7.1.
        Refusal::HasChildren => "HASCHILDREN",
        Refusal::CannotDeleteInbox | Refusal::BelowItself | Refusal::NameInvalid(_) => "CANNOT",
        // RFC 6154 §3.
        Refusal::UseTaken => "USEATTR",
        Refusal::OverQuota => "OVERQUOTA",
        Refusal::LimitReached(_) => "LIMIT",
    };
    Some(Code::Word(word))
}

/// The code for a name that no mailbox can have.
pub fn name_code(_error: NameError) -> Code {
    Code::Word("CANNOT")
}

/// The code for a fault.
///
/// `[UNAVAILABLE]` tells the client that trying again is right (RFC 5530 §3); whether on this
/// connection or on a new one, `NO` or `BYE` tells.
pub fn fault_code(fault: Fault) -> Code {
    Code::Word(match fault {
        Fault::Unavailable | Fault::Departed | Fault::ShuttingDown | Fault::Kicked => "UNAVAILABLE",
        Fault::ReadOnly => "CORRUPTION",
        Fault::Internal => "SERVERBUG",
    })
}

/// How a command that broke a limit is answered.
///
/// One that was well formed and merely too large gets `NO`, so that clients show it as a matter of
/// size (RFC 7889 §4, `TOOBIG` of RFC 4469 §4.2); the rest gets `BAD`.
pub fn limit_reply(why: read::Refusal) -> (Condition, Option<Code>) {
    match why {
        read::Refusal::MessageTooLarge => (Condition::No, Some(Code::Word("TOOBIG"))),
        read::Refusal::LiteralTooLarge | read::Refusal::TooManyLiterals => (Condition::Bad, Some(Code::Word("LIMIT"))),
        read::Refusal::LineTooLong | read::Refusal::BareLineFeed => (Condition::Bad, None),
    }
}
