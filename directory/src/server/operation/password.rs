//! Password Modify (RFC 3062).

use std::sync::Arc;

use ldap3_proto::{
    LdapResultCode as Code,
    proto::{
        LdapExtendedRequest, LdapExtendedResponse, LdapModifyType, LdapOp, LdapPasswordModifyRequest,
        LdapPasswordModifyResponse,
    },
};
use tokio::task::spawn_blocking;

use super::{Context, Identity, Response, extended_response, result};
use crate::{
    dn::Dn,
    id::AccountId,
    name::Secret,
    password::hash_password,
    server::{
        access::{PASSWORD_KEY, Rights},
        change::{Change, Edit},
        entry::Attribute,
        refusal::{Refusal, refuse, success},
    },
};

impl Context {
    pub(super) async fn set_password(self: &Arc<Self>, identity: &Identity, request: &LdapExtendedRequest) -> Response {
        let op = match self.replace_password(identity, request).await {
            Ok(None) => extended_response(success()),
            Ok(Some(generated)) => generated_response(generated),
            Err(refusal) => extended_response(result(Err(refusal))),
        };
        Response::Now(vec![op])
    }

    /// Returns the new password if the client left it to us.
    async fn replace_password(
        &self,
        identity: &Identity,
        request: &LdapExtendedRequest,
    ) -> Result<Option<String>, Refusal> {
        let Ok(request) = LdapPasswordModifyRequest::try_from(request) else {
            return refuse(Code::ProtocolError, "malformed password modify request");
        };
        let dn = self.whose(identity, request.user_identity.as_deref())?;
        identity.rights.check_password(&dn.path())?;
        if let Some(old) = request.old_password {
            self.check_old(&dn, old).await?;
        }
        let generated = request.new_password.is_none().then(generate);
        let Some(new) = request.new_password.or_else(|| generated.clone()).filter(|new| !new.is_empty()) else {
            return refuse(Code::ConstraintViolation, "an empty password");
        };
        self.store_password(identity, dn, new).await?;
        Ok(generated)
    }

    /// RFC 3062 §2: without a userIdentity, the one who has bound. It may be a name or `dn:` and a name.
    fn whose(&self, identity: &Identity, user: Option<&str>) -> Result<Dn, Refusal> {
        if identity.rights == Rights::Anonymous {
            return refuse(Code::InsufficentAccessRights, "bind first");
        }
        let user = user.unwrap_or(&identity.dn);
        self.below_base(user.strip_prefix("dn:").unwrap_or(user))
    }

    async fn check_old(&self, dn: &Dn, old: String) -> Result<(), Refusal> {
        let entry = self.store.reader()?.find(dn)?;
        let Some(entry) = entry else { return refuse(Code::NoSuchObject, "no such entry") };
        let stored: Vec<String> = entry.texts(PASSWORD_KEY).into_iter().map(str::to_owned).collect();
        match self.checker.check(AccountId(entry.uuid), &Secret::new(old.into_bytes()), &stored).await {
            Ok(true) => Ok(()),
            Ok(false) => refuse(Code::InvalidCredentials, "the old password is wrong"),
            Err(_) => refuse(Code::Busy, "too many password checks at once"),
        }
    }

    async fn store_password(&self, identity: &Identity, dn: Dn, new: String) -> Result<(), Refusal> {
        let scheme = self.new_passwords;
        let new = Secret::new(new.into_bytes());
        let hashed = spawn_blocking(move || hash_password(&new, scheme)).await.unwrap_or_default();
        let attribute = Attribute { name: "userPassword".into(), values: vec![hashed.into_bytes()] };
        let change = Change::Modify { dn, edits: vec![Edit { kind: LdapModifyType::Replace, attribute }] };
        let answered = self.store.write(change, identity.dn.clone()).await;
        match answered {
            Ok(answered) => answered.await.unwrap_or_else(|_| refuse(Code::Unavailable, "the writer has ended")),
            Err(gone) => refuse(Code::Unavailable, gone.to_string()),
        }
    }
}

fn generated_response(generated: String) -> LdapOp {
    let response = LdapPasswordModifyResponse { res: success(), gen_password: Some(generated) };
    LdapOp::ExtendedResponse(LdapExtendedResponse::from(response))
}

/// Makes a password of 16 letters and digits that are not mistaken for one another.
fn generate() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let random: [u8; 16] = rand::random();
    random.iter().filter_map(|byte| LETTERS.get(usize::from(byte % 32))).map(|byte| char::from(*byte)).collect()
}
