//! How much of a process's memory messages may take while they are on their way.
//!
//! What is needed to begin is waited for; what a message grows beyond that is taken only if it is there. So no two
//! messages ever wait for one another.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The unit of account, since a semaphore counts no further than 2^32 at once.
const UNIT_BYTES: u64 = 4 << 10;
/// What a message of unknown size begins with.
const FIRST_BYTES: u64 = 64 << 10;
/// What one begins with at most: room is given for what has come, not for what was announced.
const BEGIN_BYTES_MAX: u64 = 1 << 20;
/// How long a message waits for room to begin.
const WAIT: Duration = Duration::from_secs(10);

/// The memory all messages share.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    /// All of it.
    total: u32,
}

/// A part of the memory; given back when dropped.
#[derive(Debug)]
pub struct Share {
    permit: OwnedSemaphorePermit,
}

/// There is not enough memory left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many messages in memory")]
pub struct Exhausted;

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let total = u32::try_from(bytes_max / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self { units: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// A share of nothing, to be grown.
    ///
    /// # Errors
    /// `Exhausted`: never, as nothing is asked for.
    pub fn nothing(&self) -> Result<Share, Exhausted> {
        let permit = Arc::clone(&self.units).try_acquire_many_owned(0).map_err(|_| Exhausted)?;
        Ok(Share { permit })
    }

    /// Takes room for the beginning of a message that was announced with this size; waits for it a while.
    ///
    /// # Errors
    /// `Exhausted`: try again later.
    pub async fn begin(&self, announced: Option<u64>) -> Result<Share, Exhausted> {
        self.take(announced.unwrap_or(FIRST_BYTES).min(BEGIN_BYTES_MAX)).await
    }

    /// Takes room for a message that is known, all there is for one that is larger; waits for it a while.
    ///
    /// # Errors
    /// `Exhausted`: try again later.
    pub async fn take(&self, size: u64) -> Result<Share, Exhausted> {
        let wanted = units(size.max(UNIT_BYTES))?.min(self.total);
        match timeout(WAIT, Arc::clone(&self.units).acquire_many_owned(wanted)).await {
            Ok(Ok(permit)) => Ok(Share { permit }),
            Ok(Err(_)) | Err(_) => Err(Exhausted),
        }
    }

    /// Makes a share large enough for `size` bytes, without waiting.
    ///
    /// # Errors
    /// `Exhausted`: the message must come again.
    pub fn grow(&self, share: &mut Share, size: u64) -> Result<(), Exhausted> {
        let held = share.permit.num_permits() as u64 * UNIT_BYTES;
        if size <= held {
            return Ok(());
        }
        // In steps that grow with the message, so that a large one does not ask a thousand times.
        let more = Arc::clone(&self.units).try_acquire_many_owned(units((size - held).max(held / 2))?);
        share.permit.merge(more.map_err(|_| Exhausted)?);
        Ok(())
    }
}

fn units(bytes: u64) -> Result<u32, Exhausted> {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).map_err(|_| Exhausted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_grows_only_into_what_is_left() {
        let budget = Budget::new(1 << 20);
        let mut one = budget.begin(None).await.unwrap();
        budget.grow(&mut one, 512 << 10).unwrap();
        let two = budget.begin(Some(400 << 10)).await.unwrap();
        assert_eq!(budget.grow(&mut one, 1 << 20), Err(Exhausted));
        drop(two);
        budget.grow(&mut one, 1 << 20).unwrap();
    }

    #[tokio::test]
    async fn who_waits_begins_as_soon_as_there_is_room() {
        let budget = Budget::new(1 << 20);
        let one = budget.begin(Some(1 << 20)).await.unwrap();
        let other = budget.clone();
        let waiting = tokio::spawn(async move { other.begin(Some(1)).await.is_ok() });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(one);
        assert!(waiting.await.unwrap());
    }
}
