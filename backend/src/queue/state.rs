//! One shard of the queue: its entries, and which are due when.

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::{
    change::{ChangeError, QueueChange, Settled},
    entry::{Entry, EntryId, Pending},
    schedule::is_due,
};
use crate::store::BodyRef;

/// The format of a snapshot; its first byte.
const VERSION: u8 = 1;

/// One shard. Copies share what they have in common.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Queue {
    entries: OrdMap<EntryId, Arc<Entry>>,
    /// When each entry is due first.
    agenda: OrdSet<(u64, EntryId)>,
    next: u64,
    /// How many bytes the messages have.
    content_bytes: u64,
}

/// A shard as bytes.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    entries: Vec<Entry>,
    next: u64,
}

impl Queue {
    /// Messages in here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The name the next message gets.
    #[must_use]
    pub fn next_id(&self) -> EntryId {
        EntryId(self.next)
    }

    /// One message.
    #[must_use]
    pub fn entry(&self, id: EntryId) -> Option<&Arc<Entry>> {
        self.entries.get(&id)
    }

    /// All messages, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// Messages that are due, the longest overdue first, and at last those that a clock now set back has put off too far.
    pub fn due(&self, now_ms: u64) -> impl Iterator<Item = &Arc<Entry>> {
        self.due_since(0, now_ms)
    }

    /// The same without those that were due before `since_ms`.
    pub fn due_since(&self, since_ms: u64, now_ms: u64) -> impl Iterator<Item = &Arc<Entry>> {
        let is_overdue = move |(due_ms, _): &&(u64, EntryId)| *due_ms <= now_ms;
        let is_far = move |(due_ms, _): &&(u64, EntryId)| *due_ms > now_ms && is_due(*due_ms, now_ms);
        let overdue = self.agenda.range((since_ms, EntryId(0))..).take_while(is_overdue);
        let agenda = overdue.chain(self.agenda.iter().rev().take_while(is_far));
        agenda.filter_map(|(_, id)| self.entries.get(id))
    }

    /// Messages that are due at `until_ms` at the latest, the longest overdue first.
    pub fn overdue(&self, until_ms: u64) -> impl Iterator<Item = &Arc<Entry>> {
        let agenda = self.agenda.iter().take_while(move |(due_ms, _)| *due_ms <= until_ms);
        agenda.filter_map(|(_, id)| self.entries.get(id))
    }

    /// When the first message is due that `skip` does not name.
    #[must_use]
    pub fn next_due_ms(&self, skip: impl Fn(EntryId) -> bool) -> Option<u64> {
        self.agenda.iter().find(|(_, id)| !skip(*id)).map(|(due_ms, _)| *due_ms)
    }

    /// The contents of all messages.
    pub fn bodies(&self) -> impl Iterator<Item = BodyRef> + '_ {
        self.entries.values().map(|entry| entry.body)
    }

    /// How many bytes the contents have.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Applies a change: the only way the queue changes, when it happens and when it is read back.
    ///
    /// # Errors
    /// See [`ChangeError`]; the queue is then as it was.
    pub fn apply(&mut self, change: &QueueChange, body: Option<BodyRef>) -> Result<(), ChangeError> {
        match change {
            QueueChange::Accepted { id, entry } => {
                if *id != self.next_id() {
                    return Err(ChangeError::OutOfOrder);
                }
                let body = body.ok_or(ChangeError::NoBody)?;
                self.next += 1;
                self.put(Entry::accepted(*id, entry.clone(), body));
                Ok(())
            }
            QueueChange::Attempted { id, results } => {
                let mut entry = self.copy_of(*id)?;
                for (place, settled) in results {
                    settle(&mut entry, *place, settled)?;
                }
                self.put(entry);
                Ok(())
            }
            QueueChange::Hurried { id, now_ms } => {
                let mut entry = self.copy_of(*id)?;
                entry.pending.iter_mut().for_each(|pending| pending.next_ms = *now_ms);
                self.put(entry);
                Ok(())
            }
            QueueChange::Dropped { id } => {
                let mut entry = self.copy_of(*id)?;
                entry.pending.clear();
                self.put(entry);
                Ok(())
            }
        }
    }

    /// The shard as bytes; `place` tells where each content is.
    #[must_use]
    pub fn encode_snapshot(&self, place: &dyn Fn(BodyRef) -> BodyRef) -> Vec<u8> {
        let entries = self.entries().map(|entry| Entry { body: place(entry.body), ..Entry::clone(entry) }).collect();
        postcard::to_extend(&Snapshot { entries, next: self.next }, vec![VERSION]).unwrap_or_default()
    }

    /// The inverse of [`Queue::encode_snapshot`].
    ///
    /// # Errors
    /// [`ChangeError::Unknown`] or [`ChangeError::OutOfOrder`].
    pub fn decode_snapshot(bytes: &[u8]) -> Result<Self, ChangeError> {
        let Some((&VERSION, rest)) = bytes.split_first() else { return Err(ChangeError::Unknown) };
        let snapshot: Snapshot = postcard::from_bytes(rest).map_err(|_| ChangeError::Unknown)?;
        let mut queue = Self { next: snapshot.next, ..Self::default() };
        for entry in snapshot.entries {
            if entry.id.0 >= snapshot.next {
                return Err(ChangeError::OutOfOrder);
            }
            queue.put(entry);
        }
        Ok(queue)
    }

    fn copy_of(&self, id: EntryId) -> Result<Entry, ChangeError> {
        self.entries.get(&id).map(|entry| Entry::clone(entry)).ok_or(ChangeError::Missing)
    }

    /// Replaces an entry; one without recipients leaves.
    fn put(&mut self, entry: Entry) {
        if let Some(old) = self.entries.get(&entry.id) {
            self.content_bytes -= old.body.len();
            if let Some(due_ms) = old.due_ms() {
                self.agenda.remove(&(due_ms, entry.id));
            }
        }
        match entry.due_ms() {
            Some(due_ms) => {
                self.agenda.insert((due_ms, entry.id));
                self.content_bytes += entry.body.len();
                self.entries.insert(entry.id, Arc::new(entry));
            }
            None => {
                self.entries.remove(&entry.id);
            }
        }
    }
}

fn settle(entry: &mut Entry, place: u32, settled: &Settled) -> Result<(), ChangeError> {
    let at = entry.pending.iter().position(|pending| pending.place == place).ok_or(ChangeError::Missing)?;
    match settled {
        Settled::Delivered | Settled::Failed => {
            entry.pending.remove(at);
        }
        Settled::Deferred { next_ms, reply } => {
            if let Some(pending) = entry.pending.get_mut(at) {
                defer(pending, *next_ms, reply);
            }
        }
    }
    Ok(())
}

fn defer(pending: &mut Pending, next_ms: u64, reply: &str) {
    pending.attempts += 1;
    pending.next_ms = next_ms;
    pending.last = Some(reply.to_owned());
}
