//! `GETQUOTA` and `GETQUOTAROOT` (RFC 9208): how much may be kept, and how much is.
//!
//! An account has one limit for all of its mailboxes, hence one quota root, whose name is empty; or
//! none, hence no root. Limits are the directory's to set: there is no SETQUOTA.

use bytes::Bytes;

use super::ImapSession;
use super::finish::Done;
use crate::mailbox::{Account, Refusal};
use crate::wire::imap::command::WireName;
use crate::wire::imap::response::Code;
use crate::wire::imap::response::text::{mailbox, print};

/// RFC 9208 §5.1: STORAGE is counted in units of 1,024 octets.
const UNIT_BYTES: u64 = 1024;

impl ImapSession {
    /// Tells the limits under a root.
    pub(super) fn quota(&mut self, tag: &str, root: &Bytes) {
        if !root.is_empty() || self.account.quota.is_none() {
            return self.finish(tag, Done::no(Some(Code::Word("NONEXISTENT")), "no such quota root"));
        }
        write_quota(self.out.text(), &self.account);
        self.finish(tag, Done::ok("GETQUOTA completed"));
    }

    /// Tells which roots a mailbox falls under, and their limits.
    pub(super) fn quota_root(&mut self, tag: &str, name: &WireName) {
        let Some(name) = self.name(tag, name) else {
            return;
        };
        if self.account.mailbox(&name).is_none() {
            return self.refuse(tag, Refusal::NoSuchMailbox);
        }
        let root: &[u8] = if self.account.quota.is_some() { b" \"\"" } else { b"" };
        let out = self.out.text();
        out.extend_from_slice(b"* QUOTAROOT ");
        mailbox(out, &name);
        out.extend_from_slice(root);
        out.extend_from_slice(b"\r\n");
        write_quota(out, &self.account);
        self.finish(tag, Done::ok("GETQUOTAROOT completed"));
    }
}

/// Writes `* QUOTA "" (STORAGE used limit)`, if there is a limit.
fn write_quota(out: &mut Vec<u8>, account: &Account) {
    if let Some(limit) = account.quota {
        let used = account.usage().bytes.div_ceil(UNIT_BYTES);
        print(out, format_args!("* QUOTA \"\" (STORAGE {used} {})\r\n", limit / UNIT_BYTES));
    }
}
