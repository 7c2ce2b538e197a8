//! The member's side of the admin API: what it and its cluster are doing, as JSON.

use std::{pin::Pin, sync::Arc};

use hyper::{Method, StatusCode};
use laniakea_directory::{AccountId, MemberName};
use laniakea_router::observe::{AdminRequest, AdminResponse, AdminRoutes};
use serde_json::{Value, json};

use crate::{
    cluster::OwnableId,
    drive::{
        arbiter::{RaiseError, raise_volume_level},
        member::Member,
        quarantine::Quarantined,
        registry::AccessError,
    },
    store::FEATURE_LEVEL,
};

/// Answers for one member, and through the controller for its cluster.
pub struct MemberAdmin {
    /// The member.
    pub member: Arc<Member>,
    /// The members of its cluster, as configured.
    pub names: Vec<String>,
}

impl AdminRoutes for MemberAdmin {
    fn handle(&self, request: AdminRequest) -> Pin<Box<dyn Future<Output = AdminResponse> + Send + '_>> {
        Box::pin(async move {
            let path: Vec<&str> = request.path.split('/').collect();
            match (&request.method, path.as_slice()) {
                (&Method::GET, ["status"]) => AdminResponse::ok(self.status()),
                (&Method::GET, ["quarantine"]) => AdminResponse::ok(self.quarantine()),
                (&Method::DELETE, ["quarantine", id]) => self.release(id).await,
                (&Method::GET, ["owners"]) => self.owners().await,
                (&Method::GET, ["ownable", id]) => match id.parse::<AccountId>() {
                    Ok(id) => self.ownable(id).await,
                    Err(_) => AdminResponse::error(StatusCode::BAD_REQUEST, "an account id is a UUID"),
                },
                (&Method::PUT, ["drain", name]) if !self.names.iter().any(|known| known == name) => {
                    let known = self.names.join(", ");
                    AdminResponse::error(StatusCode::NOT_FOUND, &format!("no member `{name}`; there is {known}"))
                }
                (&Method::PUT, ["drain", name]) => self.drain(name, true).await,
                (&Method::PUT, ["level", level]) => self.raise(level).await,
                // Also of one that is not configured any more.
                (&Method::DELETE, ["drain", name]) => self.drain(name, false).await,
                _ => AdminResponse::error(StatusCode::NOT_FOUND, "no such resource; see /admin/v1/status"),
            }
        })
    }
}

impl MemberAdmin {
    fn status(&self) -> Value {
        let member = &self.member;
        let view = member.registry.cluster().view();
        let queued: usize = member.registry.open_shards().iter().map(|shard| shard.state().len()).sum();
        json!({
            "member": view.member.as_str(),
            "cluster": member.cluster_name.as_str(),
            "incarnation": view.incarnation,
            "term": view.term,
            "controller": view.controller.as_ref().map(|name| name.as_str()),
            "registered": view.registered,
            "drained": view.roster.drained.iter().map(MemberName::as_str).collect::<Vec<_>>(),
            "takes": view.is_taker(),
            "members": view.members.iter().map(|one| json!({
                "name": one.name.as_str(),
                "alive": true,
                "incarnation": one.incarnation,
                "handoff": one.handoff,
            })).collect::<Vec<_>>(),
            "owned": member.registry.accounts_open(),
            "shards": member.registry.open_shards().len(),
            "sessions": member.sessions(),
            "queue": queued,
            "storage": {
                "free": member.registry.storage().free(),
                "full": member.registry.storage().is_full(),
            },
            "level": { "volume": member.registry.storage().level(), "known": FEATURE_LEVEL },
            "quarantine": self.quarantine(),
        })
    }

    /// What this member found damaged.
    fn quarantine(&self) -> Value {
        let quarantined = self.member.registry.quarantined();
        let tell = |one: &Quarantined| json!({ "ownable": one.id.to_string(), "path": one.id.path(), "damage": one.damage, "since": one.since });
        quarantined.iter().map(tell).collect()
    }

    /// Opens it, to find out whether it is whole now.
    async fn release(&self, id: &str) -> AdminResponse {
        let account = id.parse().map(OwnableId::Account);
        let Ok(id) = account.or_else(|_| u8::from_str_radix(id, 16).map(OwnableId::Queue)) else {
            return AdminResponse::error(StatusCode::BAD_REQUEST, "an account id is a UUID, a queue shard two digits");
        };
        match self.member.registry.try_quarantined(id).await {
            Ok(()) => {
                tracing::info!(ownable = %id, "released from quarantine: it is whole");
                AdminResponse::ok(json!({ "released": true }))
            }
            Err(AccessError::Quarantined) => {
                let all = self.member.registry.quarantined();
                let damage = all.into_iter().find(|one| one.id == id).map(|one| one.damage);
                AdminResponse::ok(json!({ "released": false, "damage": damage.unwrap_or_default() }))
            }
            Err(error) => AdminResponse::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    /// Raises the feature level of the volume.
    async fn raise(&self, level: &str) -> AdminResponse {
        let Ok(level) = level.parse::<u16>() else {
            return AdminResponse::error(StatusCode::BAD_REQUEST, "a feature level is a number");
        };
        let storage = self.member.registry.storage().path().to_owned();
        match tokio::task::spawn_blocking(move || raise_volume_level(&storage, level)).await {
            Ok(Ok(())) => {
                tracing::info!(level, "the feature level of the volume was raised");
                AdminResponse::ok(json!({ "level": level }))
            }
            Ok(Err(error @ RaiseError::Unknown { .. })) => {
                AdminResponse::error(StatusCode::CONFLICT, &error.to_string())
            }
            Ok(Err(RaiseError::Io(error))) => {
                AdminResponse::error(StatusCode::SERVICE_UNAVAILABLE, &format!("the storage failed: {error}"))
            }
            Err(_) => AdminResponse::error(StatusCode::SERVICE_UNAVAILABLE, "this member is stopping"),
        }
    }

    /// Has the controller drain a member, or end that, and tells who is drained then.
    async fn drain(&self, name: &str, on: bool) -> AdminResponse {
        match self.member.registry.cluster().drain(&MemberName::new(name), on).await {
            Ok(drained) => {
                tracing::info!(member = name, on, "drain");
                AdminResponse::ok(json!({ "drained": drained.iter().map(MemberName::as_str).collect::<Vec<_>>() }))
            }
            Err(error) => AdminResponse::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    async fn owners(&self) -> AdminResponse {
        match self.member.registry.cluster().owners().await {
            Ok(owners) => AdminResponse::ok(
                owners
                    .iter()
                    .map(|(id, member, epoch)| json!({ "ownable": id.to_string(), "owner": member.as_str(), "epoch": epoch.to_string() }))
                    .collect(),
            ),
            Err(error) => AdminResponse::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    /// Who owns an account, as the controller knows it, and how busy it is if that is here.
    async fn ownable(&self, id: AccountId) -> AdminResponse {
        let owners = match self.member.registry.cluster().owners().await {
            Ok(owners) => owners,
            Err(error) => return AdminResponse::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        };
        let view = self.member.registry.cluster().view();
        let owner = owners.iter().find(|(what, ..)| *what == OwnableId::Account(id));
        let here = self.member.registry.open_account(id);
        AdminResponse::ok(json!({
            "account": id.to_string(),
            "controller": view.controller.as_ref().map(|name| name.as_str()),
            "owner": owner.map(|(_, member, _)| member.as_str()),
            "epoch": owner.map(|(.., epoch)| epoch.to_string()),
            "sessions": here.as_ref().map(crate::drive::owned::Owned::passes),
            "messages": here.as_ref().map(|owned| owned.state().usage().messages),
        }))
    }
}
