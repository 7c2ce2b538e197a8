//! Where bodies have moved.
//!
//! The mailbox model names a body by the place it was first written to, and goes on doing so for as long as the account is
//! open: compaction changes no state, and a session that still shows an older one reads on. This table leads from the
//! old place to the present one. It is rebuilt from the log, and shrinks with every snapshot, which names bodies by the
//! places they then have.

use imbl::OrdMap;

use super::blob::BodyRef;

/// Old places of bodies, each with a later one. Copies share what they have in common.
#[derive(Debug, Clone, Default)]
pub struct Moves {
    to: OrdMap<BodyRef, BodyRef>,
}

impl Moves {
    /// Notes that a body stands elsewhere. It has to be in a later segment, so that there is an end to following.
    pub fn note(&mut self, from: BodyRef, to: BodyRef) {
        let (BodyRef::Inline { generation: old, .. }, BodyRef::Inline { generation: new, .. }) = (from, to) else {
            return;
        };
        assert!(old < new, "bodies move to later segments");
        self.to.insert(from, to);
    }

    /// Where a body is now.
    pub fn locate(&self, mut body: BodyRef) -> BodyRef {
        while let Some(next) = self.to.get(&body) {
            body = *next;
        }
        body
    }

    /// Forgets all moves but those that somebody may still ask for: of `bodies`, and of the places they have now.
    pub fn retain(&mut self, bodies: impl Iterator<Item = BodyRef>) {
        let mut kept = OrdMap::new();
        for mut body in bodies {
            while let Some(next) = self.to.get(&body) {
                kept.insert(body, *next);
                body = *next;
            }
        }
        self.to = kept;
    }

    /// How many moves are remembered.
    pub fn len(&self) -> usize {
        self.to.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(generation: u64, offset: u64) -> BodyRef {
        BodyRef::Inline { generation, offset, length: 9 }
    }

    #[test]
    fn a_body_is_followed_however_often_it_moved() {
        let mut moves = Moves::default();
        moves.note(at(1, 8), at(2, 16));
        moves.note(at(2, 16), at(5, 24));
        assert_eq!((moves.locate(at(1, 8)), moves.locate(at(2, 16))), (at(5, 24), at(5, 24)));
        assert_eq!(moves.locate(at(1, 16)), at(1, 16));
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let mut moves = Moves::default();
        moves.note(at(1, 8), at(2, 16));
        moves.note(at(2, 16), at(3, 24));
        moves.note(at(1, 99), at(3, 99));
        moves.retain([at(1, 8)].into_iter());
        assert_eq!((moves.len(), moves.locate(at(1, 8)), moves.locate(at(1, 99))), (2, at(3, 24), at(1, 99)));
    }
}
