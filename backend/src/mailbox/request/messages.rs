//! Requests about messages.

use super::super::flags::FlagChange;
use super::super::message::NewMessage;
use super::super::name::MailboxName;
use super::super::uid::{DeliveryId, MailboxId, ModSeq};
use super::super::uid_set::UidSet;
use super::{Refusal, Reply, Work};

pub(super) fn append(_: &mut Work<'_, '_>, _: &MailboxName, _: Vec<NewMessage>) -> Result<Reply, Refusal> {
    Err(Refusal::NoSuchMailbox)
}
pub(super) fn deliver(
    _: &mut Work<'_, '_>,
    _: Option<DeliveryId>,
    _: &MailboxName,
    _: NewMessage,
) -> Result<Reply, Refusal> {
    Err(Refusal::NoSuchMailbox)
}
pub(super) fn store(
    _: &mut Work<'_, '_>,
    _: MailboxId,
    _: &UidSet,
    _: FlagChange,
    _: Option<ModSeq>,
) -> Result<Reply, Refusal> {
    Err(Refusal::NoSuchMailbox)
}
pub(super) fn expunge(_: &mut Work<'_, '_>, _: MailboxId, _: &UidSet, _: bool) -> Result<Reply, Refusal> {
    Err(Refusal::NoSuchMailbox)
}
pub(super) fn copy(
    _: &mut Work<'_, '_>,
    _: MailboxId,
    _: &UidSet,
    _: &MailboxName,
    _: bool,
) -> Result<Reply, Refusal> {
    Err(Refusal::NoSuchMailbox)
}
pub(super) fn take_recent(_: &mut Work<'_, '_>, _: MailboxId) -> Result<Reply, Refusal> {
    Err(Refusal::NoSuchMailbox)
}
