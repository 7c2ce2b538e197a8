//! Equal look-ups at the same time become one.

use std::{collections::HashMap, future::Future, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

/// The look-ups under way.
pub(crate) struct Flights<K, V> {
    under_way: Mutex<HashMap<K, watch::Receiver<Option<V>>>>,
}

impl<K, V> Flights<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { under_way: Mutex::default() })
    }

    /// Joins the look-up of `key` that is under way, or starts one. It goes on if the caller leaves, for the others and
    /// for the cache. `None` if it panicked.
    pub(crate) async fn join<F>(self: &Arc<Self>, key: K, start: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut landing = {
            let mut under_way = self.under_way.lock();
            match under_way.get(&key) {
                Some(landing) => landing.clone(),
                None => {
                    let (land, landing) = watch::channel(None);
                    under_way.insert(key.clone(), landing.clone());
                    let (entry, flight) = (Entry { flights: Arc::clone(self), key }, start());
                    tokio::spawn(async move {
                        let value = flight.await;
                        drop(entry);
                        land.send_replace(Some(value));
                    });
                    landing
                }
            }
        };
        landing.wait_for(Option::is_some).await.ok().and_then(|value| value.clone())
    }
}

/// Takes the look-up off the list when it ends, in whatever way.
struct Entry<K: Eq + Hash, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Entry<K, V> {
    fn drop(&mut self) {
        self.flights.under_way.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_hundred_equal_look_ups_are_one() {
        let flights = Flights::<&str, usize>::new();
        let count = Arc::new(AtomicUsize::new(0));
        let look_up = || {
            let count = Arc::clone(&count);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                count.fetch_add(1, Ordering::SeqCst)
            }
        };
        let answers = join_all((0..100).map(|_| flights.join("eve", look_up))).await;
        assert_eq!(answers, vec![Some(0); 100]);
        assert_eq!(flights.join("eve", look_up).await, Some(1));
        assert!(flights.under_way.lock().is_empty());
    }

    #[tokio::test]
    async fn a_panic_reaches_nobody_and_leaves_nothing_behind() {
        let flights = Flights::<&str, usize>::new();
        let broken = || async { panic!("on purpose") };
        assert_eq!(flights.join("eve", broken).await, None);
        assert_eq!(flights.join("eve", || async { 1 }).await, Some(1));
    }
}
