//! What provisioning needs besides look-ups: whole entries, long lists, and changes.

use std::collections::HashSet;

use laniakea_config::Profile;
use ldap3::{
    LdapResult, Mod, Scope, SearchEntry,
    adapters::{Adapter, EntriesOnly, PagedResults},
};

use super::{Client, connect::outage, entry, filter::Filter, pool::Query};
use crate::{
    error::{LookupError, Outage},
    record::AccountRecord,
};

impl Client {
    pub(crate) fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Reads one entry with all its attributes.
    pub(crate) async fn entry(&self, dn: &str) -> Result<Option<SearchEntry>, LookupError> {
        let query = Query {
            base: dn.to_owned(),
            scope: Scope::Base,
            filter: Filter::present("objectClass"),
            attributes: std::sync::Arc::new(["*".to_owned()]),
            max: 1,
        };
        Ok(self.ask("entry", &query).await?.into_iter().next())
    }

    /// Lists every account, page by page (RFC 2696).
    pub(crate) async fn accounts(&self, page: i32) -> Result<Vec<AccountRecord>, LookupError> {
        let live = self.pool.any_live().await?;
        let mut ldap = live.handle();
        let adapters: Vec<Box<dyn Adapter<_, _>>> =
            vec![Box::new(EntriesOnly::new()), Box::new(PagedResults::new(page))];
        let filter = Filter::equal("objectClass", &self.profile.object_class);
        let attributes = self.account_attributes.to_vec();
        let mut pages = ldap
            .streaming_search_with(adapters, &self.base, Scope::Subtree, filter.as_str(), attributes)
            .await
            .map_err(|error| outage(&error))?;
        let mut accounts = Vec::new();
        while let Some(found) = pages.next().await.map_err(|error| outage(&error))? {
            let Some(found) = entry::read(found) else { return Err(Outage::Garbled.into()) };
            match entry::account(&self.profile, &found) {
                Ok(account) => accounts.push(account),
                Err(error) => tracing::warn!(%error, "an account is left out of the list"),
            }
        }
        match pages.finish().await.rc {
            0 => Ok(accounts),
            code => Err(Outage::Refused(code).into()),
        }
    }

    /// Adds an entry.
    pub(crate) async fn add<V>(&self, dn: &str, attributes: Vec<(V, HashSet<V>)>) -> Result<LdapResult, Outage>
    where
        V: AsRef<[u8]> + Eq + std::hash::Hash + Clone,
    {
        let operation = |mut ldap: ldap3::Ldap| {
            let attributes = attributes.clone();
            async move { ldap.add(dn, attributes).await }
        };
        self.pool.operate(operation).await
    }

    /// Modifies an entry, all modifications or none.
    pub(crate) async fn modify(&self, dn: &str, mods: Vec<Mod<String>>) -> Result<LdapResult, Outage> {
        let operation = |mut ldap: ldap3::Ldap| {
            let mods = mods.clone();
            async move { ldap.modify(dn, mods).await }
        };
        self.pool.operate(operation).await
    }

    /// Deletes an entry.
    pub(crate) async fn delete(&self, dn: &str) -> Result<LdapResult, Outage> {
        self.pool.operate(|mut ldap: ldap3::Ldap| async move { ldap.delete(dn).await }).await
    }
}
