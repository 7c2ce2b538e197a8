//! Requests about mailboxes and their names.

use super::super::account::SpecialUse;
use super::super::name::MailboxName;
use super::{Refusal, Reply, Work};

pub(super) fn create(_: &mut Work<'_, '_>, _: &MailboxName, _: Option<SpecialUse>) -> Result<Reply, Refusal> {
    Err(Refusal::NoSuchMailbox)
}
pub(super) fn rename(_: &mut Work<'_, '_>, _: &MailboxName, _: &MailboxName) -> Result<Reply, Refusal> {
    Err(Refusal::NoSuchMailbox)
}
pub(super) fn delete(_: &mut Work<'_, '_>, _: &MailboxName) -> Result<Reply, Refusal> {
    Err(Refusal::NoSuchMailbox)
}
pub(super) fn subscribe(_: &mut Work<'_, '_>, _: MailboxName, _: bool) -> Result<Reply, Refusal> {
    Err(Refusal::NoSuchMailbox)
}
