//! The controller's table: owners by ownable, registrants by place, and who waits for what.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
};

use smallvec::SmallVec;

use laniakea_directory::MemberName;

use super::{Epoch, Incarnation, Moment, OwnableId, Registering};

/// A registrant's number in the table: small, so that a million owners fit.
pub(super) type Place = u32;

/// Who owns an ownable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) place: Place,
    pub(super) epoch: Epoch,
}

/// One incarnation that registered in this term.
#[derive(Debug)]
pub(super) struct Registrant {
    pub(super) incarnation: Incarnation,
    pub(super) slot: u8,
    pub(super) handoff: SocketAddr,
    /// The session is up and all it owns was told on it.
    pub(super) is_registered: bool,
    /// What it has told so far of an unfinished registration.
    pub(super) estate: Option<Vec<(OwnableId, Epoch)>>,
    /// It may be dead.
    pub(super) doubtful: bool,
    /// It said that it is about to leave.
    pub(super) leaving: bool,
    /// It gets nothing new and gives back what it has: it leaves, or is drained while others can serve.
    pub(super) withheld: bool,
    /// What is still to be recalled.
    pub(super) recalls: VecDeque<(OwnableId, Epoch)>,
    /// What was recalled, and until when it must be given back.
    pub(super) recalled: BTreeMap<OwnableId, Moment>,
}

impl Registrant {
    fn new(who: &Registering) -> Self {
        Self {
            incarnation: who.incarnation.clone(),
            slot: who.slot,
            handoff: who.handoff,
            is_registered: false,
            estate: None,
            doubtful: false,
            leaving: false,
            withheld: false,
            recalls: VecDeque::new(),
            recalled: BTreeMap::new(),
        }
    }

    /// Forgets what was said on an earlier session.
    pub(super) fn begin_registration(&mut self, leaving: bool) {
        self.is_registered = false;
        self.estate = Some(Vec::new());
        self.leaving |= leaving;
        self.recalls.clear();
        self.recalled.clear();
    }

    pub(super) fn has_recalled(&self, ownable: &OwnableId) -> bool {
        self.recalled.contains_key(ownable)
    }

    pub(super) fn recall_due(&self) -> Option<Moment> {
        self.recalled.values().min().copied()
    }
}

/// Owners, registrants, and who waits for what.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) owners: HashMap<OwnableId, Owner>,
    pub(super) registrants: BTreeMap<Place, Registrant>,
    /// Claims that wait until an owner's fate is certain; each claimant once.
    pub(super) parked: HashMap<OwnableId, SmallVec<[Place; 2]>>,
    places: BTreeMap<Incarnation, Place>,
    next_place: Place,
}

impl Table {
    /// The place of an incarnation, given to it now if it has none.
    pub(super) fn place(&mut self, who: &Registering) -> Place {
        if let Some(place) = self.places.get(&who.incarnation) {
            return *place;
        }
        let place = self.next_place;
        self.next_place += 1;
        self.places.insert(who.incarnation.clone(), place);
        self.registrants.insert(place, Registrant::new(who));
        place
    }

    pub(super) fn find(&self, incarnation: &Incarnation) -> Option<(Place, &Registrant)> {
        let place = *self.places.get(incarnation)?;
        Some((place, self.registrants.get(&place)?))
    }

    pub(super) fn find_mut(&mut self, incarnation: &Incarnation) -> Option<(Place, &mut Registrant)> {
        let place = *self.places.get(incarnation)?;
        Some((place, self.registrants.get_mut(&place)?))
    }

    /// What one registrant owns, in order.
    pub(super) fn estate(&self, place: Place) -> Vec<(OwnableId, Epoch)> {
        let owned = self.owners.iter().filter(|(_, owner)| owner.place == place);
        let mut estate: Vec<_> = owned.map(|(ownable, owner)| (*ownable, owner.epoch)).collect();
        estate.sort_unstable();
        estate
    }

    pub(super) fn is_owner(&self, place: Place, ownable: &OwnableId, epoch: Epoch) -> bool {
        self.owners.get(ownable).is_some_and(|owner| owner.place == place && owner.epoch == epoch)
    }

    pub(super) fn take(&mut self, ownable: OwnableId, place: Place, epoch: Epoch) {
        let before = self.owners.insert(ownable, Owner { place, epoch });
        assert!(before.is_none(), "{ownable} was granted while it had an owner (I3)");
    }

    /// Ends an ownership, if it is exactly this one.
    pub(super) fn give_back(&mut self, ownable: &OwnableId, place: Place, epoch: Epoch) -> bool {
        let is_his = self.is_owner(place, ownable, epoch);
        if is_his {
            self.owners.remove(ownable);
            if let Some(registrant) = self.registrants.get_mut(&place) {
                registrant.recalled.remove(ownable);
            }
        }
        is_his
    }

    /// Makes the table say of one registrant what it says itself; returns what it no longer owns.
    pub(super) fn replace_estate(&mut self, place: Place, estate: &[(OwnableId, Epoch)]) -> Vec<OwnableId> {
        let told: HashMap<_, _> = estate.iter().copied().collect();
        let freed = self.free(|ownable, owner| owner.place == place && !told.contains_key(ownable));
        self.owners.extend(told.into_iter().map(|(ownable, epoch)| (ownable, Owner { place, epoch })));
        freed
    }

    /// Forgets a fenced incarnation; returns what it owned.
    pub(super) fn remove(&mut self, incarnation: &Incarnation) -> Vec<OwnableId> {
        let Some(place) = self.places.remove(incarnation) else { return Vec::new() };
        self.registrants.remove(&place);
        self.unpark(place);
        self.free(|_, owner| owner.place == place)
    }

    /// Ends all ownerships that `matches`; returns what they were of, in order.
    fn free(&mut self, matches: impl Fn(&OwnableId, &Owner) -> bool) -> Vec<OwnableId> {
        let mut freed = Vec::new();
        self.owners.retain(|ownable, owner| {
            let free = matches(ownable, owner);
            if free {
                freed.push(*ownable);
            }
            !free
        });
        freed.sort_unstable();
        freed
    }

    pub(super) fn park(&mut self, ownable: OwnableId, claimant: Place) {
        let waiting = self.parked.entry(ownable).or_default();
        if !waiting.contains(&claimant) {
            waiting.push(claimant);
        }
    }

    /// A claimant does not wait any more.
    pub(super) fn unpark(&mut self, claimant: Place) {
        self.parked.retain(|_, waiting| {
            waiting.retain(|one| *one != claimant);
            !waiting.is_empty()
        });
    }

    /// What is waited for at one owner, in order.
    pub(super) fn parked_at(&self, place: Place) -> Vec<OwnableId> {
        let at = |ownable: &&OwnableId| self.owners.get(ownable).is_some_and(|owner| owner.place == place);
        let mut parked: Vec<_> = self.parked.keys().filter(at).copied().collect();
        parked.sort_unstable();
        parked
    }

    pub(super) fn listing(&self) -> Vec<(OwnableId, MemberName, Epoch)> {
        let mut listing: Vec<_> = self
            .owners
            .iter()
            .filter_map(|(ownable, owner)| {
                let registrant = self.registrants.get(&owner.place)?;
                Some((*ownable, registrant.incarnation.member.clone(), owner.epoch))
            })
            .collect();
        listing.sort_unstable();
        listing
    }
}
