//! Rules 1 to 4: who may grant what to whom. Nothing of this is on disk but terms and live directories.

use crate::history::{Epoch, Ownable, Set, Who};
use crate::log::End;
use crate::mutant::Mutant;
use crate::state::{Desk, Life, Link, Open, Owned, Owner, Stage, State};
use crate::world::World;

impl World {
    /// Rule 2: the live directory comes before the reading of the term. So whoever wins a later term lists this
    /// incarnation, and whoever has won an earlier one is not believed by it.
    pub(crate) fn appear(&self, state: &State, who: Who) -> Option<State> {
        let mut next = state.clone();
        next.members[who].life = Life::Joining;
        if self.without(Mutant::ReadTermFirst) {
            next.members[who].adopted = state.term;
        } else {
            next.live = state.live.with(who);
        }
        Some(next)
    }

    /// Rule 2: reads the highest term and adopts it.
    pub(crate) fn read_term(&self, state: &State, who: Who) -> Option<State> {
        let mut next = state.clone();
        next.members[who].life = Life::Joined;
        if self.without(Mutant::ReadTermFirst) {
            next.live = state.live.with(who);
        } else {
            next.members[who].adopted = state.term;
        }
        Some(next)
    }

    /// Anybody may campaign at any time, and `link` lets one win. It learns of it at once, or late: then it does nothing
    /// until then. Nobody campaigns against itself.
    pub(crate) fn win(&self, state: &State, who: Who) -> Option<State> {
        let member = &state.members[who];
        let is_office_holder = member.desk.is_some_and(|desk| desk.term == state.term && state.term > 0);
        if state.term >= self.size.terms || is_office_holder {
            return None;
        }
        let early = self.without(Mutant::ListBeforeWinning);
        if early && member.desk.is_none_or(|desk| !desk.listed) {
            return None;
        }
        let mut next = state.clone();
        next.term += 1;
        let member = &mut next.members[who];
        let listed = member.desk.filter(|_| early).map(|desk| desk.awaited);
        member.adopted = next.term;
        member.desk = Some(Desk {
            term: next.term,
            listed: listed.is_some(),
            awaited: listed.unwrap_or_default(),
            ..Desk::default()
        });
        Some(next)
    }

    /// Rule 3: the living are listed after the term is won.
    pub(crate) fn list_living(&self, state: &State, who: Who) -> Option<State> {
        let before = state.members[who].desk;
        let early = self.without(Mutant::ListBeforeWinning);
        if before.map_or(!early, |desk| desk.listed || early) {
            return None;
        }
        let mut next = state.clone();
        let desk = next.members[who].desk.get_or_insert_default();
        desk.listed = true;
        let living = (0..usize::from(self.size.members)).filter(|one| state.live.has(*one));
        desk.awaited =
            living.filter(|one| !desk.registered.has(*one) && !desk.fenced.has(*one)).fold(Set::default(), Set::with);
        Some(next)
    }

    /// Rule 4: a controller, also one that was replaced and does not know, fences anybody at any time, itself included.
    /// A directory that is gone already is as good as removed.
    pub(crate) fn fence(&self, state: &State, who: Who, whom: Who) -> Option<State> {
        let desk = state.members[who].desk.filter(|desk| desk.term > 0 && !desk.fenced.has(whom))?;
        // Nobody can be fenced before its directory is there; and a fence that changes nothing is none.
        let is_known = desk.awaited.has(whom) || desk.registered.has(whom);
        if !is_known && !state.live.has(whom) {
            return None;
        }
        let mut next = state.clone();
        next.live = state.live.without(whom);
        let desk = next.members[who].desk.as_mut()?;
        desk.fenced = desk.fenced.with(whom);
        desk.awaited = desk.awaited.without(whom);
        desk.registered = desk.registered.without(whom);
        for owner in desk.owners.iter_mut().filter(|owner| owner.is_some_and(|owner| usize::from(owner.who) == whom)) {
            *owner = None;
        }
        Some(next)
    }

    /// A member that hears of a controller of a term at least as high as its own adopts that and registers, on a new link.
    /// What it has is told; grants under way are not, for they will never be accepted.
    pub(crate) fn register(&self, state: &State, who: Who, controller: Who) -> Option<State> {
        let term = state.members[controller].desk.map(|desk| desk.term).filter(|term| *term > 0)?;
        let member = &state.members[who];
        let before = member.link;
        // To register anew where nothing is under way that could be lost would change nothing.
        let under_way = before.grants.iter().chain(&before.releases).any(Option::is_some);
        let is_repeated = before.term == term && !under_way;
        if member.adopted > term || is_repeated {
            return None;
        }
        let mut next = state.clone();
        let member = &mut next.members[who];
        member.adopted = term;
        let estate = member.owned.map(|owned| owned.map(|owned| owned.epoch));
        let estate = if self.without(Mutant::RegisterWithoutEstate) { Default::default() } else { estate };
        member.link = Link { term, registration: Some(estate), ..Link::default() };
        if self.without(if before.term == term { Mutant::AcceptEarlierLink } else { Mutant::AcceptOlderTerm }) {
            for (stray, (late, later)) in member.link.stray.iter_mut().zip(before.grants.into_iter().zip(before.stray))
            {
                *stray = late.or(later);
            }
        }
        Some(next)
    }

    /// Rules 3 and 4: what a member says it owns replaces what the table says of it. Who contradicts the table is not
    /// believed; the only thing that can happen to it is to be fenced. A fenced member is not heard any more.
    pub(crate) fn hear_registration(&self, state: &State, who: Who, from: Who) -> Option<State> {
        let desk = state.members[who].desk.as_ref()?;
        let link = &state.members[from].link;
        let estate = link.registration.filter(|_| link.term == desk.term && !desk.fenced.has(from))?;
        let contradicts = |(told, known): (&Option<Epoch>, &Option<Owner>)| {
            told.is_some_and(|epoch| {
                epoch.term > desk.term || known.is_some_and(|owner| usize::from(owner.who) != from)
            })
        };
        if estate.iter().zip(&desk.owners).any(contradicts) {
            return None;
        }
        let mut next = state.clone();
        next.members[from].link.registration = None;
        let desk = next.members[who].desk.as_mut()?;
        desk.registered = desk.registered.with(from);
        desk.awaited = desk.awaited.without(from);
        for (owner, told) in desk.owners.iter_mut().zip(estate) {
            let is_his = owner.is_some_and(|owner| usize::from(owner.who) == from);
            if is_his || told.is_some() {
                *owner = told.map(|epoch| Owner { who: from as u8, epoch });
            }
        }
        Some(next)
    }

    /// Rule 4: a release counts under its epoch, behind the registration on the same link.
    pub(crate) fn hear_release(&self, state: &State, who: Who, from: Who, ownable: Ownable) -> Option<State> {
        let desk = state.members[who].desk.as_ref()?;
        let link = &state.members[from].link;
        let epoch = link.releases[ownable].filter(|_| link.term == desk.term && link.registration.is_none())?;
        let mut next = state.clone();
        next.members[from].link.releases[ownable] = None;
        let owner = &mut next.members[who].desk.as_mut()?.owners[ownable];
        if *owner == Some(Owner { who: from as u8, epoch }) {
            *owner = None;
        }
        Some(next)
    }

    /// Rules 1, 3 and 4: a grant to anybody registered, of what nobody owns, when nobody is awaited any more. Claims are
    /// left out: a grant that nobody has asked for is one that nobody waits for any more.
    pub(crate) fn grant(&self, state: &State, who: Who, to: Who, ownable: Ownable) -> Option<State> {
        let desk = state.members[who].desk.as_ref()?;
        let is_gathered = desk.listed && desk.awaited.is_empty() || self.without(Mutant::GrantUngathered);
        let is_free = match desk.owners[ownable] {
            None => true,
            Some(owner) => self.without(Mutant::GrantUnfenced) && usize::from(owner.who) != to,
        };
        if !is_gathered || !is_free || !desk.registered.has(to) || desk.granted >= self.size.grants {
            return None;
        }
        let mut next = state.clone();
        let desk = next.members[who].desk.as_mut()?;
        desk.granted += 1;
        let (term, epoch) = (desk.term, Epoch { term: desk.term, number: desk.granted });
        desk.owners[ownable] = Some(Owner { who: to as u8, epoch });
        let link = &mut next.members[to].link;
        // The member may have another link by now, and the grant goes the old way.
        if link.term == term && link.registration.is_none() {
            link.grants[ownable] = Some(epoch);
        } else if self.without(if link.term == term { Mutant::AcceptEarlierLink } else { Mutant::AcceptOlderTerm }) {
            link.stray[ownable] = Some(epoch);
        }
        Some(next)
    }

    /// Rule 2: a grant is taken from the link to the controller of the highest term adopted.
    pub(crate) fn accept(&self, state: &State, who: Who, ownable: Ownable) -> Option<State> {
        let member = &state.members[who];
        let epoch = member.link.grants[ownable].or(member.link.stray[ownable])?;
        if member.owned[ownable].is_some() {
            return None;
        }
        let is_old = epoch.term < member.adopted && !self.without(Mutant::AcceptOlderTerm);
        let mut next = state.clone();
        let member = &mut next.members[who];
        let link = &mut member.link;
        if link.grants[ownable].take().is_none() {
            link.stray[ownable] = None;
        }
        if !is_old {
            member.owned[ownable] = Some(Owned { epoch, stage: Stage::Granted });
        }
        Some(next)
    }

    /// Rule 4: a member gives back what it has finished with: everything is answered, and the end is written. What was
    /// not looked at yet is given back as it is. Without a link the next registration says it, by leaving it out.
    pub(crate) fn release(&self, state: &State, who: Who, ownable: Ownable) -> Option<State> {
        let owned = state.members[who].owned[ownable]?;
        let open = state.open(who, ownable);
        let is_done = |open: &Open| open.shown == Some(open.state.len()) && open.request.is_none();
        let unfinished = self.without(Mutant::ReleaseUnfinished) && open.is_some();
        if !unfinished && owned.stage != Stage::Granted && !open.is_some_and(is_done) {
            return None;
        }
        if !self.size.releases || state.members[who].link.releases[ownable].is_some() {
            return None;
        }
        let segment = open.map_or(0, |open| open.segment);
        let mut next = state.clone();
        if !unfinished {
            if segment > 0 {
                next.logs[ownable].segment_mut(segment).end = End::Cached;
            }
            next.members[who].owned[ownable] = None;
        }
        let link = &mut next.members[who].link;
        if link.term > 0 {
            link.releases[ownable] = Some(owned.epoch);
        }
        Some(next)
    }
}
