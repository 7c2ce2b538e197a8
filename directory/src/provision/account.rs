//! What accounts look like as entries, and changes of accounts as modifications. Pure.

use std::collections::HashSet;

use laniakea_config::Profile;
use ldap3::{Mod, SearchEntry};

use super::{AccountChange, NewAccount};
use crate::{dn::Dn, name::Address};

/// The class of our own account attributes.
const OWN_CLASS: &str = "laniakeaAccount";
/// The class every account entry has besides the profile's.
const PERSON_CLASS: &str = "inetOrgPerson";

/// An entry's attributes, as the client library wants them.
pub(super) type Attributes = Vec<(String, HashSet<String>)>;

/// Makes the attributes of a new account. Our own class is left out unless something needs it, so that a plain account
/// can be made in a directory that does not know our schema.
pub(super) fn attributes(profile: &Profile, account: &NewAccount, stored: Option<&str>) -> Attributes {
    let login = account.login.as_str();
    let name = if account.name.is_empty() { login } else { &account.name };
    let quota = account.quota.map(|quota| quota.to_string());
    let mut classes = vec![PERSON_CLASS, &profile.object_class];
    if quota.is_some() && is_own(&profile.quota) {
        classes.push(OWN_CLASS);
    }
    let addresses: Vec<&str> = account.addresses.iter().map(Address::as_unquoted).collect();
    let forward = account.forward.as_ref().map(Address::as_unquoted);
    let mut list = List(Vec::new());
    list.add("objectClass", classes);
    list.add(profile.login.first().map_or("uid", String::as_str), [login]);
    list.add("cn", [name]);
    list.add("sn", name.split_whitespace().next_back());
    list.add(profile.address.first().map_or("mail", String::as_str), addresses.clone());
    if profile.login.iter().chain(&profile.address).any(|attribute| attribute.eq_ignore_ascii_case("mail")) {
        list.add("mail", addresses.first().copied());
    }
    list.add(&profile.mail_host, Some(account.mail_host.as_str()).filter(|host| !host.is_empty()));
    list.add(&profile.forward, forward);
    list.add(&profile.quota, quota.as_deref());
    list.add(&profile.password, stored);
    list.0
}

/// Names the entry of a new account.
pub(super) fn dn(profile: &Profile, accounts: &Dn, account: &NewAccount) -> Dn {
    accounts.child(profile.login.first().map_or("uid", String::as_str), account.login.as_str())
}

/// Makes the modifications that carry out changes of an existing entry; `stored` are the new password hashes in order.
pub(super) fn modifications(
    profile: &Profile,
    entry: &SearchEntry,
    changes: &[AccountChange],
    mut stored: impl Iterator<Item = Option<String>>,
) -> Vec<Mod<String>> {
    let mut mods = Vec::new();
    for change in changes {
        match change {
            AccountChange::MailHost(host) => mods.push(replace(&profile.mail_host, Some(host.clone()))),
            AccountChange::Status(status) => {
                // Absent means active, and needs no class of ours.
                let value = (status.as_str() != "active").then(|| status.as_str().to_owned());
                mods.push(replace(&profile.status, value));
            }
            AccountChange::Quota(quota) => mods.push(replace(&profile.quota, quota.map(|quota| quota.to_string()))),
            AccountChange::Forward(forward) => {
                mods.push(replace(&profile.forward, forward.as_ref().map(|to| to.as_unquoted().to_owned())));
            }
            AccountChange::AddAddress(address) => {
                let attribute = profile.address.first().map_or("mail", String::as_str);
                mods.push(Mod::Add(attribute.to_owned(), HashSet::from([address.as_unquoted().to_owned()])));
            }
            AccountChange::RemoveAddress(address) => mods.extend(removals(profile, entry, address)),
            AccountChange::Password(_) => mods.push(replace(&profile.password, stored.next().flatten())),
        }
    }
    if needs_own_class(profile, &mods) && !has_class(entry, OWN_CLASS) {
        mods.insert(0, Mod::Add("objectClass".into(), HashSet::from([OWN_CLASS.to_owned()])));
    }
    mods
}

/// Removes an address from every attribute that holds it.
fn removals(profile: &Profile, entry: &SearchEntry, address: &Address) -> Vec<Mod<String>> {
    let held = |attribute: &String| {
        let values = values(entry, attribute);
        let value = values.iter().find(|value| Address::parse(value).is_ok_and(|held| held == *address))?;
        Some(Mod::Delete(attribute.clone(), HashSet::from([value.clone()])))
    };
    let found: Vec<_> = profile.address.iter().filter_map(held).collect();
    if !found.is_empty() {
        return found;
    }
    // The server will say that there is no such value.
    let attribute = profile.address.first().map_or("mail", String::as_str);
    vec![Mod::Delete(attribute.to_owned(), HashSet::from([address.as_unquoted().to_owned()]))]
}

fn needs_own_class(profile: &Profile, mods: &[Mod<String>]) -> bool {
    mods.iter().any(|change| match change {
        Mod::Add(name, values) | Mod::Replace(name, values) => {
            !values.is_empty() && is_own(name) && (*name == profile.status || *name == profile.quota)
        }
        Mod::Delete(..) | Mod::Increment(..) => false,
    })
}

/// Whether the attribute is of our own schema.
fn is_own(attribute: &str) -> bool {
    attribute.starts_with("laniakea")
}

fn has_class(entry: &SearchEntry, class: &str) -> bool {
    values(entry, "objectClass").iter().any(|value| value.eq_ignore_ascii_case(class))
}

fn values<'a>(entry: &'a SearchEntry, attribute: &str) -> &'a [String] {
    let found = entry.attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
    found.map_or(&[], |(_, values)| values.as_slice())
}

fn replace(attribute: &str, value: Option<String>) -> Mod<String> {
    Mod::Replace(attribute.to_owned(), value.into_iter().collect())
}

/// Attributes in the making: no attribute twice, none without a value.
struct List(Attributes);

impl List {
    fn add<'a>(&mut self, attribute: &str, values: impl IntoIterator<Item = &'a str>) {
        let mut values = values.into_iter().map(str::to_owned).peekable();
        if values.peek().is_none() || attribute.is_empty() {
            return;
        }
        match self.0.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(attribute)) {
            Some((_, known)) => known.extend(values),
            None => self.0.push((attribute.to_owned(), values.collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{name::LoginName, provision::NewPassword, record::Status};

    fn eve() -> NewAccount {
        NewAccount {
            login: LoginName::parse("eve+x,y@example.org").unwrap(),
            addresses: ["eve@example.org", "e@example.org"].map(|text| Address::parse(text).unwrap()).into(),
            name: "Eve Smith".into(),
            mail_host: "cluster-1".into(),
            password: NewPassword::Absent,
            forward: None,
            quota: None,
        }
    }

    fn get<'a>(attributes: &'a Attributes, name: &str) -> Vec<&'a str> {
        let found = attributes.iter().find(|(known, _)| known == name);
        let mut values: Vec<&str> =
            found.map(|(_, values)| values.iter().map(String::as_str).collect()).unwrap_or_default();
        values.sort_unstable();
        values
    }

    #[test]
    fn a_plain_account_needs_no_class_of_ours() {
        let profile = Profile::inet_local_mail_recipient();
        let plain = attributes(&profile, &eve(), Some("{X}y"));
        assert_eq!(get(&plain, "objectClass"), ["inetLocalMailRecipient", "inetOrgPerson"]);
        assert_eq!(get(&plain, "mailLocalAddress"), ["e@example.org", "eve@example.org"]);
        assert_eq!((get(&plain, "mail"), get(&plain, "sn")), (vec!["eve@example.org"], vec!["Smith"]));
        assert_eq!((get(&plain, "userPassword"), get(&plain, "laniakeaQuota")), (vec!["{X}y"], vec![]));
        let limited = attributes(&profile, &NewAccount { quota: Some(5), ..eve() }, None);
        assert!(get(&limited, "objectClass").contains(&"laniakeaAccount"));
        let name = dn(&profile, &Dn::parse("ou=accounts,dc=x").unwrap(), &eve()).to_string();
        assert_eq!(name, "uid=eve\\+x\\,y@example.org,ou=accounts,dc=x");
    }

    #[test]
    fn changes_become_modifications_and_bring_the_class_they_need() {
        let profile = Profile::inet_local_mail_recipient();
        let entry = SearchEntry {
            dn: "uid=eve".into(),
            attrs: [("objectclass", "inetOrgPerson"), ("MAIL", "Eve@example.org")]
                .map(|(name, value)| (name.into(), vec![value.into()]))
                .into(),
            bin_attrs: std::collections::HashMap::new(),
        };
        let mods = |changes: &[AccountChange]| modifications(&profile, &entry, changes, std::iter::empty());
        assert!(
            matches!(mods(&[AccountChange::Status(Status::Active)]).as_slice(), [Mod::Replace(_, none)] if none.is_empty())
        );
        let disabled = mods(&[AccountChange::Status(Status::Disabled)]);
        assert!(matches!(disabled.as_slice(), [Mod::Add(class, _), Mod::Replace(..)] if class == "objectClass"));
        let removed = mods(&[AccountChange::RemoveAddress(Address::parse("eve@EXAMPLE.org").unwrap())]);
        assert!(
            matches!(removed.as_slice(), [Mod::Delete(name, values)] if name == "mail" && values.contains("Eve@example.org"))
        );
    }
}
