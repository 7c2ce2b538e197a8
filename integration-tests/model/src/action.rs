//! All that can happen, each action with the place where its rule stands.

use crate::history::{Change, Ownable, Who};
use crate::state::{Life, State};
use crate::world::World;

/// One step of the world. `who` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Joining, rule 2: takes a number and makes its live directory.
    Appear(Who),
    /// Joining, rule 2: reads the highest term.
    ReadTerm(Who),
    /// "Term": links the next `cluster/term/<n>`.
    Win(Who),
    /// Rule 3: lists `cluster/live/`.
    ListLiving(Who),
    /// Rule 4: removes a live directory.
    Fence(Who, Who),
    /// Rules 2 and 3: dials the controller and registers.
    Register(Who, Who),
    /// Rules 3 and 4: the controller hears a registration.
    HearRegistration(Who, Who),
    /// Rule 4: the controller hears a release.
    HearRelease(Who, Who, Ownable),
    /// Rule 1: the controller answers a claim with a grant.
    Grant(Who, Who, Ownable),
    /// Rule 2: the member takes a grant.
    Accept(Who, Ownable),
    /// Rule 4: the member gives back, all done.
    Release(Who, Ownable),
    /// Opening 1: lists the directory of the log.
    List(Who, Ownable),
    /// Opening 2 to 6: reads the log.
    Read(Who, Ownable),
    /// Opening, and the first write after a clean end: makes the next segment.
    Link(Who, Ownable),
    /// Writes a batch into its segment.
    Write(Who, Ownable, Change),
    /// The writer's kernel sends what is in its cache to the file server.
    WriteBack(Ownable, u8),
    /// The host of a segment's writer is lost, and the file server loses what was not synced.
    Lose(Ownable, u8),
    /// Syncs its segment.
    Sync(Who, Ownable),
    /// Rule 5: renames its tick, and learns that this has succeeded.
    Tick(Who),
    /// Rule 5: acknowledges and publishes what a tick has covered.
    Answer(Who, Ownable),
    /// A client asks to read, and its request is carried out.
    Ask(Who, Ownable),
    /// Rule 6: replies.
    Reply(Who, Ownable),
    /// "Snapshot": writes one.
    Snapshot(Who, Ownable),
    /// Goes on in a new segment, behind a snapshot.
    Rotate(Who, Ownable),
    /// "Deleting": removes a segment.
    DeleteSegment(Who, Ownable, u8),
    /// "Deleting": removes a snapshot.
    DeleteSnapshot(Who, Ownable, u8),
}

impl World {
    /// What might happen next; some of it will turn out to be impossible.
    pub(crate) fn propose(&self, state: &State, actions: &mut Vec<Action>) {
        for who in 0..usize::from(self.size.members) {
            match state.members[who].life {
                Life::Ahead => {
                    actions.push(Action::Appear(who));
                    // Incarnations differ in nothing before they appear, so they may as well do that in order.
                    break;
                }
                Life::Joining => actions.extend([Action::ReadTerm(who)]),
                Life::Joined => self.propose_joined(state, who, actions),
                Life::Lost => {}
            }
        }
        for ownable in 0..usize::from(self.size.ownables) {
            for generation in 1..=state.logs[ownable].newest() {
                actions.extend([Action::WriteBack(ownable, generation), Action::Lose(ownable, generation)]);
            }
        }
    }

    fn propose_joined(&self, state: &State, who: Who, actions: &mut Vec<Action>) {
        actions.extend([Action::Win(who), Action::ListLiving(who), Action::Tick(who)]);
        let others = 0..usize::from(self.size.members);
        for other in others.filter(|other| state.members[*other].life != Life::Ahead) {
            actions.extend([
                Action::Fence(who, other),
                Action::Register(who, other),
                Action::HearRegistration(who, other),
            ]);
            for ownable in 0..usize::from(self.size.ownables) {
                actions.extend([Action::HearRelease(who, other, ownable), Action::Grant(who, other, ownable)]);
            }
        }
        for ownable in 0..usize::from(self.size.ownables) {
            actions.push(Action::Accept(who, ownable));
            if state.members[who].owned[ownable].is_some() {
                self.propose_owner(state, who, ownable, actions);
            }
        }
    }

    fn propose_owner(&self, state: &State, who: Who, ownable: Ownable, actions: &mut Vec<Action>) {
        let place = (who, ownable);
        let plain = [
            Action::Release,
            Action::List,
            Action::Read,
            Action::Link,
            Action::Sync,
            Action::Answer,
            Action::Ask,
            Action::Reply,
            Action::Snapshot,
            Action::Rotate,
        ];
        actions.extend(plain.map(|action| action(place.0, place.1)));
        let tried = (state.clients[ownable].tried + 1).min(self.size.changes);
        actions.extend((1..=tried).map(|change| Action::Write(who, ownable, change)));
        let log = &state.logs[ownable];
        if self.size.snapshots > 0 {
            actions.extend((1..=log.newest()).map(|generation| Action::DeleteSegment(who, ownable, generation)));
            actions
                .extend((1..=log.snapshots().len() as u8).map(|number| Action::DeleteSnapshot(who, ownable, number)));
        }
    }

    /// The world after an action; `None` if it is not possible.
    pub(crate) fn carry_out(&self, state: &State, action: Action) -> Option<State> {
        match action {
            Action::Appear(who) => self.appear(state, who),
            Action::ReadTerm(who) => self.read_term(state, who),
            Action::Win(who) => self.win(state, who),
            Action::ListLiving(who) => self.list_living(state, who),
            Action::Fence(who, whom) => self.fence(state, who, whom),
            Action::Register(who, controller) => self.register(state, who, controller),
            Action::HearRegistration(who, from) => self.hear_registration(state, who, from),
            Action::HearRelease(who, from, ownable) => self.hear_release(state, who, from, ownable),
            Action::Grant(who, to, ownable) => self.grant(state, who, to, ownable),
            Action::Accept(who, ownable) => self.accept(state, who, ownable),
            Action::Release(who, ownable) => self.release(state, who, ownable),
            Action::List(who, ownable) => self.list(state, who, ownable),
            Action::Read(who, ownable) => self.read(state, who, ownable),
            Action::Link(who, ownable) => self.link(state, who, ownable),
            Action::Write(who, ownable, change) => self.write(state, who, ownable, change),
            Action::WriteBack(ownable, generation) => self.write_back(state, ownable, generation),
            Action::Lose(ownable, generation) => self.lose(state, ownable, generation),
            Action::Sync(who, ownable) => self.sync(state, who, ownable),
            Action::Tick(who) => self.tick(state, who),
            Action::Answer(who, ownable) => self.answer(state, who, ownable),
            Action::Ask(who, ownable) => self.ask(state, who, ownable),
            Action::Reply(who, ownable) => self.reply(state, who, ownable),
            Action::Snapshot(who, ownable) => self.snapshot(state, who, ownable),
            Action::Rotate(who, ownable) => self.rotate(state, who, ownable),
            Action::DeleteSegment(who, ownable, generation) => self.delete_segment(state, who, ownable, generation),
            Action::DeleteSnapshot(who, ownable, number) => self.delete_snapshot(state, who, ownable, number),
        }
    }
}
