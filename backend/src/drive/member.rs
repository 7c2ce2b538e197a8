//! What all connections of a member share, and how one of them comes to its account.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use laniakea_config::Limits;
use laniakea_directory::{AccountRecord, ClusterName, Directory, Status};
use laniakea_router::{
    drive::{ServerTls, listener::Gate, routes::Routes},
    handoff::{Moved, TICKET_LIFETIME, Ticket, TicketKey},
    session::{Fault, LoginRequest},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    drive::{
        clock,
        registry::{Access, AccessError, Owner, Registry},
    },
    mailbox::Account,
};

/// What all connections of a member share.
pub struct Member {
    /// Its name.
    pub name: String,
    /// The cluster it belongs to.
    pub cluster_name: ClusterName,
    /// The name that greetings carry.
    pub domain: String,
    /// Accounts and clusters.
    pub directory: Directory,
    /// Ways to other members, for what lives elsewhere.
    pub routes: Routes,
    /// What is owned here.
    pub registry: Registry,
    /// Certificates.
    pub tls: ServerTls,
    /// Seals tickets for fellow members.
    pub ticket_key: TicketKey,
    /// Bounds on what one client may ask.
    pub limits: Limits,
    /// Counts connections.
    pub gate: Arc<Gate>,
    /// Cancelled when sessions are to end.
    pub shutdown: CancellationToken,
    /// The tasks of connections.
    pub tasks: TaskTracker,
    /// Logged-in sessions.
    pub sessions: AtomicUsize,
}

/// Where a client that proved who it is goes on.
pub enum Place {
    /// Here.
    Here(Arc<AccountRecord>, crate::drive::owned::Pass<Account>),
    /// At a fellow member.
    Fellow(Arc<AccountRecord>, Owner),
    /// In another cluster, or at a foreign server.
    OtherHome(Arc<AccountRecord>),
}

impl Member {
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
        let found = self.directory.account_by_login(&request.login).await.map_err(|error| {
            tracing::warn!(%error, "a login could not be looked up");
            Fault::Unavailable
        })?;
        let Some(account) = found else {
            self.directory.verify_nobody(&request.secret).await;
            return Err(Fault::BadCredentials);
        };
        let proven = self.directory.verify(&account, &request.secret).await.map_err(|_| Fault::Unavailable)?;
        // Acting for somebody else is not offered: the authorization identity is the login name or empty (RFC 4616 §2).
        let acts_for_itself = request.authzid.as_ref().is_none_or(|id| id.eq_ignore_ascii_case(request.login.as_str()));
        if !proven || !acts_for_itself {
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
    pub async fn place(&self, account: Arc<AccountRecord>) -> Result<Place, Fault> {
        if account.mail_host != self.cluster_name.as_str() {
            return Ok(Place::OtherHome(account));
        }
        match self.registry.account(account.id, account.quota).await {
            Ok(Access::Here(pass)) => Ok(Place::Here(account, pass)),
            Ok(Access::Elsewhere(owner)) => Ok(Place::Fellow(account, owner)),
            Err(error) => {
                log_refusal(&account, &error);
                Err(Fault::Unavailable)
            }
        }
    }

    /// Sends a connection on to the owner of its account, with proof of the login.
    ///
    /// # Errors
    /// The fault to be told, if the proof cannot be made.
    pub fn moved(&self, account: &AccountRecord, owner: &Owner) -> Result<Moved, Fault> {
        let ticket = Ticket {
            account: account.id,
            login: account.login.clone(),
            expires_unix_ms: clock::unix_ms().saturating_add(u64::try_from(TICKET_LIFETIME.as_millis()).unwrap_or(u64::MAX)),
            state: Vec::new(),
        };
        let ticket = self.ticket_key.seal(&ticket).map_err(|_| Fault::Internal)?;
        Ok(Moved { owner: owner.handoff, ticket })
    }
}

fn log_refusal(account: &AccountRecord, error: &AccessError) {
    tracing::warn!(account = %account.id, login = %account.login, %error, "an account could not be opened");
}
