//! A member's seat in its cluster: everything one process decides, put together.
//!
//! The seat composes the machines beside it (member, controller, election) with what it knows of its fellows, and is
//! itself one: events in, commands out. The driver (`drive/control`) and the simulator (`sim`) run this very code. How
//! liveness becomes action is in `review`, how links become sessions in `links`, how a process gets a seat in `join`.

mod join;
mod links;
mod review;

use std::collections::{BTreeMap, BTreeSet};

use laniakea_config::ClusterTiming;
use laniakea_directory::MemberName;

use super::{
    ArbiterAnswer, ArbiterCall, Claim, ClusterView, Contact, Controller, ControllerCommand, ControllerEvent,
    DrainOrder, DrainRecord, Election, Epoch, FenceOutcome, Gone, Incarnation, Member, MemberCommand, MemberEvent,
    Message, Moment, Offence, OwnableId, Peer, Refusal, Registering, Slots, Survey, TermRecord,
};

use crate::sabotage::{self, Sabotage};

pub use join::{JoinStep, Joining};
pub use links::{LinkId, Side};

/// What happens to a seat.
#[derive(Debug)]
pub enum Event {
    /// Tasks of this process want ownables.
    Claims(Vec<(u64, OwnableId)>),
    /// A task does not want one any more.
    Abandon {
        /// The claim.
        request: u64,
        /// What it wanted.
        ownable: OwnableId,
    },
    /// Workers of this process give back.
    Releases(Vec<(OwnableId, Epoch)>),
    /// Somebody in this process asks who owns what.
    ListOwners {
        /// Repeated in the answer.
        request: u64,
    },
    /// Somebody in this process asks to drain a member, or to end that.
    Drain {
        /// Repeated in the answer.
        request: u64,
        /// Whom.
        member: MemberName,
        /// Begin or end.
        on: bool,
    },
    /// The process is about to end: nothing more is wanted, and what is owned will be given back.
    Retire,
    /// The process ends.
    Leave,
    /// A link is up and both ends have proved who they are.
    LinkUp {
        /// The link.
        link: LinkId,
        /// Who dialled.
        side: Side,
        /// The other end.
        peer: Peer,
    },
    /// A link ended.
    LinkDown(LinkId),
    /// A message came in; `now` is when.
    Received {
        /// On this link.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// An attempt to reach a fellow failed.
    DialFailed {
        /// Whom we wanted to reach.
        incarnation: Incarnation,
        /// Nobody listens there.
        refused: bool,
    },
    /// The arbiter answered.
    Arbiter {
        /// When the call began.
        began: Moment,
        /// The answer.
        answer: ArbiterAnswer,
    },
    /// A deadline has come.
    Timer,
}

/// What a seat wants done.
#[derive(Debug)]
pub enum Command {
    /// Ask the arbiter.
    Ask(ArbiterCall),
    /// Reach for a fellow.
    Dial(Peer),
    /// Send on a link.
    Send {
        /// The link.
        link: LinkId,
        /// The message.
        message: Message,
    },
    /// End a link; no event follows.
    HangUp(LinkId),
    /// Answer a claim of this process.
    Answer {
        /// The claim.
        request: u64,
        /// The decision.
        outcome: Result<Claim, Refusal>,
    },
    /// A part of the answer to [`Event::ListOwners`].
    Owners {
        /// The question.
        request: u64,
        /// Some of what is owned.
        owned: Vec<(OwnableId, MemberName, Epoch)>,
        /// Whether this is the last part.
        last: bool,
    },
    /// The answer to [`Event::Drain`]: who is being drained, as recorded.
    Drained {
        /// The question.
        request: u64,
        /// Everybody.
        drained: BTreeSet<MemberName>,
    },
    /// Ask a worker of this process to drain and release.
    Recall(OwnableId),
    /// Say in the next tick, which is to come soon, who answers us.
    Publish(Slots),
    /// Reads may be answered without a tick until then.
    Lease(Option<Moment>),
    /// The picture of the cluster has changed.
    View(ClusterView),
    /// The live directory is gone and the fellows know: the process may end.
    Departed,
    /// Something worth telling happened.
    Notice(Notice),
}

/// What is worth telling of the cluster's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A higher term was adopted.
    Adopted(TermRecord),
    /// This member won a term and gathers the others.
    Won(u64),
    /// This member is the controller and grants.
    Granting {
        /// Its term.
        term: u64,
        /// How many ownables the members registered.
        owned: usize,
    },
    /// This member is not the controller any more.
    Deposed(u64),
    /// The controller decided to fence a member that may be alive.
    Condemned {
        /// Whom.
        incarnation: Incarnation,
        /// Why.
        offence: Offence,
    },
    /// The controller has a member fenced.
    Fencing(Incarnation),
    /// The arbiter has fenced a member.
    Fenced(Incarnation),
    /// A fellow is certainly gone.
    Lost {
        /// Who.
        incarnation: Incarnation,
        /// How that is known.
        how: Gone,
    },
    /// This process stood still, and excuses everybody's silence.
    Stalled(std::time::Duration),
    /// The arbiter failed at a call; it is tried again.
    ArbiterFailed(String),
}

/// One process's seat, taken with [`Joining`].
#[derive(Debug)]
pub struct Seat {
    me: Peer,
    timing: ClusterTiming,
    member: Member,
    controller: Option<Controller>,
    election: Election,
    contacts: BTreeMap<Incarnation, Contact>,
    links: BTreeMap<LinkId, (Incarnation, Side)>,
    /// Who is known to be fenced; of each member the latest few.
    buried: BTreeSet<Incarnation>,
    /// Fences the arbiter has not answered yet, and whether a lease may be left after them.
    fencing: BTreeMap<Incarnation, bool>,
    /// Who was fenced by an earlier controller, and until when a lease may be left.
    inherited: BTreeMap<Incarnation, Moment>,
    /// Who is registered, as the controller said in its answer to the ping sent then.
    registered: Option<(Moment, Slots)>,
    watch: Watch,
    shown: Shown,
    leaving: bool,
    /// This member was the controller and is to be fenced itself.
    resigned: bool,
    commands: Vec<Command>,
}

/// The seat's appointments, and when it last did what.
#[derive(Debug)]
struct Watch {
    stepped: Moment,
    ping_due: Moment,
    /// When the adopted term was learnt.
    adopted: Moment,
    /// When all that is owned was told last.
    registered: Moment,
    /// When this member won its term.
    won: Moment,
    /// When the last successful tick of our own began.
    ticked: Moment,
    /// When a fellow was last given up: a lease that needs its answers no more needs a tick begun since.
    gave_up: Moment,
    /// The newest evidence that calls for a look at the directory.
    evidence: Moment,
    /// A survey is under way since then; with the term this seat was controller of.
    looking: Option<(Moment, Option<u64>)>,
    /// When the newest answered survey was asked for.
    looked: Option<Moment>,
    look_due: Moment,
}

/// What the rest of the process was told last.
#[derive(Debug, Default)]
struct Shown {
    sees: Slots,
    lease: Option<Moment>,
    view: Option<ClusterView>,
}

impl Seat {
    /// Takes the seat of an incarnation that has appeared and looked around since.
    fn new(now: Moment, me: Peer, timing: ClusterTiming) -> Self {
        Self {
            member: Member::new(me.clone()),
            me,
            timing,
            controller: None,
            election: Election::default(),
            contacts: BTreeMap::new(),
            links: BTreeMap::new(),
            buried: BTreeSet::new(),
            fencing: BTreeMap::new(),
            inherited: BTreeMap::new(),
            registered: None,
            watch: Watch {
                stepped: now,
                ping_due: now,
                adopted: now,
                registered: now,
                won: now,
                ticked: now,
                gave_up: now,
                evidence: now,
                looking: None,
                looked: None,
                look_due: now,
            },
            shown: Shown::default(),
            leaving: false,
            resigned: false,
            commands: Vec::new(),
        }
    }

    /// Who sits here.
    #[must_use]
    pub const fn me(&self) -> &Peer {
        &self.me
    }

    /// What this member owns, in order.
    #[must_use]
    pub const fn member(&self) -> &Member {
        &self.member
    }

    /// The controller, if this seat holds it.
    #[must_use]
    pub const fn controller(&self) -> Option<&Controller> {
        self.controller.as_ref()
    }

    /// A tick of our own that began at `began` has succeeded.
    pub fn ticked(&mut self, began: Moment) {
        self.watch.ticked = self.watch.ticked.max(began);
    }

    /// Takes one step.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Command> {
        self.notice_stall(now);
        let is_business = matches!(
            &event,
            Event::Claims(_)
                | Event::Abandon { .. }
                | Event::Releases(_)
                | Event::Received {
                    message: Message::Claims { .. } | Message::Answers { .. } | Message::Releases { .. },
                    ..
                }
        );
        self.on_event(now, event);
        // Business says nothing about who is alive that the next ping does not say too.
        if !is_business {
            self.review(now);
        }
        std::mem::take(&mut self.commands)
    }

    fn on_event(&mut self, now: Moment, event: Event) {
        match event {
            Event::Claims(claims) => self.run_member(now, MemberEvent::Claims(claims)),
            Event::Abandon { request, ownable } => self.run_member(now, MemberEvent::Abandon { request, ownable }),
            Event::Releases(released) => self.run_member(now, MemberEvent::Releases(released)),
            Event::ListOwners { request } => self.tell_controller(now, Message::ListOwners { request }),
            Event::Drain { request, member, on } => {
                let term = self.term();
                self.tell_controller(now, Message::Drain { term, request, member, on });
            }
            Event::Retire => self.run_member(now, MemberEvent::Retire),
            Event::Leave => self.leave(now),
            Event::LinkUp { link, side, peer } => self.on_link_up(now, link, side, peer),
            Event::LinkDown(link) => self.on_link_down(now, link),
            Event::Received { link, message } => self.on_received(now, link, message),
            Event::DialFailed { incarnation, refused } => self.on_dial_failed(now, &incarnation, refused),
            Event::Arbiter { began, answer } => self.on_arbiter(now, began, answer),
            Event::Timer => {}
        }
    }

    /// Lets the member machine take a step, and whatever follows from it.
    fn run_member(&mut self, now: Moment, event: MemberEvent) {
        for command in self.member.step(event) {
            match command {
                MemberCommand::Tell(message) => self.tell_controller(now, message),
                MemberCommand::Answer { request, outcome } => self.commands.push(Command::Answer { request, outcome }),
                MemberCommand::Recall(ownable) => self.commands.push(Command::Recall(ownable)),
            }
        }
    }

    /// Lets the controller take a step, if it sits here.
    fn run_controller(&mut self, now: Moment, event: ControllerEvent) {
        let Some(controller) = &mut self.controller else { return };
        let term = controller.term();
        for command in controller.step(now, event) {
            match command {
                ControllerCommand::Tell { to, message } => self.tell_member(now, &to, message),
                ControllerCommand::Condemn { incarnation, offence } => self.condemn(now, &incarnation, offence),
                ControllerCommand::Record(record) => self.ask(ArbiterCall::RecordDrains(record)),
                ControllerCommand::Gathered => {
                    let owned = self.controller.as_ref().map_or(0, Controller::owned_count);
                    self.notice(Notice::Granting { term, owned });
                }
            }
        }
    }

    /// The controller of the adopted term may be this very seat.
    fn tell_controller(&mut self, now: Moment, message: Message) {
        if self.controller.is_some() {
            let me = self.me.clone();
            self.on_request(now, &me, message);
        } else if let Some(link) = self.controller_link() {
            self.send(link, message);
        }
    }

    fn tell_member(&mut self, now: Moment, to: &Incarnation, message: Message) {
        if *to == self.me.incarnation {
            match message {
                Message::Drained { request, drained } => self.commands.push(Command::Drained { request, drained }),
                message => self.run_member(now, MemberEvent::Heard(message)),
            }
        } else if let Some(link) = self.contacts.get(to).and_then(|contact| contact.accepted) {
            self.send(link, message);
        }
    }

    /// A member, perhaps this one, speaks to the controller, if that sits here.
    fn on_request(&mut self, now: Moment, from: &Peer, message: Message) {
        let Some(term) = self.controller.as_ref().map(Controller::term) else { return };
        let incarnation = from.incarnation.clone();
        let event = match message {
            Message::Register(part) => {
                let from = Registering { incarnation, slot: from.slot, handoff: from.handoff };
                ControllerEvent::Register { from, part }
            }
            Message::Claims { term: of, wanted } if of == term => ControllerEvent::Claims { from: incarnation, wanted },
            Message::Releases { term: of, released } if of == term => {
                ControllerEvent::Releases { from: incarnation, released }
            }
            Message::Leaving { term: of } if of == term => ControllerEvent::Leaving(incarnation),
            Message::Drain { term: of, request, member, on } if of == term => {
                ControllerEvent::Drain(DrainOrder { from: incarnation, request, member, on })
            }
            Message::ListOwners { request } => return self.list_owners(&incarnation, request),
            // Of another term, or nothing that is asked of a controller.
            _ => return,
        };
        self.run_controller(now, event);
    }

    fn list_owners(&mut self, asker: &Incarnation, request: u64) {
        let Some(controller) = &self.controller else { return };
        let mut owned = controller.owners();
        loop {
            let rest = owned.split_off(owned.len().min(super::BATCH_MAX));
            let last = rest.is_empty();
            if *asker == self.me.incarnation {
                self.commands.push(Command::Owners { request, owned, last });
            } else if let Some(link) = self.contacts.get(asker).and_then(|contact| contact.accepted) {
                self.send(link, Message::Owners { request, owned, last });
            }
            if last {
                return;
            }
            owned = rest;
        }
    }

    /// Adopts a term that is higher than the one known, whoever tells of it.
    fn adopt(&mut self, now: Moment, record: &TermRecord) {
        let is_deaf = self.controller.is_some() && sabotage::on(Sabotage::IgnoreDeposal);
        if self.term() >= record.term || is_deaf {
            return;
        }
        self.end_term();
        self.run_member(now, MemberEvent::Term(record.clone()));
        self.resigned = false;
        self.registered = None;
        self.watch.adopted = now;
        self.look_at_once(now);
        self.notice(Notice::Adopted(record.clone()));
        for contact in self.contacts.values_mut() {
            contact.condemned = None;
            contact.doubt_told = false;
        }
        if record.controller == self.me.incarnation {
            self.take_office(now, record);
        } else if self.controller_link().is_some() {
            self.register(now);
        }
    }

    /// If the controller sits here, it is one no more.
    fn end_term(&mut self) {
        if let Some(controller) = self.controller.take() {
            self.fencing.clear();
            self.inherited.clear();
            self.notice(Notice::Deposed(controller.term()));
        }
    }

    /// This seat holds the record of the highest term: it is the controller, even if it learns that late.
    fn take_office(&mut self, now: Moment, record: &TermRecord) {
        if self.leaving {
            return;
        }
        self.controller = Some(Controller::new(record.term, self.timing));
        self.watch.won = now;
        self.notice(Notice::Won(record.term));
        let news = Message::News(record.clone());
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.send(link, news.clone());
        }
        self.register(now);
    }

    fn on_arbiter(&mut self, now: Moment, began: Moment, answer: ArbiterAnswer) {
        match answer {
            ArbiterAnswer::Surveyed(survey) => self.on_survey(now, began, survey),
            ArbiterAnswer::Term(record) => {
                self.election.decided();
                self.adopt(now, &record);
            }
            ArbiterAnswer::Fenced { incarnation, outcome } => {
                // Whoever asked in an earlier term cannot know any more what is left.
                let lease_left = self.fencing.remove(&incarnation).unwrap_or(true);
                match outcome {
                    FenceOutcome::Fenced => self.on_fenced(now, &incarnation, lease_left),
                    FenceOutcome::Superseded(record) => self.adopt(now, &record),
                }
            }
            ArbiterAnswer::DrainsRecorded { term, number, superseded } => match superseded {
                None => self.run_controller(now, ControllerEvent::Recorded { term, number: Some(number) }),
                Some(record) => self.adopt(now, &record),
            },
            ArbiterAnswer::Departed => self.on_departed(),
            ArbiterAnswer::Failed { call, error } => self.on_arbiter_failed(now, &call, &error),
            // Only a process that joins asks for the first two; the last needs nothing more.
            ArbiterAnswer::Enlisted(_) | ArbiterAnswer::Appeared | ArbiterAnswer::Cooled => {}
        }
    }

    fn on_arbiter_failed(&mut self, now: Moment, call: &ArbiterCall, error: &std::io::Error) {
        self.notice(Notice::ArbiterFailed(format!("{call:?}: {error}")));
        match call {
            ArbiterCall::Survey => {
                self.watch.looking = None;
                self.watch.look_due = now + self.timing.ping;
            }
            ArbiterCall::WinTerm { .. } => self.election.decided(),
            ArbiterCall::Fence { incarnation, .. } => {
                self.fencing.remove(incarnation);
            }
            ArbiterCall::RecordDrains(DrainRecord { term, .. }) => {
                self.run_controller(now, ControllerEvent::Recorded { term: *term, number: None });
            }
            ArbiterCall::Depart(_) => self.on_departed(),
            // A mark that stays costs the next controller a moment.
            ArbiterCall::Enlist(_) | ArbiterCall::Appear(_) | ArbiterCall::Cooled(_) => {}
        }
    }

    /// Gives everything back and removes the live directory: from then on this member cannot promise anything.
    fn leave(&mut self, now: Moment) {
        if std::mem::replace(&mut self.leaving, true) {
            return;
        }
        self.run_member(now, MemberEvent::Leave);
        self.controller = None;
        self.ask(ArbiterCall::Depart(self.me.incarnation.clone()));
    }

    fn on_departed(&mut self) {
        for (link, (_, side)) in std::mem::take(&mut self.links) {
            if side == Side::Dialled {
                self.send(link, Message::Left);
            }
        }
        self.commands.push(Command::Departed);
    }

    /// The adopted term's controller, as a contact.
    fn controller_contact(&self) -> Option<&Contact> {
        self.contacts.get(&self.member.adopted()?.controller)
    }

    fn controller_link(&self) -> Option<LinkId> {
        self.controller_contact()?.dialled
    }

    /// The highest term adopted; 0 before the first.
    fn term(&self) -> u64 {
        self.member.adopted().map_or(0, |record| record.term)
    }

    fn ask(&mut self, call: ArbiterCall) {
        self.commands.push(Command::Ask(call));
    }

    fn send(&mut self, link: LinkId, message: Message) {
        self.commands.push(Command::Send { link, message });
    }

    fn notice(&mut self, notice: Notice) {
        self.commands.push(Command::Notice(notice));
    }
}
