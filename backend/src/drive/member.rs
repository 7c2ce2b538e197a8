//! What all connections of a member share, and how one of them comes to its account.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use arc_swap::ArcSwapOption;
use laniakea_config::Mechanism;
use laniakea_directory::{AccountRecord, ClusterName, LoginName, Secret, Status};
use laniakea_router::{
    drive::{RouterContext, prelogin::Prover},
    handoff::{Moved, TICKET_LIFETIME, Ticket, TicketKey},
    session::{Fault, LoginRequest},
    wire::{
        bearer::Bearer,
        sasl::{Malformed, Proof},
        scram::ClientFirst,
    },
};

use crate::{
    drive::{
        admission::Urgency,
        clock,
        owned::Pass,
        registry::{Access, AccessError, Owner, Registry},
    },
    mailbox::Account,
    proof::{ScramServer, Tokens},
};

/// What salts for accounts without SCRAM keys are made up from.
const SALTS: &[u8] = b"laniakea scram salts\x01";

/// RFC 7628 §3.2.2; the same for every token that does not count.
const TOKEN_REFUSED: &[u8] = br#"{"status":"invalid_token"}"#;

/// What all connections of a member share.
pub struct Member {
    /// What a member has in common with a router: directory, ways to other members, certificates, limits.
    pub front: Arc<RouterContext>,
    /// The cluster it belongs to.
    pub cluster_name: ClusterName,
    /// What is owned here.
    pub registry: Registry,
    /// Which tokens of an identity provider count, if any do.
    pub tokens: ArcSwapOption<Tokens>,
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
    pub async fn authenticate(
        &self,
        request: &LoginRequest,
        prover: &mut impl Prover,
    ) -> Result<Arc<AccountRecord>, Fault> {
        let found = self.find(&request.login).await?;
        let proven = match &request.proof {
            Proof::Password(secret) => self.verify(found.as_deref(), &request.login, secret).await?,
            Proof::Exchange { mechanism: Mechanism::ScramSha256, message } => {
                self.prove_by_scram(found.as_deref(), &request.login, message, prover).await?
            }
            Proof::Exchange { mechanism, message } => {
                self.prove_by_token(found.as_deref(), *mechanism, message, prover).await
            }
        };
        let account = found.ok_or(Fault::BadCredentials)?;
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

    /// Whether there is such an account and another cluster, or a server of another kind, has it.
    ///
    /// # Errors
    /// The fault to be told.
    pub async fn lives_elsewhere(&self, login: &LoginName) -> Result<bool, Fault> {
        Ok(self.find(login).await?.is_some_and(|account| account.mail_host != self.cluster_name.as_str()))
    }

    async fn find(&self, login: &LoginName) -> Result<Option<Arc<AccountRecord>>, Fault> {
        self.front.directory.account_by_login(login).await.map_err(|error| {
            tracing::warn!(%login, %error, "a login waits for the directory");
            Fault::Unavailable
        })
    }

    async fn verify(&self, account: Option<&AccountRecord>, login: &LoginName, secret: &Secret) -> Result<bool, Fault> {
        let directory = &self.front.directory;
        let Some(account) = account else {
            directory.verify_nobody(secret).await;
            return Ok(false);
        };
        directory.verify(account, secret).await.map_err(|error| {
            tracing::warn!(%login, %error, "a password waits for the directory");
            Fault::Unavailable
        })
    }

    /// Whoever has no keys, or is nobody, is asked the same things and refused for the same reason.
    async fn prove_by_scram(
        &self,
        account: Option<&AccountRecord>,
        login: &LoginName,
        message: &Secret,
        prover: &mut impl Prover,
    ) -> Result<bool, Fault> {
        let Ok(first) = ClientFirst::parse(message.expose()) else { return Ok(false) };
        // The same at every member, whoever is asked.
        let secret = self.ticket_key.derive(SALTS);
        let keys = self.front.directory.scram_keys(account, login, &secret).await.map_err(|error| {
            tracing::warn!(%login, %error, "the keys of a password wait for the directory");
            Fault::Unavailable
        })?;
        let (server, challenge) = ScramServer::begin(&first, keys, &format!("{:032x}", rand::random::<u128>()));
        let answer = prover.ask(challenge.as_bytes()).await.ok_or(Fault::Abandoned)?;
        let Some(ours) = server.finish(answer.expose()) else { return Ok(false) };
        // The client has the last word, and nothing more to say (RFC 5802 §5).
        prover.ask(ours.as_bytes()).await.map(|_| true).ok_or(Fault::Abandoned)
    }

    /// A token counts if the issuer made it for somebody who has this account.
    async fn prove_by_token(
        &self,
        account: Option<&AccountRecord>,
        mechanism: Mechanism,
        message: &Secret,
        prover: &mut impl Prover,
    ) -> bool {
        let bearer = match mechanism {
            Mechanism::OauthBearer => Bearer::parse_oauthbearer(message.expose()),
            Mechanism::Xoauth2 => Bearer::parse_xoauth2(message.expose()),
            // Others do not end here.
            Mechanism::Plain | Mechanism::Login | Mechanism::ScramSha256 => Err(Malformed),
        };
        let tokens = self.tokens.load_full();
        let whose = bearer.ok().and_then(|bearer| tokens?.verify(bearer.token.expose(), clock::unix_ms() / 1000));
        let is_right = whose.zip(account).is_some_and(|(whose, account)| is_name_of(account, &whose));
        if !is_right {
            // The client hears why, and says that it has heard (RFC 7628 §3.2.3).
            let _ = prover.ask(TOKEN_REFUSED).await;
        }
        is_right
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

/// Whether a token's claim names the account.
fn is_name_of(account: &AccountRecord, name: &str) -> bool {
    let name = name.to_lowercase();
    account.login.to_lowercase() == name || account.addresses.iter().any(|address| address.folded() == name)
}
