//! The shared filesystem as the arbiter: what may be asked of it, as values, and the narrow trait behind which it stands.
//!
//! The machines only name calls ([`ArbiterCall`]) and read answers; a driver carries them out, on the real filesystem
//! (`drive/arbiter`) or on a simulated one (`store/fs`). Each call is safe to repeat. Only mutations are proofs: on real
//! shared filesystems a `stat` or the name of a tick may come from a cache. So what ticks say decides when to try something
//! and never whether it is allowed; and the two listings that do count (who lives, which term is the highest) are read
//! after a change to the very directory that is listed.

use std::{collections::BTreeSet, io, net::SocketAddr};

use laniakea_directory::MemberName;

use super::{Incarnation, Peer, Slots, TermRecord};

/// What a member that starts says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// Its name.
    pub member: MemberName,
    /// Where it speaks the cluster's protocol.
    pub control: SocketAddr,
    /// Where it takes connections from routers and fellow members.
    pub handoff: SocketAddr,
}

/// One incarnation's place among the living.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveEntry {
    /// Who it is and how to reach it.
    pub peer: Peer,
    /// Its tick: a counter that says that it runs and reaches the filesystem, and which fellows it sees. Nothing if it
    /// was just being renamed.
    pub tick: Option<TickName>,
}

/// The cluster's directory at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// The highest term, if there was any.
    pub term: Option<TermRecord>,
    /// Everybody who is listed among the living.
    pub live: Vec<LiveEntry>,
    /// Who was fenced a moment ago and may still hold a read lease.
    pub cooling: Vec<Incarnation>,
    /// Who is being drained, by the newest record.
    pub drained: BTreeSet<MemberName>,
}

/// A decision on who is being drained. The newest counts: the one of the highest term, and in that the highest number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainRecord {
    /// The controller's term.
    pub term: u64,
    /// Counts the decisions of that term.
    pub number: u64,
    /// Everybody who is being drained.
    pub drained: BTreeSet<MemberName>,
}

/// A call to the arbiter, as a machine asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArbiterCall {
    /// Take a slot and the next incarnation number.
    Enlist(Newcomer),
    /// Make the incarnation's live directory.
    Appear(Incarnation),
    /// Read everybody's tick, then the highest term.
    Survey,
    /// Try to become the controller of `term`.
    WinTerm {
        /// One above the highest term known.
        term: u64,
        /// The candidate.
        candidate: Incarnation,
    },
    /// Remove the live directory of `incarnation`, unless a term above `under` exists.
    Fence {
        /// Who shall never tick again.
        incarnation: Incarnation,
        /// The term of the controller that orders it.
        under: u64,
        /// It may hold a read lease: leave a mark for the next controller, should this one die before it is over.
        lease_left: bool,
    },
    /// Remove the mark of a fence: no lease can be left.
    Cooled(Incarnation),
    /// Write down who is being drained.
    RecordDrains(DrainRecord),
    /// Remove one's own live directory: a clean end.
    Depart(Incarnation),
}

/// The arbiter's answer.
#[derive(Debug)]
pub enum ArbiterAnswer {
    /// To [`ArbiterCall::Enlist`].
    Enlisted(Peer),
    /// To [`ArbiterCall::Appear`].
    Appeared,
    /// To [`ArbiterCall::Survey`].
    Surveyed(Survey),
    /// To [`ArbiterCall::WinTerm`]: the highest term there is now, the candidate's own if it won.
    Term(TermRecord),
    /// To [`ArbiterCall::Fence`].
    Fenced {
        /// Who was asked to be fenced.
        incarnation: Incarnation,
        /// How it went.
        outcome: FenceOutcome,
    },
    /// To [`ArbiterCall::Cooled`].
    Cooled,
    /// To [`ArbiterCall::RecordDrains`].
    DrainsRecorded {
        /// Of which term.
        term: u64,
        /// Which decision.
        number: u64,
        /// The record of a higher term, if there is one: then the decision may have come too late to count.
        superseded: Option<TermRecord>,
    },
    /// To [`ArbiterCall::Depart`].
    Departed,
    /// The filesystem failed; the call may or may not have had its effect.
    Failed {
        /// What was asked.
        call: ArbiterCall,
        /// What happened.
        error: io::Error,
    },
}

/// How a fence went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceOutcome {
    /// The live directory is gone: the incarnation can never tick again.
    Fenced,
    /// A higher term exists: the asker is no longer the controller, and nothing was done.
    Superseded(TermRecord),
}

/// Why a tick did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    /// The live directory is gone: this incarnation was fenced.
    #[error("the live directory is gone")]
    Fenced,
    /// The filesystem failed; nothing is proved either way, and the tick is to be repeated.
    #[error("rename the tick")]
    Io(#[from] io::Error),
}

/// The name an incarnation's entry has now, as far as its owner knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TickName {
    /// Counts ticks.
    pub counter: u64,
    /// What the entry said last.
    pub sees: Slots,
}

/// The arbiter: eight calls and the tick.
pub trait Arbiter: Send + Sync + 'static {
    /// Takes a slot and an incarnation number that was never used, and writes down how to reach it.
    fn enlist(&self, newcomer: &Newcomer) -> io::Result<Peer>;
    /// Makes the live directory with its first entry, [`TickName::default`].
    fn appear(&self, incarnation: &Incarnation) -> io::Result<()>;
    /// Reads the living, then the highest term. The names are as they are now, not as a cache remembers them; what the
    /// ticks say may be old.
    fn survey(&self) -> io::Result<Survey>;
    /// Creates the record of `term` if nobody has, and returns the highest record there is then.
    fn win_term(&self, term: u64, candidate: &Incarnation) -> io::Result<TermRecord>;
    /// Reads the highest term again and, unless it is above `under`, removes the live directory. Once this returns
    /// [`FenceOutcome::Fenced`], no tick of the incarnation can succeed any more. With `lease_left` a mark is made before,
    /// which surveys show until it is removed.
    fn fence(&self, incarnation: &Incarnation, under: u64, lease_left: bool) -> io::Result<FenceOutcome>;
    /// Removes the mark of a fence.
    fn cooled(&self, incarnation: &Incarnation) -> io::Result<()>;
    /// Writes down who is being drained, then reads the highest term again. If that is above the record's, its controller
    /// may not have seen the record, and it is returned.
    fn record_drains(&self, record: &DrainRecord) -> io::Result<Option<TermRecord>>;
    /// Removes the caller's own live directory.
    fn depart(&self, incarnation: &Incarnation) -> io::Result<()>;
    /// Renames the caller's entry. Success proves that the incarnation was not fenced when the call began.
    ///
    /// # Errors
    /// [`TickError::Fenced`] only when two renames in a row found nothing (a file server that restarts may report the
    /// first one's success as an error).
    fn tick(&self, incarnation: &Incarnation, name: &mut TickName, sees: Slots) -> Result<(), TickError>;
}

/// Carries out one call.
pub fn perform(arbiter: &dyn Arbiter, call: ArbiterCall) -> ArbiterAnswer {
    let answer = match &call {
        ArbiterCall::Enlist(newcomer) => arbiter.enlist(newcomer).map(ArbiterAnswer::Enlisted),
        ArbiterCall::Appear(incarnation) => arbiter.appear(incarnation).map(|()| ArbiterAnswer::Appeared),
        ArbiterCall::Survey => arbiter.survey().map(ArbiterAnswer::Surveyed),
        ArbiterCall::WinTerm { term, candidate } => arbiter.win_term(*term, candidate).map(ArbiterAnswer::Term),
        ArbiterCall::Fence { incarnation, under, lease_left } => arbiter
            .fence(incarnation, *under, *lease_left)
            .map(|outcome| ArbiterAnswer::Fenced { incarnation: incarnation.clone(), outcome }),
        ArbiterCall::Cooled(incarnation) => arbiter.cooled(incarnation).map(|()| ArbiterAnswer::Cooled),
        ArbiterCall::RecordDrains(record) => arbiter
            .record_drains(record)
            .map(|superseded| ArbiterAnswer::DrainsRecorded { term: record.term, number: record.number, superseded }),
        ArbiterCall::Depart(incarnation) => arbiter.depart(incarnation).map(|()| ArbiterAnswer::Departed),
    };
    answer.unwrap_or_else(|error| ArbiterAnswer::Failed { call, error })
}
