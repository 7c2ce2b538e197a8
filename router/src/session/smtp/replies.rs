//! What a session says of its own accord, with enhanced codes (RFC 3463, RFC 5248).

use std::borrow::Cow;

use super::{Dialect, Settings};
use crate::wire::smtp::{CommandFault, ContentFault, Reply};

pub(super) fn greeting(settings: &Settings) -> Reply {
    let protocol = match settings.dialect {
        Dialect::Smtp => "ESMTP",
        Dialect::Lmtp => "LMTP",
    };
    Reply::plain(220, vec![format!("{} {protocol} Laniakea ready", settings.host).into()])
}

pub(super) fn hello(settings: &Settings, tls: bool) -> Reply {
    let mut lines: Vec<Cow<'static, str>> = vec![settings.host.clone().into()];
    lines.extend(settings.capabilities(tls));
    Reply::plain(250, lines)
}

pub(super) fn command_fault(fault: CommandFault) -> Reply {
    match fault {
        CommandFault::Unknown => Reply::new(500, (5, 5, 1), "unknown command"),
        CommandFault::Syntax => Reply::new(501, (5, 5, 4), "syntax error"),
        CommandFault::Sender => Reply::new(501, (5, 1, 7), "bad sender address syntax"),
        CommandFault::Recipient => Reply::new(501, (5, 1, 3), "bad recipient address syntax"),
        // RFC 5321 §4.1.1.11.
        CommandFault::Parameter => Reply::new(555, (5, 5, 4), "parameter not recognised"),
        CommandFault::Value => Reply::new(501, (5, 5, 4), "bad parameter value"),
    }
}

pub(super) fn content_fault(fault: ContentFault) -> Reply {
    match fault {
        ContentFault::BareCr => Reply::new(554, (5, 6, 0), "bare CR in message"),
        ContentFault::BareLf => Reply::new(554, (5, 6, 0), "bare LF in message"),
        ContentFault::Nul => Reply::new(554, (5, 6, 0), "NUL in message"),
        ContentFault::LineTooLong => Reply::new(554, (5, 6, 0), "line too long in message"),
        ContentFault::TooLarge => too_large(),
    }
}

pub(super) fn too_large() -> Reply {
    Reply::new(552, (5, 3, 4), "message too large")
}

/// RFC 6409 §6.1.
pub(super) fn not_yours() -> Reply {
    Reply::new(553, (5, 7, 1), "not one of your addresses")
}

pub(super) fn out_of_order(text: &'static str) -> Reply {
    Reply::new(503, (5, 5, 1), text)
}

pub(super) fn not_offered() -> Reply {
    Reply::new(502, (5, 5, 1), "command not implemented")
}

pub(super) fn too_many_recipients() -> Reply {
    // RFC 5321 §4.5.3.1.10: 452, so that the client brings the others in another transaction.
    Reply::new(452, (4, 5, 3), "too many recipients")
}

/// RFC 6531 §3.5: an internationalised address without SMTPUTF8.
pub(super) fn utf8_unannounced() -> Reply {
    Reply::new(553, (5, 6, 7), "non-ASCII address without SMTPUTF8")
}

pub(super) fn hello_first(dialect: Dialect) -> Reply {
    match dialect {
        Dialect::Smtp => out_of_order("send EHLO first"),
        Dialect::Lmtp => out_of_order("send LHLO first"),
    }
}

pub(super) fn goodbye(host: &str) -> Reply {
    Reply::new(221, (2, 0, 0), format!("{host} closing connection"))
}

pub(super) fn closing(text: &'static str) -> Reply {
    Reply::new(421, (4, 7, 0), text)
}

pub(super) fn timed_out() -> Reply {
    Reply::new(421, (4, 4, 2), "timed out")
}

pub(super) fn shutting_down() -> Reply {
    Reply::new(421, (4, 3, 2), "shutting down")
}

/// The driver has no better answer: the message was not taken, and may come again.
pub(super) fn unavailable() -> Reply {
    Reply::new(451, (4, 3, 0), "temporarily unavailable")
}
