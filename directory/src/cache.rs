//! Answers with an age. Pure: the time is passed in; what an answer means is not known here.
//!
//! Made for millions of answers: a question is kept as a digest of 16 bytes, an answer as the bytes of its record.
//! When the cache is full, the answer goes that was not asked for since the hand last passed (second chance); "unknown"
//! starts without that chance, so a flood of guessed names drives out other guesses first.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

/// Stands for a question; made with a key, so that nobody outside can aim at another's.
pub(crate) type Digest = [u8; 16];

/// What is remembered for a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hit {
    /// Use it. `Some` is an answer, `None` is "unknown".
    Fresh(Option<Box<[u8]>>),
    /// Use it, and ask again in the background.
    Aging(Box<[u8]>),
    /// Use it only if nobody answers.
    Stale(Box<[u8]>),
    /// Ask.
    Miss,
}

/// How long what is believed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ages {
    /// An answer.
    pub(crate) fresh: Duration,
    /// "Unknown".
    pub(crate) unknown: Duration,
}

/// The answers of one shard.
pub(crate) struct Cache {
    ages: Ages,
    max: usize,
    places: HashMap<Digest, u32, BuildHasherDefault<AlreadyRandom>>,
    slots: Vec<Slot>,
    hand: usize,
}

struct Slot {
    digest: Digest,
    answer: Option<Box<[u8]>>,
    /// When it was given, on the caller's clock; `None` for answers of an earlier process.
    at: Option<Duration>,
    used: bool,
}

impl Cache {
    pub(crate) fn new(ages: Ages, max: usize) -> Self {
        Self { ages, max: max.clamp(1, u32::MAX as usize), places: HashMap::default(), slots: Vec::new(), hand: 0 }
    }

    /// Looks a question up.
    pub(crate) fn find(&mut self, digest: &Digest, now: Duration) -> Hit {
        let ages = self.ages;
        let Some(slot) = self.places.get(digest).and_then(|at| self.slots.get_mut(*at as usize)) else {
            return Hit::Miss;
        };
        let age = slot.at.map(|at| now.saturating_sub(at));
        match (&slot.answer, age) {
            (None, Some(age)) if age < ages.unknown => Hit::Fresh(None),
            // Somebody may have been made known since: an old "unknown" must not bounce mail.
            (None, _) => Hit::Miss,
            (Some(answer), age) => {
                slot.used = true;
                match age {
                    Some(age) if age < ages.fresh.mul_f32(0.75) => Hit::Fresh(Some(answer.clone())),
                    Some(age) if age < ages.fresh => Hit::Aging(answer.clone()),
                    Some(_) | None => Hit::Stale(answer.clone()),
                }
            }
        }
    }

    /// Remembers what was answered at `at`; `None` as the time marks an answer of an earlier process.
    pub(crate) fn put(&mut self, digest: Digest, answer: Option<Box<[u8]>>, at: Option<Duration>) {
        let used = answer.is_some();
        let slot = Slot { digest, answer, at, used };
        if let Some(place) = self.places.get(&digest).copied() {
            self.set(place as usize, slot);
        } else if self.slots.len() < self.max {
            self.places.insert(digest, u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
            self.slots.push(slot);
        } else {
            let place = self.evict();
            self.places.insert(digest, u32::try_from(place).unwrap_or(u32::MAX));
            self.set(place, slot);
        }
    }

    /// How many answers are remembered, "unknown" included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Gives every known answer to `each`.
    pub(crate) fn for_each_known(&self, mut each: impl FnMut(&Digest, &[u8])) {
        for slot in &self.slots {
            if let Some(answer) = &slot.answer {
                each(&slot.digest, answer);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.slots.clear();
        self.hand = 0;
    }

    fn set(&mut self, place: usize, slot: Slot) {
        if let Some(old) = self.slots.get_mut(place) {
            *old = slot;
        }
    }

    /// Frees one place: the first, from the hand on, that was not used since the hand last passed.
    fn evict(&mut self) -> usize {
        loop {
            let place = self.hand % self.slots.len().max(1);
            self.hand = place + 1;
            let Some(slot) = self.slots.get_mut(place) else { return 0 };
            if !std::mem::take(&mut slot.used) {
                let digest = slot.digest;
                self.places.remove(&digest);
                return place;
            }
        }
    }
}

/// Takes the first eight bytes of a digest as its hash: they are random already.
#[derive(Default)]
struct AlreadyRandom(u64);

impl Hasher for AlreadyRandom {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
#[path = "cache_test.rs"]
mod tests;
