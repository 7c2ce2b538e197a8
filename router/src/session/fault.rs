//! Why a login failed, and what each protocol says of it.
//!
//! An unknown account and a wrong password are one fault, so that no reply can tell them apart.

/// Why a login failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// Unknown account, wrong password, or somebody else's account: which, is not said.
    BadCredentials,
    /// The directory or the home cluster cannot be reached at the moment.
    Unavailable,
    /// The account is closed for the moment.
    Maintenance,
    /// The account may not be used.
    Disabled,
    /// The account's files are damaged, and wait for a person.
    Damaged,
    /// The account has too many connections.
    TooManyConnections,
    /// The client gave the login up.
    Abandoned,
    /// Our mistake.
    Internal,
}

impl Fault {
    /// Every fault, in the order of declaration.
    pub const ALL: [Self; 8] = [
        Self::BadCredentials,
        Self::Unavailable,
        Self::Maintenance,
        Self::Disabled,
        Self::Damaged,
        Self::TooManyConnections,
        Self::Abandoned,
        Self::Internal,
    ];

    /// Returns the label of logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadCredentials => "bad-credentials",
            Self::Unavailable => "unavailable",
            Self::Maintenance => "maintenance",
            Self::Disabled => "disabled",
            Self::Damaged => "damaged",
            Self::TooManyConnections => "too-many-connections",
            Self::Abandoned => "abandoned",
            Self::Internal => "internal",
        }
    }

    /// Returns what follows the tag in IMAP, by RFC 5530 §3.
    #[must_use]
    pub fn imap_reply(self) -> &'static str {
        match self {
            Self::BadCredentials => "NO [AUTHENTICATIONFAILED] authentication failed",
            Self::Unavailable => "NO [UNAVAILABLE] temporarily unavailable, try again",
            // The user cannot mend it, waiting can.
            Self::Maintenance => "NO [UNAVAILABLE] account under maintenance, try again later",
            Self::Disabled => "NO [CONTACTADMIN] account disabled",
            Self::Damaged => "NO [CONTACTADMIN] account damaged, its administrator has to look",
            Self::TooManyConnections => "NO [LIMIT] too many connections for this account",
            Self::Abandoned => "BAD authentication cancelled",
            Self::Internal => "NO [SERVERBUG] internal error",
        }
    }

    /// Returns the whole POP3 reply, with the codes of RFC 3206 §4 and RFC 2449 §8.1.
    #[must_use]
    pub fn pop3_reply(self) -> &'static str {
        match self {
            Self::BadCredentials => "-ERR [AUTH] authentication failed",
            Self::Unavailable => "-ERR [SYS/TEMP] temporarily unavailable, try again",
            Self::Maintenance => "-ERR [SYS/TEMP] account under maintenance, try again later",
            Self::Disabled => "-ERR [SYS/PERM] account disabled",
            Self::Damaged => "-ERR [SYS/PERM] account damaged, its administrator has to look",
            // Another session may end at any moment: `IN-USE` is what clients retry on (RFC 2449 §8.1.1).
            Self::TooManyConnections => "-ERR [IN-USE] too many connections for this account",
            Self::Abandoned => "-ERR authentication cancelled",
            Self::Internal => "-ERR [SYS/TEMP] internal error",
        }
    }

    /// Returns the whole reply of submission, with the codes of RFC 4954 §6 and RFC 5248.
    #[must_use]
    pub fn smtp_reply(self) -> &'static str {
        match self {
            Self::BadCredentials => "535 5.7.8 authentication failed",
            Self::Unavailable => "454 4.7.0 temporarily unavailable, try again",
            Self::Maintenance => "454 4.7.0 account under maintenance, try again later",
            Self::Disabled => "525 5.7.13 account disabled",
            Self::TooManyConnections => "454 4.7.0 too many connections for this account",
            Self::Abandoned => "501 5.0.0 authentication cancelled",
            Self::Internal => "454 4.3.0 internal error",
            Self::Damaged => "454 4.3.0 account damaged, its administrator has to look",
        }
    }

    /// Finds the fault behind a member's refusal of a submission.
    #[must_use]
    pub fn of_smtp_reply(reply: &str) -> Self {
        Self::ALL.into_iter().find(|fault| fault.smtp_reply() == reply).unwrap_or(Self::Unavailable)
    }

    /// Finds the fault behind a member's IMAP refusal: what follows the tag.
    #[must_use]
    pub fn of_imap_reply(reply: &str) -> Self {
        Self::of_reply(reply, Self::imap_reply)
    }

    /// Finds the fault behind a member's POP3 refusal.
    #[must_use]
    pub fn of_pop3_reply(reply: &str) -> Self {
        Self::of_reply(reply, Self::pop3_reply)
    }

    /// Finds the fault behind the IMAP refusal of a server of another kind: what follows the tag.
    #[must_use]
    pub fn of_foreign_imap(reply: &str) -> Self {
        match reply.strip_prefix("NO ").map(|text| code(text).unwrap_or_default()) {
            Some("[UNAVAILABLE]" | "[INUSE]" | "[SERVERBUG]" | "[PRIVACYREQUIRED]") => Self::Unavailable,
            Some("[LIMIT]") => Self::TooManyConnections,
            Some("[CONTACTADMIN]" | "[NOPERM]") => Self::Disabled,
            // Servers from before RFC 5530 say no to a wrong password without a code.
            Some(_) => Self::BadCredentials,
            // BAD: it has not understood the question.
            None => Self::Unavailable,
        }
    }

    /// Finds the fault behind the POP3 refusal of a server of another kind (RFC 2449 §8, RFC 3206).
    #[must_use]
    pub fn of_foreign_pop3(reply: &str) -> Self {
        match code(reply) {
            Some("[SYS/TEMP]" | "[LOGIN-DELAY]") => Self::Unavailable,
            Some("[IN-USE]") => Self::TooManyConnections,
            Some("[SYS/PERM]") => Self::Disabled,
            Some(_) | None => Self::BadCredentials,
        }
    }

    /// The very reply if a member of our kind wrote it, else the first fault with its response code.
    fn of_reply(reply: &str, table: fn(Self) -> &'static str) -> Self {
        let by_text = Self::ALL.into_iter().find(|fault| table(*fault) == reply);
        let by_code =
            || Self::ALL.into_iter().find(|fault| code(reply).is_some_and(|code| table(*fault).contains(code)));
        // A refusal without a code we know is no proof of a wrong password: better let the client try again.
        by_text.or_else(by_code).unwrap_or(Self::Unavailable)
    }
}

/// Returns the response code with its brackets.
fn code(reply: &str) -> Option<&str> {
    let start = reply.find('[')?;
    let end = reply.find(']')?;
    reply.get(start..=end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_understands_every_refusal_of_a_member() {
        for fault in Fault::ALL {
            assert_eq!(Fault::of_imap_reply(fault.imap_reply()), fault);
            assert_eq!(Fault::of_pop3_reply(fault.pop3_reply()), fault);
            assert_eq!(Fault::of_smtp_reply(fault.smtp_reply()), fault);
        }
    }

    #[test]
    fn a_wrong_password_elsewhere_is_a_wrong_password_here() {
        for reply in ["NO [AUTHENTICATIONFAILED] no", "NO Login failed.", "NO [ALERT] wrong", "NO [EXPIRED] old"] {
            assert_eq!(Fault::of_foreign_imap(reply), Fault::BadCredentials, "{reply}");
        }
        for reply in ["NO [UNAVAILABLE] later", "NO [SERVERBUG] oops", "BAD what?"] {
            assert_eq!(Fault::of_foreign_imap(reply), Fault::Unavailable, "{reply}");
        }
        assert_eq!(Fault::of_foreign_pop3("-ERR Authentication failed."), Fault::BadCredentials);
        assert_eq!(Fault::of_foreign_pop3("-ERR [SYS/TEMP] later"), Fault::Unavailable);
        assert_eq!(Fault::of_foreign_pop3("-ERR [IN-USE] locked"), Fault::TooManyConnections);
    }

    #[test]
    fn other_servers_are_understood_by_their_codes() {
        assert_eq!(Fault::of_imap_reply("NO [AUTHENTICATIONFAILED] no"), Fault::BadCredentials);
        assert_eq!(Fault::of_pop3_reply("-ERR [IN-USE] locked"), Fault::TooManyConnections);
        assert_eq!(Fault::of_imap_reply("NO try later"), Fault::Unavailable);
        assert_eq!(Fault::of_imap_reply("NO ] odd ["), Fault::Unavailable);
    }
}
