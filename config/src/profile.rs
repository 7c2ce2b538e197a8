//! The profiles that ship: how other mail systems name in their directories what we need to know of an account.

use crate::settings::Profile;

/// The profile called `name` in the file, if there is one.
#[must_use]
pub fn shipped(name: &str) -> Option<Profile> {
    let default = Profile::inet_local_mail_recipient();
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    match name {
        "inetLocalMailRecipient" => Some(default),
        "zimbra" => Some(Profile {
            object_class: "zimbraAccount".into(),
            login: list(&["uid", "zimbraMailDeliveryAddress", "zimbraMailAlias"]),
            address: list(&["zimbraMailDeliveryAddress", "zimbraMailAlias"]),
            mail_host: "zimbraMailHost".into(),
            forward: "zimbraMailForwardingAddress".into(),
            status: "zimbraAccountStatus".into(),
            quota: "zimbraMailQuota".into(),
            id: "zimbraId".into(),
            ..default
        }),
        "qmail-ldap" => Some(Profile {
            object_class: "qmailUser".into(),
            login: list(&["uid", "mail"]),
            address: list(&["mail", "mailAlternateAddress"]),
            forward: "mailForwardingAddress".into(),
            status: "accountStatus".into(),
            quota: "mailQuotaSize".into(),
            ..default
        }),
        "courier" => Some(Profile {
            object_class: "CourierMailAccount".into(),
            login: list(&["uid", "mail"]),
            address: list(&["mail"]),
            mail_host: "mailhost".into(),
            quota: "quota".into(),
            ..default
        }),
        "perdition" => Some(Profile {
            object_class: "perditionPopmap".into(),
            login: list(&["username"]),
            address: list(&["username"]),
            mail_host: "mailhost".into(),
            ..default
        }),
        "communigate" => Some(Profile {
            object_class: "CommuniGateAccount".into(),
            login: list(&["uid", "mail"]),
            address: list(&["mail"]),
            mail_host: "hostServer".into(),
            ..default
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::PROFILES;

    #[test]
    fn every_profile_that_may_be_named_ships() {
        for name in PROFILES {
            assert!(shipped(name).is_some(), "{name}");
        }
        assert!(shipped("other").is_none());
    }
}
