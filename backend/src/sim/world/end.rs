//! The end of a run: everything is opened once more and compared with what was promised.

use super::*;
use crate::{
    cluster::Epoch,
    sim::invariant::{Glance, patience},
    worker::recover,
};

impl World {
    /// After the peace every member has answered for every account, and nothing is missing anywhere.
    pub fn check_end(&mut self) {
        let ownables: Vec<_> = self.ownables().filter(|one| !self.witness.is_damaged(*one)).collect();
        self.witness.answers.check(patience(self.plan.drift), self.plan.members, &ownables);
        self.witness.owners.check(self.now);
        let (mut accounts, mut shards) = (BTreeMap::new(), BTreeMap::new());
        for ownable in ownables {
            match ownable {
                OwnableId::Account(_) => {
                    let account: Account = self.autopsy(ownable);
                    self.witness.on_recovered(ownable, &account);
                    self.look_at_files(ownable);
                    self.note(Glance::of(&account).digest);
                    accounts.insert(ownable, Glance::of(&account));
                }
                OwnableId::Queue(_) => {
                    let queue: Queue = self.autopsy(ownable);
                    self.witness.mails.on_recovered(ownable, &queue);
                    self.look_at_files(ownable);
                    shards.insert(ownable, queue);
                }
            }
        }
        if self.witness.damaged.is_none() {
            self.witness.mails.check(&shards, &accounts, &self.witness.ledgers);
        }
    }

    /// Looks at what lies in the directory of an ownable.
    pub(super) fn look_at_files(&mut self, ownable: OwnableId) {
        let dir = Path::new(STORAGE).join(ownable.path());
        self.witness.sealed.look(&self.server, &dir);
        self.witness.writers.look(&self.server, &dir);
    }

    /// What a later owner would find.
    fn autopsy<S: Kind>(&self, ownable: OwnableId) -> S {
        let fs = Arc::new(self.server.again());
        let dir = Path::new(STORAGE).join(ownable.path());
        let recovery = recover::<S, _>(fs, &dir, ownable, Epoch { term: u64::MAX, number: 1 }, FEATURE_LEVEL);
        let recovery = recovery.unwrap_or_else(|error| panic!("{ownable} is readable at the end: {error:?} (I12)"));
        recovery.validated(Moment::default(), self.worker_timing, |_| ()).state().clone()
    }
}
