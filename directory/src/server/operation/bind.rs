//! Bind (RFC 4511 §4.2, RFC 4513 §5.1).

use std::sync::Arc;

use ldap3_proto::{
    LdapResultCode as Code,
    proto::{LdapBindCred, LdapBindRequest, LdapBindResponse, LdapOp},
};

use super::{Context, Identity, Response, result};
use crate::{
    dn::Dn,
    id::AccountId,
    name::Secret,
    server::{
        access::{PASSWORD_KEY, Rights},
        refusal::{Refusal, refuse},
    },
};

impl Context {
    pub(super) async fn bind(self: &Arc<Self>, request: LdapBindRequest) -> Response {
        let outcome = self.authenticate(request).await;
        // RFC 4513 §4: a failed bind leaves nobody bound.
        let identity = outcome.as_ref().ok().cloned().unwrap_or_else(Identity::anonymous);
        let res = result(outcome.map(|_| ()));
        Response::Bound(identity, LdapOp::BindResponse(LdapBindResponse { res, saslcreds: None }))
    }

    async fn authenticate(&self, request: LdapBindRequest) -> Result<Identity, Refusal> {
        if request.version != 3 {
            return refuse(Code::ProtocolError, "only LDAP version 3");
        }
        let LdapBindCred::Simple(password) = request.cred else {
            return refuse(Code::AuthMethodNotSupported, "only simple binds");
        };
        let dn = Dn::parse(&request.dn)?;
        let password = Secret::new(password.into_bytes());
        match (dn.is_root(), password.is_empty()) {
            (true, true) => Ok(Identity::anonymous()),
            // RFC 4513 §5.1.2: a name without a password proves nothing; clients that mean it are mistaken.
            (false, true) => refuse(Code::UnwillingToPerform, "a name without a password"),
            (true, false) => refuse(Code::InvalidCredentials, ""),
            (false, false) if dn.path() == self.admin.path() => self.authenticate_admin(&password),
            (false, false) => self.authenticate_entry(&dn, &password).await,
        }
    }

    fn authenticate_admin(&self, password: &Secret) -> Result<Identity, Refusal> {
        if *password == self.admin_password {
            return Ok(Identity { rights: Rights::Admin, dn: self.admin.to_string() });
        }
        tracing::warn!("somebody tried to bind as the directory's administrator");
        refuse(Code::InvalidCredentials, "")
    }

    async fn authenticate_entry(&self, dn: &Dn, password: &Secret) -> Result<Identity, Refusal> {
        let entry = self.store.reader()?.find(dn)?;
        let Some(entry) = entry.filter(|entry| entry.has(PASSWORD_KEY)) else {
            self.checker.check_nobody(password).await;
            return refuse(Code::InvalidCredentials, "");
        };
        let stored: Vec<String> = entry.texts(PASSWORD_KEY).into_iter().map(str::to_owned).collect();
        match self.checker.check(AccountId(entry.uuid), password, &stored).await {
            Ok(true) => Ok(Identity { rights: Rights::Own(dn.path()), dn: entry.dn }),
            Ok(false) => refuse(Code::InvalidCredentials, ""),
            Err(_) => refuse(Code::Busy, "too many password checks at once"),
        }
    }
}
