//! A client that wants its account: from its first byte, through the login, to the session here or at the owner.
//!
//! The session before login is the router's. What differs is what becomes of a login: the password is checked here, and
//! the account is opened here, or the connection goes to the fellow member that owns it. A router is told so (`MOVED`); a
//! client that came directly is passed on, as a router would.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use laniakea_directory::{AccountRecord, LoginName, Secret};
use laniakea_router::{
    drive::{
        Client, Stream,
        foreign::HOPS_MAX,
        login::{MemberLogin, imap_to_member, pop3_to_member},
        prelogin::{Event, Mute, PreLogin, Prover},
        reach::reach,
        splice,
    },
    handoff::{Preamble, Protocol},
    session::{
        Fault, ImapLogin, LoginOutcome, LoginRequest, Peer, Pop3Login, Protection, Session as Prelogin, Settings,
    },
    wire::sasl::Proof,
};
use tokio::io::AsyncWriteExt;

use crate::{
    drive::{
        clock,
        member::{Member, Place},
        owned::Pass,
        registry::Owner,
        session::{Conversation, converse},
    },
    mailbox::Account,
    session::{Session, SessionSettings, imap, pop3},
};

/// How often a login is tried again when the owner it was sent to turns out to be gone.
const TRIES_MAX: usize = 60;
/// Between such tries; a takeover takes a fraction of a second.
const RETRY: std::time::Duration = std::time::Duration::from_millis(100);

/// A protocol with logins, as a member serves it.
pub trait Service: 'static {
    /// Its name.
    const PROTOCOL: Protocol;
    /// The session before login.
    type Login: Prelogin + Send;
    /// The session after it.
    type Session: Session + Send;

    /// Begins before login.
    fn login(now: Instant, settings: Settings) -> Self::Login;
    /// Says to a client whom a ticket proves that it is logged in.
    fn greeting(host: &str) -> String;
    /// What is listed in the completion of a login.
    fn capabilities() -> Option<String>;
    /// Begins after login; the fault if this account cannot have another session.
    fn session(now: Instant, pass: &Pass<Account>, settings: &SessionSettings, unread: Vec<u8>) -> Self::Session;
    /// Whether one session excludes all others (RFC 1939 §4).
    const EXCLUSIVE: bool;
}

/// IMAP at a member.
pub struct Imap;

impl Service for Imap {
    const PROTOCOL: Protocol = Protocol::Imap;
    const EXCLUSIVE: bool = false;
    type Login = ImapLogin;
    type Session = imap::ImapSession;

    fn login(now: Instant, settings: Settings) -> ImapLogin {
        ImapLogin::new(now, settings)
    }

    fn greeting(host: &str) -> String {
        // RFC 9051 §7.1.4: authenticated by other means.
        format!("* PREAUTH [CAPABILITY {}] {host} logged in\r\n", imap::CAPABILITIES)
    }

    fn capabilities() -> Option<String> {
        Some(imap::CAPABILITIES.to_owned())
    }

    fn session(now: Instant, pass: &Pass<Account>, settings: &SessionSettings, unread: Vec<u8>) -> imap::ImapSession {
        imap::ImapSession::new(now, pass.state(), settings, unread)
    }
}

/// POP3 at a member.
pub struct Pop3;

impl Service for Pop3 {
    const PROTOCOL: Protocol = Protocol::Pop3;
    const EXCLUSIVE: bool = true;
    type Login = Pop3Login;
    type Session = pop3::Pop3Session;

    fn login(now: Instant, settings: Settings) -> Pop3Login {
        Pop3Login::new(now, settings)
    }

    fn greeting(host: &str) -> String {
        format!("+OK {host} logged in\r\n")
    }

    fn capabilities() -> Option<String> {
        None
    }

    fn session(now: Instant, pass: &Pass<Account>, settings: &SessionSettings, unread: Vec<u8>) -> pop3::Pop3Session {
        pop3::Pop3Session::new(now, &pass.state(), settings, unread)
    }
}

/// Where a connection came from.
pub enum Arrival {
    /// A client, on one of its own listeners.
    Direct(Client),
    /// A router or a fellow member, on the handoff listener.
    HandedOver(Preamble),
}

impl Arrival {
    pub(super) fn preamble(&self, protocol: Protocol, stream: &Stream) -> Preamble {
        match self {
            Self::Direct(client) => client.preamble(protocol, stream.tls_facts()),
            Self::HandedOver(preamble) => preamble.clone(),
        }
    }

    pub(super) fn peer(&self) -> Peer {
        match self {
            Self::Direct(_) => Peer::Client,
            Self::HandedOver(_) => Peer::Router,
        }
    }
}

/// What became of a login that was accepted.
enum Landing {
    Here(Pass<Account>),
    There(Onward),
}

/// A connection to a fellow member, another cluster's, or a server of another kind.
struct Onward {
    /// The member's handoff address; none if it is no member of ours.
    member: Option<SocketAddr>,
    stream: Stream,
    unread: Vec<u8>,
}

/// Serves one connection to its end.
pub async fn serve<S: Service>(stream: Stream, arrival: Arrival, member: Arc<Member>) {
    let preamble = arrival.preamble(S::PROTOCOL, &stream);
    // The parts before the session are large and short-lived: they must not weigh on an idle connection.
    let landed = match preamble.ticket.clone() {
        Some(_) => Box::pin(enter_by_ticket::<S>(stream, &preamble, &member)).await,
        None => Box::pin(enter_by_login::<S>(stream, &arrival, &preamble, &member)).await,
    };
    let Some((stream, client_unread, landing)) = landed else { return };
    match landing {
        Landing::Here(pass) => serve_here::<S>(stream, client_unread, pass, &member).await,
        Landing::There(Onward { member: address, stream: onward, unread }) => {
            metrics::counter!("laniakea_member_forwarded_total", "protocol" => S::PROTOCOL.as_str()).increment(1);
            let lifeline = address.map(|address| member.front.routes.lifeline(address)).unwrap_or_default();
            tokio::select! {
                _ = splice(stream, onward, member.front.limits.idle, client_unread, unread) => {}
                () = lifeline.cancelled() => {}
                () = member.front.drained.cancelled() => {}
            }
        }
    }
}

async fn serve_here<S: Service>(mut stream: Stream, unread: Vec<u8>, pass: Pass<Account>, member: &Member) {
    let exclusive = if S::EXCLUSIVE { pass.exclusive() } else { None };
    if S::EXCLUSIVE && exclusive.is_none() {
        // Decided between the login and here: another session of the account was faster.
        let _ = stream.write_all(b"-ERR [IN-USE] another session has the maildrop\r\n").await;
        return;
    }
    let _counted = member.count_session();
    let settings = SessionSettings { message_bytes_max: member.front.limits.message_bytes_max };
    let session = S::session(clock::now(), &pass, &settings, unread);
    let conversation = Conversation { pass: &pass, cluster: member.registry.cluster(), stop: &member.front.shutdown };
    let ended = converse(stream, session, conversation).await;
    tracing::debug!(protocol = S::PROTOCOL.as_str(), ?ended, "session ended");
}

/// The client logged in at a fellow member, which the ticket proves.
async fn enter_by_ticket<S: Service>(
    mut stream: Stream,
    preamble: &Preamble,
    member: &Member,
) -> Option<(Stream, Vec<u8>, Landing)> {
    let sealed = preamble.ticket.as_ref()?;
    let account = match member.ticket_key.open(sealed, clock::unix_ms()) {
        Ok(ticket) => member.front.directory.account_by_id(ticket.account).await.ok().flatten(),
        Err(error) => {
            tracing::warn!(%error, client = %preamble.client, "a ticket was not accepted");
            None
        }
    };
    let outcome = match account {
        Some(account) => settle::<S>(&account, preamble, member, None).await,
        None => Err(Fault::Unavailable),
    };
    match outcome {
        Ok(Settled::Here(pass)) => {
            metrics::counter!("laniakea_member_handoffs_total", "protocol" => S::PROTOCOL.as_str()).increment(1);
            stream.write_all(S::greeting(&member.front.domain).as_bytes()).await.ok()?;
            Some((stream, Vec::new(), Landing::Here(pass)))
        }
        Ok(Settled::There { onward, .. }) => {
            // The owner greets the session it has accepted; a ticket's client expects the greeting itself.
            stream.write_all(S::greeting(&member.front.domain).as_bytes()).await.ok()?;
            Some((stream, Vec::new(), Landing::There(onward)))
        }
        Ok(Settled::Moved(_)) | Err(_) => {
            let bye = match S::PROTOCOL {
                Protocol::Imap => "* BYE [UNAVAILABLE] the account cannot be opened now\r\n",
                _ => "-ERR [SYS/TEMP] the account cannot be opened now\r\n",
            };
            let _ = stream.write_all(bye.as_bytes()).await;
            None
        }
    }
}

async fn enter_by_login<S: Service>(
    stream: Stream,
    arrival: &Arrival,
    preamble: &Preamble,
    member: &Member,
) -> Option<(Stream, Vec<u8>, Landing)> {
    let protection = match arrival {
        Arrival::Direct(client) => client.protection(preamble.tls.clone()),
        // The router has seen to it that passwords are protected.
        Arrival::HandedOver(_) => preamble.tls.clone().map_or(Protection::Plain, Protection::Active),
    };
    let mut settings = Settings::new(&member.front.domain, protection, arrival.peer());
    settings.login_within = member.front.limits.login;
    settings.mechanisms = member.front.mechanisms.clone();
    settings.believes_claims = matches!(arrival, Arrival::Direct(client) if client.is_believed);
    let mut prelogin = PreLogin::new(stream, S::login(clock::now(), settings), Some(member.front.tls.clone()))
        .until(member.front.shutdown.clone());
    let mut landing = None;
    loop {
        match prelogin.run().await {
            Event::Login(mut waiting, request) => {
                let preamble = match arrival {
                    Arrival::Direct(client) => {
                        &client.claimed(&request.claims).preamble(S::PROTOCOL, waiting.tls_facts())
                    }
                    Arrival::HandedOver(_) => preamble,
                };
                let (outcome, landed) = log_in::<S>(&request, preamble, arrival, member, &mut waiting).await;
                landing = landed;
                prelogin = waiting.answer(outcome);
            }
            Event::LoggedIn(stream, forward) => return landing.map(|landing| (stream, forward.unread, landing)),
            Event::Over => return None,
        }
    }
}

async fn log_in<S: Service>(
    request: &LoginRequest,
    preamble: &Preamble,
    arrival: &Arrival,
    member: &Member,
    prover: &mut impl Prover,
) -> (LoginOutcome, Option<Landing>) {
    let began = Instant::now();
    let settled = prove::<S>(request, preamble, arrival, member, prover).await;
    let protocol = S::PROTOCOL.as_str();
    let outcome = match &settled {
        Ok(Settled::Here(_)) => "here",
        Ok(Settled::There { .. }) => "there",
        Ok(Settled::Moved(_)) => "moved",
        Err(fault) => fault.as_str(),
    };
    metrics::counter!("laniakea_member_logins_total", "protocol" => protocol, "outcome" => outcome).increment(1);
    metrics::histogram!("laniakea_member_login_seconds", "protocol" => protocol).record(began.elapsed());
    tracing::info!(session = %preamble.session, client = %preamble.client, login = %request.login, protocol, outcome, "login");
    match settled {
        Ok(Settled::Here(pass)) => {
            if S::EXCLUSIVE && pass.is_exclusively_used() {
                return (LoginOutcome::Refused(Fault::TooManyConnections), None);
            }
            let accepted = LoginOutcome::Accepted { capabilities: S::capabilities(), text: "logged in".to_owned() };
            (accepted, Some(Landing::Here(pass)))
        }
        Ok(Settled::There { onward, reply_line }) => (LoginOutcome::Relay(reply_line), Some(Landing::There(onward))),
        Ok(Settled::Moved(moved)) => (LoginOutcome::Moved(moved), None),
        Err(fault) => (LoginOutcome::Refused(fault), None),
    }
}

/// Has the client prove who it is, and finds where its account is open.
async fn prove<S: Service>(
    request: &LoginRequest,
    preamble: &Preamble,
    arrival: &Arrival,
    member: &Member,
    prover: &mut impl Prover,
) -> Result<Settled, Fault> {
    // What is proved by an exchange is proved where the account lives: it cannot be said again there.
    if !request.is_repeatable() && member.lives_elsewhere(&request.login).await? {
        return go_home(preamble, member, request, prover).await;
    }
    let account = member.authenticate(request, prover).await?;
    settle::<S>(&account, preamble, member, Some((request, matches!(arrival, Arrival::Direct(_))))).await
}

/// Where a proven client's account turned out to be.
enum Settled {
    Here(Pass<Account>),
    There { onward: Onward, reply_line: Vec<u8> },
    Moved(laniakea_router::handoff::Moved),
}

/// Opens the account here or goes to where it is open. `login` is missing where a ticket proved the client; its flag
/// says whether the client is our own, to be passed on, and not a router's, to be told.
async fn settle<S: Service>(
    account: &AccountRecord,
    preamble: &Preamble,
    member: &Member,
    login: Option<(&LoginRequest, bool)>,
) -> Result<Settled, Fault> {
    for _ in 0..TRIES_MAX {
        match member.place(account).await? {
            Place::Here(pass) => {
                // Login is shown only by a member that is not fenced (read rule). One whose storage does not answer may
                // be, and cannot tell: the client need not wait for that.
                let cluster = member.registry.cluster();
                return tokio::select! {
                    Ok(()) = cluster.validate() => Ok(Settled::Here(pass)),
                    () = cluster.storage_stalls() => Err(Fault::Unavailable),
                    else => Err(Fault::Unavailable),
                };
            }
            Place::Fellow(owner) => {
                if matches!(login, Some((_, false))) {
                    return member.moved(account, &owner).map(Settled::Moved);
                }
                if let Some(settled) = pass_on::<S>(account, preamble, member, &owner, login).await? {
                    return Ok(settled);
                }
                // The owner is gone and the cluster has not noticed yet.
                tokio::time::sleep(RETRY).await;
            }
            Place::OtherHome => {
                let (request, _) = login.ok_or(Fault::Unavailable)?;
                return go_home(preamble, member, request, &mut Mute).await;
            }
        }
    }
    Err(Fault::Unavailable)
}

/// Takes the connection to the owner; `None` if the owner gives no answer.
async fn pass_on<S: Service>(
    account: &AccountRecord,
    preamble: &Preamble,
    member: &Member,
    owner: &Owner,
    login: Option<(&LoginRequest, bool)>,
) -> Result<Option<Settled>, Fault> {
    if preamble.hops >= HOPS_MAX {
        return Err(Fault::Unavailable);
    }
    let moved = member.moved(account, owner)?;
    let onward = Preamble { hops: preamble.hops + 1, ticket: Some(moved.ticket), ..preamble.clone() };
    // With a ticket the request's tag alone counts: no password is sent.
    let request = match login {
        Some((request, _)) => request.clone(),
        None => nameless(account)?,
    };
    let handoffs = member.front.routes.handoffs();
    let ask = async |onward: &Preamble| match S::PROTOCOL {
        Protocol::Pop3 => pop3_to_member(handoffs, owner.handoff, onward, &request).await,
        _ => imap_to_member(handoffs, owner.handoff, onward, &request).await,
    };
    let mut answer = ask(&onward).await;
    if let (Ok(MemberLogin::Refused { fault: Fault::Unavailable, .. }), Some(_)) = (&answer, login)
        && request.is_repeatable()
    {
        // Its clock may be too far from ours for the ticket: it verifies the login itself.
        answer = ask(&Preamble { ticket: None, ..onward }).await;
    }
    match answer {
        Ok(MemberLogin::LoggedIn { stream, reply_line, unread }) => {
            tracing::info!(session = %preamble.session, account = %account.id, owner = %owner.member, "connection passed on to the owner");
            let onward = Onward { member: Some(owner.handoff), stream, unread };
            Ok(Some(Settled::There { onward, reply_line }))
        }
        Ok(MemberLogin::Moved(_) | MemberLogin::Asks(_)) => Ok(None),
        Ok(MemberLogin::Refused { fault: Fault::Unavailable, .. }) | Err(_) => Ok(None),
        Ok(MemberLogin::Refused { fault, .. }) => Err(fault),
    }
}

/// A login without a password, for a client whom a ticket proves.
fn nameless(account: &AccountRecord) -> Result<LoginRequest, Fault> {
    let login = LoginName::parse(&account.login).map_err(|_| Fault::Internal)?;
    Ok(LoginRequest {
        tag: "t".to_owned(),
        login,
        authzid: None,
        proof: Proof::Password(Secret::new(Vec::new())),
        claims: Default::default(),
        hello: None,
    })
}

/// The account lives in another cluster: does what a router does.
async fn go_home(
    preamble: &Preamble,
    member: &Member,
    request: &LoginRequest,
    prover: &mut impl Prover,
) -> Result<Settled, Fault> {
    if preamble.hops >= HOPS_MAX {
        return Err(Fault::Unavailable);
    }
    let onward = Preamble { hops: preamble.hops + 1, ..preamble.clone() };
    let reached = reach(&member.front, &onward, request, prover).await?;
    let onward = Onward { member: reached.member, stream: reached.stream, unread: reached.unread };
    Ok(Settled::There { onward, reply_line: reached.reply_line })
}
