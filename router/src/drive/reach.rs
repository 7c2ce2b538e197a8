//! From a login request to an open account at a member: look up, plan, dial, follow, try again.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use laniakea_directory::{AccountId, LoginName};
use tokio::time::{sleep, sleep_until, timeout_at};

use super::{
    RouterContext, Stream, foreign,
    login::{DialError, MemberLogin, imap_to_member, pop3_to_member, probe, submission_to_member},
    prelogin::Prover,
    routes::{Home, RouteError},
};
use crate::{
    handoff::{Preamble, Protocol},
    route::{Attempts, Member, Next, RouteKey, Target},
    session::{Fault, LoginRequest},
};

/// How long a member's verdict may take before we look whether the member is still there.
const VERDICT_PATIENCE: Duration = Duration::from_millis(700);

/// An account that is open at a member, or at a server of another kind.
pub struct Reached {
    /// The member's handoff address; none if it is no member of ours.
    pub member: Option<SocketAddr>,
    /// The connection there.
    pub stream: Stream,
    /// The reply for the client.
    pub reply_line: Vec<u8>,
    /// What was sent behind it.
    pub unread: Vec<u8>,
}

/// Finds the account's home and logs in there.
///
/// A name without an account goes the same way, to some member that checks the password against nobody's: so nobody can
/// tell by text or by time whether an account exists.
///
/// # Errors
///
/// With what the client is to be told.
pub async fn reach(
    context: &RouterContext,
    preamble: &Preamble,
    request: &LoginRequest,
    prover: &mut impl Prover,
) -> Result<Reached, Fault> {
    let (key, id, home) = home_of(context, &request.login).await?;
    match home {
        Home::Cluster(_, members) => Journey { context, preamble, request, key, members, id }.travel(prover).await,
        // What its users send is that server's own business.
        Home::Foreign(_) if preamble.protocol == Protocol::Submission => Err(Fault::Unavailable),
        Home::Foreign(host) => match context.foreign.load_full().find(&host) {
            Ok(server) => Box::pin(foreign::log_in(server, preamble, request, prover)).await,
            Err(error) => {
                tracing::warn!(login = %request.login, host, %error, "the account's home is not a cluster of ours");
                Err(Fault::Unavailable)
            }
        },
    }
}

/// Finds where a login belongs: what members are chosen by, the account if there is one, and its home.
///
/// # Errors
///
/// If nobody can say for the moment.
pub async fn home_of(context: &RouterContext, login: &LoginName) -> Result<(RouteKey, Option<AccountId>, Home), Fault> {
    let account = context.directory.account_by_login(login).await.map_err(|error| {
        tracing::warn!(%login, %error, "login waits for the directory");
        Fault::Unavailable
    })?;
    let (key, home) = match &account {
        Some(account) => (RouteKey::of_account(account.id), context.routes.home(account).await),
        None => {
            let key = RouteKey::of_name(login.as_str());
            (key, home_of_nobody(context, key).await)
        }
    };
    let home = home.map_err(|error| {
        tracing::warn!(%login, %error, "no way to the account");
        Fault::Unavailable
    })?;
    Ok((key, account.map(|account| account.id), home))
}

/// Where a name without an account is checked: at a cluster, or where there is none, at a server that the settings name.
async fn home_of_nobody(context: &RouterContext, key: RouteKey) -> Result<Home, RouteError> {
    match (context.routes.any_home(key).await, context.foreign.load().any()) {
        (Err(RouteError::NoMember), Some(host)) => Ok(Home::Foreign(host.to_owned())),
        (home, _) => home,
    }
}

/// One login on its way.
struct Journey<'a> {
    context: &'a RouterContext,
    preamble: &'a Preamble,
    request: &'a LoginRequest,
    key: RouteKey,
    members: Vec<Member>,
    /// `None` for a name that has no account.
    id: Option<AccountId>,
}

impl Journey<'_> {
    async fn travel(self, prover: &mut impl Prover) -> Result<Reached, Fault> {
        let routes = &self.context.routes;
        let mut attempts = Attempts::new(Instant::now(), rand::random());
        loop {
            match attempts.next(Instant::now()) {
                Next::Plan => attempts.on_plan(routes.plan(self.key, &self.members, self.id)),
                Next::Wait(until) => sleep_until(until.into()).await,
                Next::GiveUp => {
                    tracing::warn!(login = %self.request.login, "no member opened the account in time");
                    return Err(Fault::Unavailable);
                }
                // Found out since the plan was made; it is tried if it is the last.
                Next::Dial(target) if self.is_passed_over(target.member) => {}
                Next::Dial(target) => {
                    if let Some(end) = self.try_one(target, &mut attempts, prover).await {
                        return end;
                    }
                }
            }
        }
    }

    fn is_passed_over(&self, member: SocketAddr) -> bool {
        let routes = &self.context.routes;
        !routes.is_up(member) && self.members.iter().any(|other| routes.is_up(other.address))
    }

    /// Tries one member; `None` if another try is to follow.
    async fn try_one(
        &self,
        target: Target,
        attempts: &mut Attempts,
        prover: &mut impl Prover,
    ) -> Option<Result<Reached, Fault>> {
        let routes = &self.context.routes;
        let (member, by_ticket) = (target.member, target.ticket.is_some());
        let began = Instant::now();
        let mut said =
            timeout_at(attempts.until().into(), self.or_doubt(member, Box::pin(self.dial(target)))).await.ok()?;
        while let Ok(MemberLogin::Asks(asking)) = said {
            routes.on_reached(member);
            attempts.on_asked();
            let Some(answer) = Box::pin(prover.ask(&asking.challenge)).await else {
                return Some(Err(Fault::Abandoned));
            };
            // How long the client takes is not the member's fault.
            attempts.prolong(Instant::now());
            said = timeout_at(attempts.until().into(), self.or_doubt(member, Box::pin(asking.answer(&answer))))
                .await
                .ok()?;
        }
        let now = Instant::now();
        match said {
            // Followed above.
            Ok(MemberLogin::Asks(_)) => {}
            Ok(MemberLogin::LoggedIn { stream, reply_line, unread }) => {
                routes.on_reached(member);
                tracing::info!(login = %self.request.login, %member, "logged in");
                return Some(Ok(Reached { member: Some(member), stream, reply_line, unread }));
            }
            Ok(MemberLogin::Moved(moved)) => {
                routes.on_reached(member);
                if let Some(id) = self.id {
                    routes.on_moved(id, moved.owner);
                }
                // The cluster has not noticed yet that its owner is down: give it a moment.
                if routes.is_up(moved.owner) { attempts.on_moved(now, moved) } else { attempts.on_unavailable(now) }
            }
            Ok(MemberLogin::Refused { fault: Fault::Unavailable, .. }) if by_ticket => {
                routes.on_reached(member);
                attempts.on_ticket_refused(member);
            }
            Ok(MemberLogin::Refused { fault: Fault::Unavailable, .. }) => {
                routes.on_reached(member);
                self.forget();
                attempts.on_unavailable(now);
            }
            Ok(MemberLogin::Refused { fault, .. }) => {
                routes.on_reached(member);
                return Some(Err(fault));
            }
            Err(error) => self.on_no_answer(member, began, &error),
        }
        None
    }

    fn on_no_answer(&self, member: SocketAddr, began: Instant, error: &DialError) {
        tracing::debug!(%member, %error, "member gave no answer");
        self.forget();
        self.context.routes.on_no_answer(member, began, error);
    }

    fn forget(&self) {
        if let Some(id) = self.id {
            self.context.routes.forget(id);
        }
    }

    /// Waits for a member, and gives up one that falls silent in the middle: one that is busy still greets others.
    ///
    /// What it waits for is boxed: it is large, and would be part of this and of every future around it.
    async fn or_doubt(
        &self,
        member: SocketAddr,
        answer: impl Future<Output = Result<MemberLogin, DialError>>,
    ) -> Result<MemberLogin, DialError> {
        let routes = &self.context.routes;
        let doubt = async {
            loop {
                sleep(VERDICT_PATIENCE).await;
                let began = Instant::now();
                if let Err(error) = Box::pin(probe(routes.handoffs(), member)).await {
                    routes.on_no_answer(member, began, &error);
                    return error;
                }
            }
        };
        let dialled = async {
            tokio::select! {
                said = answer => said,
                error = doubt => Err(error),
            }
        };
        // What others find out counts as much.
        routes.unless_doubted(member, dialled).await.unwrap_or(Err(DialError::Doubted))
    }

    async fn dial(&self, target: Target) -> Result<MemberLogin, DialError> {
        let hops = self.preamble.hops.saturating_add(u8::from(target.ticket.is_some()));
        let preamble = Preamble { hops, ticket: target.ticket, ..self.preamble.clone() };
        let handoffs = self.context.routes.handoffs();
        match preamble.protocol {
            Protocol::Pop3 => pop3_to_member(handoffs, target.member, &preamble, self.request).await,
            Protocol::Submission => submission_to_member(handoffs, target.member, &preamble, self.request).await,
            // The others have no login of this kind.
            Protocol::Imap | Protocol::Smtp | Protocol::Lmtp | Protocol::Http => {
                imap_to_member(handoffs, target.member, &preamble, self.request).await
            }
        }
    }
}
