//! All there is in the world: the filesystem, the incarnations with what they remember, the links between them, and what
//! clients have been told.

use std::hash::{Hash, Hasher};

use crate::history::{Epoch, History, Ownable, Set, Who};
use crate::log::Log;

/// The most incarnations a world can have.
pub const MEMBERS_MAX: usize = 4;
/// The most ownables a world can have.
pub const OWNABLES_MAX: usize = 2;

/// Something for each incarnation.
pub type PerMember<T> = [T; MEMBERS_MAX];
/// Something for each ownable.
pub type PerOwnable<T> = [T; OWNABLES_MAX];

/// The world at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct State {
    /// The highest `cluster/term/<n>`; 0 before the first.
    pub term: u8,
    /// Whose `cluster/live/` directory exists.
    pub live: Set,
    /// The files of each ownable.
    pub logs: PerOwnable<Log>,
    /// The incarnations.
    pub members: PerMember<Member>,
    /// What clients know of each ownable.
    pub clients: PerOwnable<Clients>,
    /// A promise that was seen to be broken in the step to this state.
    pub broken: Option<Broken>,
}

/// Whoever has not appeared yet is like every other one.
impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.term, self.live, &self.logs, &self.clients, self.broken).hash(state);
        let appeared = self.members.iter().take_while(|member| member.life != Life::Ahead);
        appeared.for_each(|member| member.hash(state));
    }
}

/// What was told to people outside, and may never be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Clients {
    /// How many changes were ever handed in; they have the numbers from 1.
    pub tried: u8,
    /// The changes that were acknowledged.
    pub acknowledged: Set,
    /// The longest history that was shown to anybody.
    pub seen: History,
}

/// A promise broken by a step, rather than by a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// A reply did not contain what had been acknowledged before the request.
    StaleRead,
    /// A reply contradicted an earlier one.
    Contradiction,
    /// An opening found a file missing that it needed.
    FileGone,
    /// A living owner got a name that had been used before.
    NameReused,
}

/// One incarnation of a member: a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Member {
    /// How far it has come.
    pub life: Life,
    /// The highest term it has adopted (rule 2).
    pub adopted: u8,
    /// Its newest link to a controller.
    pub link: Link,
    /// What it knows as a controller, from the term it won last.
    pub desk: Option<Desk>,
    /// What it owns.
    pub owned: PerOwnable<Option<Owned>>,
}

/// How far an incarnation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Life {
    /// Not started.
    #[default]
    Ahead,
    /// It has a number and takes the steps of joining.
    Joining,
    /// It has read the highest term and may speak to controllers.
    Joined,
    /// Its host was lost with all that lay in caches.
    Lost,
}

/// A link from an incarnation to the controller of one term, and what is on its way there. What is said on it arrives in
/// order or not at all; a new link makes an end of the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Link {
    /// The term of the controller at the other end; 0 without a link.
    pub term: u8,
    /// Under way to the controller: the registration, all that is owned. Until it is heard nothing behind it is.
    pub registration: Option<PerOwnable<Option<Epoch>>>,
    /// Under way to the controller, behind the registration: what is given back.
    pub releases: PerOwnable<Option<Epoch>>,
    /// Under way to the member: grants.
    pub grants: PerOwnable<Option<Epoch>>,
    /// Grants of earlier links that are still somewhere in the network. Only mutants ever look at them.
    pub stray: PerOwnable<Option<Epoch>>,
}

/// A controller's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Desk {
    /// The term that was won; 0 while a mutant lists before it wins.
    pub term: u8,
    /// Whether the living have been listed.
    pub listed: bool,
    /// Who was listed and has neither registered nor been fenced (rule 3).
    pub awaited: Set,
    /// Who has registered.
    pub registered: Set,
    /// Who was fenced by this controller, or found fenced.
    pub fenced: Set,
    /// Who owns what.
    pub owners: PerOwnable<Option<Owner>>,
    /// How many grants were given in this term.
    pub granted: u8,
}

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Which incarnation.
    pub who: u8,
    /// Under which epoch.
    pub epoch: Epoch,
}

/// An ownership, as its owner knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owned {
    /// The fencing token.
    pub epoch: Epoch,
    /// How far the log is open.
    pub stage: Stage,
}

/// How far an owner has come with its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Nothing was looked at.
    Granted,
    /// The directory was listed: this is the newest segment.
    Listed {
        /// Its number; 0 for a new ownable.
        newest: u8,
    },
    /// The log was read, and a new segment has to be made before anything can be shown: the end was unclean.
    Read(Found),
    /// There may be a new segment, and there are sessions.
    Open(Open),
}

/// What an opening has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Found {
    /// The newest segment.
    pub newest: u8,
    /// Where that is to be sealed.
    pub seal: u8,
    /// Everything that counts, without what is carried over.
    pub state: History,
    /// The last batch, if it may not be on disk: it is written again into the next segment.
    pub carried: History,
    /// The snapshot it began with; 0 for none.
    pub snapshot: u8,
}

/// An open log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Open {
    /// The segment of its own; 0 before the first write after a clean end.
    pub segment: u8,
    /// What the opening found.
    pub found: Found,
    /// All changes, its own included: the account in memory.
    pub state: History,
    /// How many of them were known to be on disk by the last sync.
    pub synced: u8,
    /// How many of them the last successful tick covers; `None` before the first tick since the opening.
    pub ticked: Option<u8>,
    /// How many of them are validated and may be shown; `None` before the first tick since the opening.
    pub shown: Option<u8>,
    /// A client's request that waits for its reply.
    pub request: Option<Request>,
    /// Its newest snapshot; 0 for none.
    pub snapshot: u8,
    /// How many changes must be validated before what has become useless may be deleted.
    pub doomed: u8,
}

/// A read under way (rule 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// What had been acknowledged to anybody when the request came.
    pub acknowledged: Set,
    /// The history that was read for it.
    pub read: History,
    /// A tick begun after the read has succeeded.
    pub ticked: bool,
}

impl State {
    /// An ownership that is open, if it is.
    #[must_use]
    pub fn open(&self, who: Who, ownable: Ownable) -> Option<&Open> {
        match &self.members[who].owned[ownable] {
            Some(Owned { stage: Stage::Open(open), .. }) => Some(open),
            _ => None,
        }
    }

    /// An ownership that is known to be open, to be changed.
    pub fn open_mut(&mut self, who: Who, ownable: Ownable) -> Option<&mut Open> {
        match &mut self.members[who].owned[ownable] {
            Some(Owned { stage: Stage::Open(open), .. }) => Some(open),
            _ => None,
        }
    }

    /// Tells a client a history; what it learns may contradict what was told before.
    pub fn tell(&mut self, ownable: Ownable, told: History) {
        let seen = &mut self.clients[ownable].seen;
        if told.begins_with(*seen) {
            *seen = told;
        } else if !seen.begins_with(told) {
            self.broken = Some(Broken::Contradiction);
        }
    }
}
