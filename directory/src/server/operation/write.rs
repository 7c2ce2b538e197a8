//! Add, delete, modify, rename (RFC 4511 §4.6 to §4.9).

use std::sync::Arc;

use laniakea_config::PasswordScheme;
use ldap3_proto::{
    LdapResultCode as Code,
    proto::{LdapAddRequest, LdapModifyDNRequest, LdapModifyRequest, LdapOp, LdapResult},
};
use tokio::task::spawn_blocking;

use super::{Context, Identity, Response, result};
use crate::{
    dn::{Dn, Rdn},
    name::Secret,
    password::hash_password,
    server::{
        access::PASSWORD_KEY,
        change::{Change, Edit, plain_passwords},
        entry::Attribute,
        refusal::{Refusal, refuse},
        schema,
    },
};
use ldap3_proto::proto::LdapModifyType;

type Answer = fn(LdapResult) -> LdapOp;

impl Context {
    pub(super) async fn add(self: &Arc<Self>, identity: &Identity, request: LdapAddRequest) -> Response {
        let change = self.check_add(identity, request).await;
        self.submit(identity, change, LdapOp::AddResponse).await
    }

    pub(super) async fn delete(self: &Arc<Self>, identity: &Identity, dn: &str) -> Response {
        let change = identity.rights.check_write().and_then(|()| Ok(Change::Delete { dn: self.below_base(dn)? }));
        self.submit(identity, change, LdapOp::DelResponse).await
    }

    pub(super) async fn modify(self: &Arc<Self>, identity: &Identity, request: LdapModifyRequest) -> Response {
        let change = self.check_modify(identity, request).await;
        self.submit(identity, change, LdapOp::ModifyResponse).await
    }

    pub(super) async fn rename(self: &Arc<Self>, identity: &Identity, request: LdapModifyDNRequest) -> Response {
        let change = self.check_rename(identity, &request);
        self.submit(identity, change, LdapOp::ModifyDNResponse).await
    }

    async fn submit(&self, identity: &Identity, change: Result<Change, Refusal>, answer: Answer) -> Response {
        let change = match change {
            Ok(change) => change,
            Err(refusal) => return Response::Now(vec![answer(refusal.into())]),
        };
        match self.store.write(change, identity.dn.clone()).await {
            Ok(answered) => Response::Later(answered, answer),
            Err(gone) => Response::Now(vec![answer(result(refuse(Code::Unavailable, gone.to_string())))]),
        }
    }

    async fn check_add(&self, identity: &Identity, request: LdapAddRequest) -> Result<Change, Refusal> {
        identity.rights.check_write()?;
        let dn = self.below_base(&request.dn)?;
        let mut attributes: Vec<Attribute> = request
            .attributes
            .into_iter()
            .map(|attribute| Attribute { name: attribute.atype, values: attribute.vals })
            .collect();
        hash_plain(&mut attributes, self.new_passwords).await;
        Ok(Change::Add { dn, attributes })
    }

    async fn check_modify(&self, identity: &Identity, request: LdapModifyRequest) -> Result<Change, Refusal> {
        let dn = self.below_base(&request.dn)?;
        let mut edits: Vec<Edit> = request.changes.into_iter().map(Edit::from).collect();
        // An entry may change its own password, and nothing else.
        let is_password = |edit: &Edit| schema::key(&edit.attribute.name) == PASSWORD_KEY;
        if !edits.is_empty() && edits.iter().all(|e| is_password(e) && e.kind == LdapModifyType::Replace) {
            identity.rights.check_password(&dn.path())?;
        } else {
            identity.rights.check_write()?;
        }
        for edit in edits.iter_mut().filter(|edit| edit.kind != LdapModifyType::Delete) {
            hash_plain(std::slice::from_mut(&mut edit.attribute), self.new_passwords).await;
        }
        Ok(Change::Modify { dn, edits })
    }

    fn check_rename(&self, identity: &Identity, request: &LdapModifyDNRequest) -> Result<Change, Refusal> {
        identity.rights.check_write()?;
        let dn = self.below_base(&request.dn)?;
        let rdn = Rdn::parse(&request.newrdn)?;
        let superior = request.new_superior.as_deref().map(|superior| self.below_base(superior)).transpose()?;
        if dn.path() == self.base.path() {
            return refuse(Code::UnwillingToPerform, "the base keeps its name");
        }
        Ok(Change::Rename { dn, rdn, delete_old: request.deleteoldrdn, superior })
    }

    /// Reads a name and refuses one that is not ours.
    pub(super) fn below_base(&self, dn: &str) -> Result<Dn, Refusal> {
        let dn = Dn::parse(dn)?;
        if dn.path().starts_with(&self.base.path()) {
            return Ok(dn);
        }
        refuse(Code::NoSuchObject, format!("not below {}", self.base))
    }
}

/// Hashes passwords that came in plain text: none is ever stored so unless it says `{CLEARTEXT}`.
async fn hash_plain(attributes: &mut [Attribute], scheme: PasswordScheme) {
    for value in plain_passwords(attributes) {
        let plain = Secret::new(std::mem::take(value));
        let hashed = spawn_blocking(move || hash_password(&plain, scheme)).await;
        *value = hashed.unwrap_or_default().into_bytes();
    }
}
