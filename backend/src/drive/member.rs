//! What all connections of a member share, and how one of them comes to its account.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use laniakea_directory::{AccountRecord, ClusterName, Status};
use laniakea_router::{
    drive::RouterContext,
    handoff::{Moved, TICKET_LIFETIME, Ticket, TicketKey},
    session::{Fault, LoginRequest},
};

use crate::{
    drive::{
        admission::Urgency,
        clock,
        owned::Pass,
        registry::{Access, AccessError, Owner, Registry},
    },
    mailbox::Account,
};

/// What all connections of a member share.
pub struct Member {
    /// What a member has in common with a router: directory, ways to other members, certificates, limits.
    pub front: Arc<RouterContext>,
    /// The cluster it belongs to.
    pub cluster_name: ClusterName,
    /// What is owned here.
    pub registry: Registry,
    /// Seals tickets for fellow members, and opens theirs.
    pub ticket_key: TicketKey,
    /// Logged-in sessions.
    pub sessions: AtomicUsize,
}

/// Where a client that proved who it is goes on.
pub enum Place {
    /// Here.
    Here(Pass<Account>),
    /// At the fellow member that owns the account.
    Fellow(Owner),
    /// In another cluster, or at a foreign server.
    OtherHome,
}

/// One logged-in session, as long as it lives.
pub struct Counted<'a>(&'a Member);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let left = self.0.sessions.fetch_sub(1, Ordering::Relaxed).saturating_sub(1);
        metrics::gauge!("laniakea_member_sessions").set(left as f64);
    }
}

impl Member {
    /// Counts a session until the value is dropped.
    #[must_use]
    pub fn count_session(&self) -> Counted<'_> {
        let now = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::gauge!("laniakea_member_sessions").set(now as f64);
        Counted(self)
    }

    /// Logged-in sessions now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Checks who wants to log in. An unknown account takes as long as a wrong password.
    ///
    /// # Errors
    /// The fault to be told.
    pub async fn authenticate(&self, request: &LoginRequest) -> Result<Arc<AccountRecord>, Fault> {
        let directory = &self.front.directory;
        let found = directory.account_by_login(&request.login).await.map_err(|error| {
            tracing::warn!(login = %request.login, %error, "a login waits for the directory");
            Fault::Unavailable
        })?;
        let Some(account) = found else {
            directory.verify_nobody(&request.secret).await;
            return Err(Fault::BadCredentials);
        };
        let proven = directory.verify(&account, &request.secret).await.map_err(|error| {
            tracing::warn!(login = %request.login, %error, "a password waits for the directory");
            Fault::Unavailable
        })?;
        // Acting for somebody else is not offered: the authorization identity is the login name or empty (RFC 4616 §2).
        let is_itself =
            request.authzid.as_ref().is_none_or(|id| id.is_empty() || id.eq_ignore_ascii_case(request.login.as_str()));
        if !proven || !is_itself {
            return Err(Fault::BadCredentials);
        }
        match &account.status {
            Status::Active => Ok(account),
            Status::NoLogin | Status::Disabled => Err(Fault::Disabled),
            Status::Maintenance => Err(Fault::Maintenance),
            Status::Unrecognised(_) => Err(Fault::Unavailable),
        }
    }

    /// Finds where an account is open, or opens it here.
    ///
    /// # Errors
    /// The fault to be told.
    pub async fn place(&self, account: &AccountRecord) -> Result<Place, Fault> {
        if account.mail_host != self.cluster_name.as_str() {
            return Ok(Place::OtherHome);
        }
        match self.registry.account(account.id, account.quota, Urgency::Awaited).await {
            Ok(Access::Here(pass)) => Ok(Place::Here(pass)),
            Ok(Access::Elsewhere(owner)) => Ok(Place::Fellow(owner)),
            // Told once, when it was found.
            Err(AccessError::Quarantined) => Err(Fault::Damaged),
            Err(error) => {
                tracing::warn!(account = %account.id, login = %account.login, %error, "an account could not be opened");
                Err(Fault::Unavailable)
            }
        }
    }

    /// Sends a connection on to the owner of its account, with proof of the login.
    ///
    /// # Errors
    /// The fault to be told, if the proof cannot be made.
    pub fn moved(&self, account: &AccountRecord, owner: &Owner) -> Result<Moved, Fault> {
        let lifetime = u64::try_from(TICKET_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        let ticket = Ticket {
            account: account.id,
            login: account.login.clone(),
            expires_unix_ms: clock::unix_ms().saturating_add(lifetime),
            state: Vec::new(),
        };
        let ticket = self.ticket_key.seal(&ticket).map_err(|error| {
            tracing::error!(%error, "a ticket could not be sealed");
            Fault::Internal
        })?;
        Ok(Moved { owner: owner.handoff, ticket })
    }
}
