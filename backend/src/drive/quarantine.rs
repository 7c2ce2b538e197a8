//! What this member could not open because it is damaged, or of a later program: kept as it is, until a person has looked.
//!
//! Nothing of it is on the storage, so nothing can block an account that is whole again: after a while, or when a person says
//! so, it is tried anew. Until then nobody reads the whole damaged log for each login and each delivery.

use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use tokio::time::Instant;

use crate::{cluster::OwnableId, worker::RecoverError};

/// After this long it is tried again, in case somebody has mended it.
const RETRY: Duration = Duration::from_secs(60);

/// All that is quarantined here.
#[derive(Debug, Default)]
pub struct Quarantine {
    entries: DashMap<OwnableId, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    damage: String,
    since: SystemTime,
    retry: Instant,
}

/// One thing in quarantine, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// What.
    pub id: OwnableId,
    /// Where and how it is damaged.
    pub damage: String,
    /// Since when, in seconds of Unix time.
    pub since: u64,
}

impl Quarantine {
    /// Whether it would be found damaged again, most likely.
    #[must_use]
    pub fn holds(&self, id: OwnableId) -> bool {
        self.entries.get(&id).is_some_and(|entry| Instant::now() < entry.retry)
    }

    /// Notes that something could not be opened, if the reason is one that only a person can mend; says whether it is.
    #[must_use]
    pub fn enter(&self, id: OwnableId, error: &RecoverError) -> bool {
        let Some(damage) = damage(error) else { return false };
        let since = self.entries.get(&id).map(|entry| entry.since);
        if since.is_none() {
            tracing::error!(
                ownable = %id, path = %id.path().display(), damage,
                "QUARANTINED: its log cannot be read; its bytes are kept, nothing is written; see `laniakea store check`"
            );
        }
        let since = since.unwrap_or_else(SystemTime::now);
        self.entries.insert(id, Entry { damage, since, retry: Instant::now() + RETRY });
        self.count();
        true
    }

    /// It is to be tried again at once.
    pub fn forgive(&self, id: OwnableId) {
        if let Some(mut entry) = self.entries.get_mut(&id) {
            entry.retry = Instant::now();
        }
    }

    /// It was opened.
    pub fn leave(&self, id: OwnableId) {
        if self.entries.remove(&id).is_some() {
            self.count();
        }
    }

    /// All of it, in order.
    #[must_use]
    pub fn all(&self) -> Vec<Quarantined> {
        let quarantined = |entry: dashmap::mapref::multiple::RefMulti<'_, OwnableId, Entry>| Quarantined {
            id: *entry.key(),
            damage: entry.damage.clone(),
            since: entry.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs(),
        };
        let mut all: Vec<Quarantined> = self.entries.iter().map(quarantined).collect();
        all.sort_by_key(|one| one.id);
        all
    }

    fn count(&self) {
        metrics::gauge!("laniakea_member_quarantined").set(self.entries.len() as f64);
    }
}

/// What a person has to mend; `None` for what may be better the next time.
fn damage(error: &RecoverError) -> Option<String> {
    use crate::store::OpenError;
    match error {
        RecoverError::Open(OpenError::Quarantined(damage)) => Some(damage.to_string()),
        RecoverError::Open(error @ OpenError::Newer(_)) => Some(error.to_string()),
        RecoverError::Replay(error) => Some(error.to_string()),
        RecoverError::Open(OpenError::Stale | OpenError::Io(_)) | RecoverError::Fenced => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::OpenError, worker::ReplayError};

    #[test]
    fn what_is_damaged_is_left_alone_for_a_while_and_what_only_failed_is_not() {
        let (quarantine, id) = (Quarantine::default(), OwnableId::Queue(1));
        assert!(!quarantine.enter(id, &RecoverError::Fenced));
        assert!(!quarantine.enter(id, &RecoverError::Open(OpenError::Stale)));
        assert!(!quarantine.holds(id) && quarantine.all().is_empty());
        assert!(quarantine.enter(id, &RecoverError::Replay(ReplayError("odd".into()))));
        assert!(quarantine.holds(id));
        quarantine.forgive(id);
        assert!(!quarantine.holds(id));
        assert_eq!(quarantine.all().len(), 1, "nobody has opened it");
        quarantine.leave(id);
        assert!(quarantine.all().is_empty());
    }
}
