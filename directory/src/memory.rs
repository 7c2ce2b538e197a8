//! A directory in a table: for tests, and for trying things without an LDAP server.

use std::{collections::HashMap, sync::Arc};

use crate::{
    error::{Inconsistency, LookupError},
    id::{AccountId, ClusterName},
    name::{Address, LoginName, Secret},
    password::{ScramKeys, ScramShape},
    record::{AccountRecord, ClusterRecord},
};

type Found<T> = Result<Option<Arc<T>>, LookupError>;

/// Every account and cluster there is. Passwords are compared as they are.
#[derive(Default)]
pub(crate) struct Table {
    accounts: HashMap<AccountId, (Arc<AccountRecord>, Secret)>,
    by_login: HashMap<String, Vec<AccountId>>,
    by_address: HashMap<Address, Vec<AccountId>>,
    clusters: Vec<Arc<ClusterRecord>>,
}

impl Table {
    pub(crate) fn new(accounts: Vec<(AccountRecord, Secret)>, clusters: Vec<ClusterRecord>) -> Self {
        let mut table = Self { clusters: clusters.into_iter().map(Arc::new).collect(), ..Self::default() };
        for (account, secret) in accounts {
            table.insert(account, secret);
        }
        table
    }

    pub(crate) fn by_login(&self, login: &LoginName) -> Found<AccountRecord> {
        self.one(self.by_login.get(&login.folded()))
    }

    pub(crate) fn by_address(&self, address: &Address) -> Found<AccountRecord> {
        self.one(self.by_address.get(address))
    }

    pub(crate) fn by_id(&self, id: AccountId) -> Option<Arc<AccountRecord>> {
        self.accounts.get(&id).map(|(account, _)| Arc::clone(account))
    }

    pub(crate) fn cluster(&self, name: &ClusterName) -> Option<Arc<ClusterRecord>> {
        self.clusters.iter().find(|cluster| cluster.name == *name).cloned()
    }

    pub(crate) fn clusters(&self) -> Vec<Arc<ClusterRecord>> {
        self.clusters.clone()
    }

    pub(crate) fn verify(&self, id: AccountId, password: &Secret) -> bool {
        self.accounts.get(&id).is_some_and(|(_, secret)| secret == password)
    }

    pub(crate) fn scram_keys(&self, id: AccountId) -> Option<ScramKeys> {
        let (_, secret) = self.accounts.get(&id)?;
        let ScramShape { rounds, .. } = ScramShape::default();
        Some(ScramKeys::derive(secret, id.0.as_bytes().to_vec(), rounds))
    }

    fn insert(&mut self, account: AccountRecord, secret: Secret) {
        let id = account.id;
        // As in the default profile: one may log in with the login name or with any address.
        let mut logins: Vec<String> = account.addresses.iter().map(Address::folded).collect();
        logins.push(account.login.to_lowercase());
        logins.sort();
        logins.dedup();
        for login in logins {
            self.by_login.entry(login).or_default().push(id);
        }
        for address in &account.addresses {
            let ids = self.by_address.entry(address.clone()).or_default();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        self.accounts.insert(id, (Arc::new(account), secret));
    }

    fn one(&self, ids: Option<&Vec<AccountId>>) -> Found<AccountRecord> {
        match ids.map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([id]) => Ok(self.by_id(*id)),
            Some(several) => Err(self.ambiguous(several).into()),
        }
    }

    fn ambiguous(&self, ids: &[AccountId]) -> Inconsistency {
        Inconsistency::SeveralEntries(ids.iter().filter_map(|id| self.by_id(*id)).map(|a| a.dn.clone()).collect())
    }
}
