//! One request in, its answers out. Knows no socket: a connection tells who has bound and passes messages.

mod bind;
mod password;
mod search;
mod write;

use std::{sync::Arc, time::Duration};

use laniakea_config::PasswordScheme;
use ldap3_proto::{
    LdapMsg, LdapResultCode as Code,
    control::LdapControl,
    proto::{LdapCompareRequest, LdapExtendedRequest, LdapExtendedResponse, LdapOp, LdapResult},
};
use tokio::sync::oneshot;

use super::{
    access::Rights,
    entry::holds,
    refusal::{Refusal, refuse, success},
    root, schema,
    store::Store,
};
use crate::{dn::Dn, name::Secret, password::Checker};

pub(super) use search::Task;

/// The longest any search runs.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(3600);
/// Entries of one search for those who are not the administrator.
const SEARCH_ENTRIES_MAX: usize = 1000;

/// What every connection shares.
pub(super) struct Context {
    pub(super) store: Store,
    pub(super) checker: Checker,
    pub(super) base: Dn,
    pub(super) admin: Dn,
    pub(super) admin_password: Secret,
    /// How passwords are stored that come in plain text.
    pub(super) new_passwords: PasswordScheme,
    /// Whether StartTLS is offered.
    pub(super) start_tls: bool,
}

/// Who a connection has proved to be.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) rights: Rights,
    /// The name that was bound; empty for nobody.
    pub(super) dn: String,
}

impl Identity {
    pub(super) fn anonymous() -> Self {
        Self { rights: Rights::Anonymous, dn: String::new() }
    }
}

/// What the connection has to do with a request.
pub(super) enum Response {
    /// Send these now.
    Now(Vec<LdapOp>),
    /// Send the answer made of this when it comes; meanwhile go on.
    Later(oneshot::Receiver<Result<(), Refusal>>, fn(LdapResult) -> LdapOp),
    /// Run this search on a thread that may block, and send what it finds.
    Search(Box<Task>),
    /// From now on it is somebody else; send this.
    Bound(Identity, LdapOp),
    /// Send this, then begin TLS.
    StartTls(LdapOp),
    /// Nothing to send.
    Nothing,
    /// Let the connection go.
    Close,
}

impl Context {
    /// Carries out one request.
    pub(super) async fn perform(self: &Arc<Self>, identity: &Identity, message: LdapMsg) -> Response {
        if let Some(oid) = unknown_critical_control(&message) {
            let refusal = refuse::<()>(Code::UnavailableCriticalExtension, format!("control {oid}"));
            return Response::Now(answer_like(&message.op, result(refusal)).into_iter().collect());
        }
        match message.op {
            LdapOp::BindRequest(request) => self.bind(request).await,
            LdapOp::UnbindRequest => Response::Close,
            LdapOp::SearchRequest(request) => self.search(identity, request, &message.ctrl),
            LdapOp::AddRequest(request) => self.add(identity, request).await,
            LdapOp::DelRequest(dn) => self.delete(identity, &dn).await,
            LdapOp::ModifyRequest(request) => self.modify(identity, request).await,
            LdapOp::ModifyDNRequest(request) => self.rename(identity, request).await,
            LdapOp::CompareRequest(request) => {
                Response::Now(vec![LdapOp::CompareResult(result_of_compare(self.compare(identity, &request)))])
            }
            LdapOp::ExtendedRequest(request) => self.extended(identity, &request).await,
            // The connection has ended what there was to end.
            LdapOp::AbandonRequest(_) => Response::Nothing,
            // A response sent to a server: RFC 4511 §4.1.1 wants the session ended.
            _ => Response::Close,
        }
    }

    async fn extended(self: &Arc<Self>, identity: &Identity, request: &LdapExtendedRequest) -> Response {
        match request.name.as_str() {
            root::OID_WHO_AM_I => Response::Now(vec![who_am_i(identity)]),
            root::OID_PASSWORD_MODIFY => self.set_password(identity, request).await,
            root::OID_START_TLS if self.start_tls => Response::StartTls(extended_response(success())),
            _ => Response::Now(vec![extended_response(result(refuse(Code::ProtocolError, "unknown operation")))]),
        }
    }

    /// RFC 4511 §4.10.
    fn compare(&self, identity: &Identity, request: &LdapCompareRequest) -> Result<bool, Refusal> {
        identity.rights.check_search()?;
        let key = schema::key(&request.atype);
        let entry = self.store.reader()?.find(&Dn::parse(&request.dn)?)?;
        let Some(entry) = entry.filter(|entry| identity.rights.may_see(entry)) else {
            return refuse(Code::NoSuchObject, "no such entry");
        };
        if !identity.rights.may_read(&entry, &key) {
            return refuse(Code::InsufficentAccessRights, "not for you");
        }
        let values = entry.values(&key);
        if values.is_empty() {
            return refuse(Code::NoSuchAttribute, "no such attribute");
        }
        Ok(holds(&key, &values, &request.val))
    }
}

/// RFC 4532 §2.2.
fn who_am_i(identity: &Identity) -> LdapOp {
    let name = if identity.dn.is_empty() { String::new() } else { format!("dn:{}", identity.dn) };
    LdapOp::ExtendedResponse(LdapExtendedResponse { res: success(), name: None, value: Some(name.into_bytes()) })
}

fn extended_response(res: LdapResult) -> LdapOp {
    LdapOp::ExtendedResponse(LdapExtendedResponse { res, name: None, value: None })
}

pub(super) fn result(outcome: Result<(), Refusal>) -> LdapResult {
    match outcome {
        Ok(()) => success(),
        Err(refusal) => refusal.into(),
    }
}

fn result_of_compare(outcome: Result<bool, Refusal>) -> LdapResult {
    match outcome {
        Ok(true) => LdapResult { code: Code::CompareTrue, ..success() },
        Ok(false) => LdapResult { code: Code::CompareFalse, ..success() },
        Err(refusal) => refusal.into(),
    }
}

/// RFC 4511 §4.1.11: a critical control we do not know forbids the operation; unbind and abandon have no answer.
fn unknown_critical_control(message: &LdapMsg) -> Option<String> {
    message.ctrl.iter().find_map(|control| match control {
        LdapControl::Unknown { oid, criticality: true, .. } => Some(oid.clone()),
        LdapControl::SyncRequest { criticality: true, .. }
        | LdapControl::SearchOptions { criticality: true, .. }
        | LdapControl::ShowDeleted { criticality: true }
        | LdapControl::SdFlags { criticality: true, .. }
        | LdapControl::ExtendedDn { criticality: true, .. } => Some("not supported".into()),
        _ => None,
    })
}

/// Makes the answer that fits the request; some have none.
pub(super) fn answer_like(request: &LdapOp, res: LdapResult) -> Option<LdapOp> {
    Some(match request {
        LdapOp::BindRequest(_) => LdapOp::BindResponse(ldap3_proto::proto::LdapBindResponse { res, saslcreds: None }),
        LdapOp::SearchRequest(_) => LdapOp::SearchResultDone(res),
        LdapOp::AddRequest(_) => LdapOp::AddResponse(res),
        LdapOp::DelRequest(_) => LdapOp::DelResponse(res),
        LdapOp::ModifyRequest(_) => LdapOp::ModifyResponse(res),
        LdapOp::ModifyDNRequest(_) => LdapOp::ModifyDNResponse(res),
        LdapOp::CompareRequest(_) => LdapOp::CompareResult(res),
        LdapOp::ExtendedRequest(_) => extended_response(res),
        _ => return None,
    })
}
