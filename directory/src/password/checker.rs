//! Runs password checks on blocking threads, as many at a time as there are processors.
//!
//! A check that waits too long in the queue is refused instead: an attacker with many connections must not make
//! everybody else's login time out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use laniakea_config::PasswordScheme;
use metrics::{counter, histogram};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    proofs::Proofs,
    scheme::{hash_password, verify},
};
use crate::{
    error::{LookupError, Outage},
    id::AccountId,
    name::Secret,
};

/// Checks that may wait for a thread; at 10 ms each the last one waits for some seconds.
const WAITING_MAX: usize = 1000;
/// The longest a check waits for a thread.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Values of one entry that are tried.
const STORED_MAX: usize = 8;

/// Checks passwords against stored values.
pub(crate) struct Checker {
    threads: Arc<Semaphore>,
    queue: Semaphore,
    proofs: Mutex<Proofs>,
    /// A stored value of the kind that was checked last: what a check for nobody is computed with.
    sample: ArcSwap<String>,
}

impl Checker {
    pub(crate) fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            threads: Arc::new(Semaphore::new(threads)),
            queue: Semaphore::new(WAITING_MAX),
            proofs: Mutex::new(Proofs::new(rand::random())),
            sample: ArcSwap::from_pointee(hash_password(&Secret::new(b"nobody".to_vec()), PasswordScheme::Argon2)),
        }
    }

    /// Whether `password` is the one that one of `stored` was made from.
    pub(crate) async fn check(
        &self,
        account: AccountId,
        password: &Secret,
        stored: &[String],
    ) -> Result<bool, LookupError> {
        if password.is_empty() {
            return Ok(false);
        }
        for stored in stored.iter().take(STORED_MAX) {
            if self.check_one(account, password, stored).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Computes what [`Self::check`] would, for nothing.
    pub(crate) async fn check_nobody(&self, password: &Secret) {
        let sample = self.sample.load_full();
        let _ = self.compute(password, &sample).await;
    }

    async fn check_one(&self, account: AccountId, password: &Secret, stored: &str) -> Result<bool, LookupError> {
        let proof = {
            let proofs = self.proofs.lock();
            let proof = proofs.proof(account.0, password, stored);
            if proofs.holds(&proof, Instant::now()) {
                counter!("laniakea_directory_password_checks_total", "result" => "remembered").increment(1);
                return Ok(true);
            }
            proof
        };
        if !self.compute(password, stored).await? {
            return Ok(false);
        }
        self.proofs.lock().insert(proof, Instant::now());
        Ok(true)
    }

    async fn compute(&self, password: &Secret, stored: &str) -> Result<bool, LookupError> {
        let _waiting = self.queue.try_acquire().map_err(|_| Outage::Overloaded)?;
        let permit = timeout(WAIT_MAX, Arc::clone(&self.threads).acquire_owned())
            .await
            .map_err(|_| Outage::Overloaded)?
            .map_err(|_| Outage::Overloaded)?;
        let (password, stored) = (password.clone(), stored.to_owned());
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let start = Instant::now();
            let right = verify(&stored, &password);
            histogram!("laniakea_directory_password_check_seconds").record(start.elapsed());
            (right, stored)
        });
        // A check that panics proves nothing.
        let Ok((right, stored)) = task.await else { return Ok(false) };
        let result = if right { "right" } else { "wrong" };
        counter!("laniakea_directory_password_checks_total", "result" => result).increment(1);
        if right {
            self.sample.store(Arc::new(stored));
        }
        Ok(right)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn a_second_login_is_remembered_and_a_new_hash_forgets_it() {
        let checker = Checker::new();
        let account = AccountId(Uuid::from_u128(1));
        let stored = vec![hash_password(&secret("pw"), PasswordScheme::Argon2)];
        assert!(checker.check(account, &secret("pw"), &stored).await.unwrap());
        let start = Instant::now();
        for _ in 0..100 {
            assert!(checker.check(account, &secret("pw"), &stored).await.unwrap());
        }
        assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
        assert!(!checker.check(account, &secret("no"), &stored).await.unwrap());
        assert!(!checker.check(account, &secret(""), &stored).await.unwrap());
        assert!(
            !checker
                .check(account, &secret("pw"), &[hash_password(&secret("new"), PasswordScheme::Argon2)])
                .await
                .unwrap()
        );
        assert!(!checker.check(account, &secret("pw"), &[]).await.unwrap());
    }

    #[tokio::test]
    async fn nobody_costs_what_somebody_costs() {
        let checker = Checker::new();
        let stored = [hash_password(&secret("pw"), PasswordScheme::Argon2)];
        let account = AccountId(Uuid::from_u128(1));
        assert!(checker.check(account, &secret("pw"), &stored).await.unwrap());
        let time = |start: Instant| start.elapsed().as_secs_f64();
        let (mut real, mut nobody) = (0.0, 0.0);
        for n in 0..5 {
            let wrong = secret(&format!("wrong{n}"));
            let start = Instant::now();
            assert!(!checker.check(account, &wrong, &stored).await.unwrap());
            real += time(start);
            let start = Instant::now();
            checker.check_nobody(&wrong).await;
            nobody += time(start);
        }
        assert!(nobody > real / 4.0 && nobody < real * 4.0, "{nobody} against {real}");
    }

    #[tokio::test]
    async fn a_crowd_is_refused_beyond_the_limit() {
        let checker = Arc::new(Checker::new());
        let _all = checker.queue.acquire_many(u32::try_from(WAITING_MAX).unwrap()).await.unwrap();
        let account = AccountId(Uuid::from_u128(1));
        let refused = checker.check(account, &secret("pw"), &["{SHA}x".into()]).await;
        assert_eq!(refused, Err(LookupError::Unavailable(Outage::Overloaded)));
    }
}
