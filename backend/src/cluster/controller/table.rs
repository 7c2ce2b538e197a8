//! The controller's table: owners by ownable, registrants by place, and who waits for what.
//!
//! A member may own a hundred thousand accounts, and no step may take as long as to look at all of them when it is fenced. So
//! an owner counts only while its registrant is in the table: removing that frees everything at once. What is left over is
//! replaced when it is granted again, and swept out when it is most of the table.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::SocketAddr,
};

use smallvec::SmallVec;

use laniakea_directory::MemberName;

use super::{Epoch, Incarnation, Moment, OwnableId, Registering};

/// A registrant's number in the table, never used again: small, so that a million owners fit.
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
    /// How many ownables it has.
    owned_count: usize,
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
            owned_count: 0,
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
    /// Also of registrants that are gone: ask [`Table::owner`].
    pub(super) owners: HashMap<OwnableId, Owner>,
    pub(super) registrants: BTreeMap<Place, Registrant>,
    /// Claims that wait until an owner's fate is certain; each claimant once.
    pub(super) parked: BTreeMap<OwnableId, SmallVec<[Place; 2]>>,
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

    /// Who owns this.
    pub(super) fn owner(&self, ownable: &OwnableId) -> Option<Owner> {
        self.owners.get(ownable).filter(|owner| self.registrants.contains_key(&owner.place)).copied()
    }

    /// How many ownables have an owner.
    pub(super) fn owned_count(&self) -> usize {
        self.registrants.values().map(|registrant| registrant.owned_count).sum()
    }

    /// What one registrant owns, in order.
    pub(super) fn estate(&self, place: Place) -> Vec<(OwnableId, Epoch)> {
        let owned = self.owners.iter().filter(|(_, owner)| owner.place == place);
        let mut estate: Vec<_> = owned.map(|(ownable, owner)| (*ownable, owner.epoch)).collect();
        estate.sort_unstable();
        estate
    }

    pub(super) fn is_owner(&self, place: Place, ownable: &OwnableId, epoch: Epoch) -> bool {
        self.owner(ownable).is_some_and(|owner| owner.place == place && owner.epoch == epoch)
    }

    pub(super) fn take(&mut self, ownable: OwnableId, place: Place, epoch: Epoch) {
        assert!(self.owner(&ownable).is_none(), "{ownable} was granted while it had an owner (I3)");
        self.owners.insert(ownable, Owner { place, epoch });
        if let Some(registrant) = self.registrants.get_mut(&place) {
            registrant.owned_count += 1;
        }
    }

    /// Ends an ownership, if it is exactly this one.
    pub(super) fn give_back(&mut self, ownable: &OwnableId, place: Place, epoch: Epoch) -> bool {
        let is_his = self.is_owner(place, ownable, epoch);
        if is_his {
            self.owners.remove(ownable);
            if let Some(registrant) = self.registrants.get_mut(&place) {
                registrant.recalled.remove(ownable);
                registrant.owned_count = registrant.owned_count.saturating_sub(1);
            }
        }
        is_his
    }

    /// Makes the table say of one registrant what it says itself; returns what it no longer owns and somebody waits for.
    pub(super) fn replace_estate(&mut self, place: Place, estate: &[(OwnableId, Epoch)]) -> Vec<OwnableId> {
        let mut freed = Vec::new();
        let has_owned = self.registrants.get(&place).is_some_and(|registrant| registrant.owned_count > 0);
        if has_owned {
            let told: HashSet<_> = estate.iter().map(|(ownable, _)| *ownable).collect();
            self.owners.retain(|ownable, owner| {
                let is_free = owner.place == place && !told.contains(ownable);
                if is_free && self.parked.contains_key(ownable) {
                    freed.push(*ownable);
                }
                !is_free
            });
            freed.sort_unstable();
        }
        self.owners.extend(estate.iter().map(|(ownable, epoch)| (*ownable, Owner { place, epoch: *epoch })));
        if let Some(registrant) = self.registrants.get_mut(&place) {
            registrant.owned_count = estate.len();
        }
        freed
    }

    /// Forgets a fenced incarnation, which frees all it owned; returns what of that somebody waits for, in order.
    pub(super) fn remove(&mut self, incarnation: &Incarnation) -> Vec<OwnableId> {
        let Some(place) = self.places.remove(incarnation) else { return Vec::new() };
        self.unpark(place);
        let awaited = self.parked_at(place);
        self.registrants.remove(&place);
        awaited
    }

    /// Removes what the fenced left over, once it is most of the table: so each of it is looked at about once.
    pub(super) fn sweep(&mut self) {
        if self.owners.len() > 2 * self.owned_count() {
            let registrants = &self.registrants;
            self.owners.retain(|_, owner| registrants.contains_key(&owner.place));
        }
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
        self.parked.keys().filter(at).copied().collect()
    }

    /// Everything that is owned, in order.
    pub(super) fn listing(&self) -> Vec<(OwnableId, MemberName, Epoch)> {
        let entry = |(ownable, owner): (&OwnableId, &Owner)| {
            let registrant = self.registrants.get(&owner.place)?;
            Some((*ownable, registrant.incarnation.member.clone(), owner.epoch))
        };
        let mut listing: Vec<_> = self.owners.iter().filter_map(entry).collect();
        listing.sort_unstable();
        listing
    }
}
