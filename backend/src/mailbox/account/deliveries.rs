//! Which deliveries an account has taken, for as long as one of our processes might try them again.

use imbl::{OrdMap, Vector};

use crate::mailbox::date::Timestamp;
use crate::mailbox::uid::DeliveryId;

/// How long a delivery is remembered: longer than any queue keeps trying.
pub const DELIVERY_SECONDS_KEPT: i64 = 7 * 86_400;
/// Most deliveries remembered; beyond it the oldest is forgotten early.
pub const DELIVERIES_MAX: usize = 500_000;

/// Deliveries forgotten for each that is remembered, at most: enough that they do not grow more and more.
const FORGOTTEN_MAX: usize = 2;

/// The deliveries taken, each with its time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::mailbox) struct Deliveries {
    times: OrdMap<DeliveryId, Timestamp>,
    /// The same in the order they came.
    order: Vector<DeliveryId>,
}

impl Deliveries {
    /// Whether the delivery was taken and is remembered.
    pub(in crate::mailbox) fn contains(&self, id: &DeliveryId) -> bool {
        self.times.contains_key(id)
    }

    /// Remembers a delivery, and forgets those that `now` are too old.
    pub(in crate::mailbox) fn remember(&mut self, id: DeliveryId, now: Timestamp) {
        if self.times.insert(id, now).is_none() {
            self.order.push_back(id);
        }
        // Few at a time: a clock that leaps ahead must not make an account forget what may be tried again in a moment.
        for _ in 0..FORGOTTEN_MAX {
            if self.is_oldest_due(now)
                && let Some(oldest) = self.order.pop_front()
            {
                self.times.remove(&oldest);
            }
        }
    }

    /// All that are remembered, oldest first.
    pub(in crate::mailbox) fn iter(&self) -> impl Iterator<Item = (DeliveryId, Timestamp)> + '_ {
        self.order.iter().filter_map(|id| Some((*id, *self.times.get(id)?)))
    }

    fn is_oldest_due(&self, now: Timestamp) -> bool {
        let oldest = self.order.front().and_then(|id| self.times.get(id));
        let is_old = oldest.is_some_and(|at| now.0.saturating_sub(at.0) > DELIVERY_SECONDS_KEPT);
        is_old || self.order.len() > DELIVERIES_MAX
    }
}

impl FromIterator<(DeliveryId, Timestamp)> for Deliveries {
    fn from_iter<I: IntoIterator<Item = (DeliveryId, Timestamp)>>(deliveries: I) -> Self {
        let (mut times, mut order) = (OrdMap::new(), Vector::new());
        for (id, at) in deliveries {
            times.insert(id, at);
            order.push_back(id);
        }
        Self { times, order }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(transaction: u128) -> DeliveryId {
        DeliveryId { transaction, recipient: 0 }
    }

    #[test]
    fn a_delivery_is_remembered_for_seven_days() {
        let mut deliveries = Deliveries::default();
        deliveries.remember(id(1), Timestamp(0));
        deliveries.remember(id(2), Timestamp(DELIVERY_SECONDS_KEPT));
        assert!(deliveries.contains(&id(1)));
        deliveries.remember(id(3), Timestamp(DELIVERY_SECONDS_KEPT + 1));
        assert!(!deliveries.contains(&id(1)) && deliveries.contains(&id(2)) && deliveries.contains(&id(3)));
        assert_eq!(deliveries.iter().collect::<Deliveries>(), deliveries);
    }

    #[test]
    fn a_clock_that_leaps_ahead_makes_few_forgotten() {
        let mut deliveries: Deliveries = (0..100).map(|number| (id(number), Timestamp(0))).collect();
        deliveries.remember(id(100), Timestamp(10 * DELIVERY_SECONDS_KEPT));
        assert_eq!((0..=100).filter(|number| deliveries.contains(&id(*number))).count(), 99);
        assert!(deliveries.contains(&id(99)));
    }

    #[test]
    fn a_clock_set_back_forgets_nothing_early() {
        let mut deliveries = Deliveries::default();
        deliveries.remember(id(1), Timestamp(1_000_000_000));
        deliveries.remember(id(2), Timestamp(0));
        assert!(deliveries.contains(&id(1)) && deliveries.contains(&id(2)));
    }
}
