//! One request: whose it is, who is asked, and what the client hears.

use std::{
    error::Error,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HeaderValue, SET_COOKIE},
    http::request,
    upgrade::OnUpgrade,
};
use laniakea_directory::{AccountId, AccountRecord, LoginName, LookupError};
use tokio::time::{sleep, timeout};

use super::{
    WebFront,
    body::{AnswerBody, Upload, UploadError},
    head::{Asker, Kind, authority, back, begin_websocket, examine, is_repeatable, onward},
    pulse::Pulse,
    refusal::Refusal,
    tunnel,
    upstream::{Kept, Upstream},
};
use crate::{
    drive::{
        Client, RouterContext,
        listener::{Admission, NetworkPlace},
        login::DialError,
        routes::{Home, RouteError},
    },
    handoff::{Preamble, Protocol, TlsFacts},
    route::RouteKey,
    session::{Protection, wait_after},
    wire::http::{Shown, authorization, cookie},
};

/// The cookie that leads back to an account.
const COOKIE_NAME: &str = "laniakea";
/// How long an answer may take from the first byte of the question: longer than the largest message at the slowest pace.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// One client connection, as its requests see it.
pub struct Visit {
    front: Arc<WebFront>,
    client: Client,
    /// The TLS that we do.
    tls: Option<TlsFacts>,
    kept: Kept,
    pub(super) pulse: Arc<Pulse>,
    /// Its places among all connections; a WebSocket outlives the connection it began as.
    _places: (Admission, NetworkPlace),
}

/// Who is asked.
enum Way {
    /// Members, in this order.
    Members(Vec<SocketAddr>),
    /// The server of another kind that the account's entry names.
    Foreign(String),
}

/// What became of one try.
enum Attempt {
    Answered(Response<Incoming>, Upstream),
    /// Nothing was sent: it may be sent to another one.
    Unsent(Request<Upload>),
    /// Nobody knows.
    Lost,
    /// The client is to blame.
    Refused(Refusal),
}

/// A request on its way.
struct Errand {
    head: request::Parts,
    kind: Kind,
    preamble: Preamble,
}

impl Visit {
    /// Begins with nothing asked.
    #[must_use]
    pub fn new(
        front: Arc<WebFront>,
        client: Client,
        tls: Option<TlsFacts>,
        pulse: Arc<Pulse>,
        places: (Admission, NetworkPlace),
    ) -> Self {
        Self { front, client, tls, kept: Kept::default(), pulse, _places: places }
    }

    pub(super) fn context(&self) -> &RouterContext {
        &self.front.context
    }

    /// Answers one request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<AnswerBody> {
        let under_way = self.pulse.begin();
        let (began, unanswered) = (Instant::now(), self.pulse.wait());
        let answered = self.serve(request).await;
        unanswered.answered();
        let outcome = answered.as_ref().map_or_else(Refusal::as_str, |_| "answered");
        metrics::counter!("laniakea_router_http_requests_total", "outcome" => outcome).increment(1);
        metrics::histogram!("laniakea_router_http_head_seconds").record(began.elapsed());
        let session = self.client.session;
        let response = answered.unwrap_or_else(|refusal| {
            tracing::debug!(%session, client = %self.client.address, refusal = refusal.as_str(), "request refused");
            refusal.response()
        });
        response.map(|body| body.during(under_way))
    }

    async fn serve(self: &Arc<Self>, mut request: Request<Incoming>) -> Result<Response<AnswerBody>, Refusal> {
        let switch = hyper::upgrade::on(&mut request);
        let (head, body) = request.into_parts();
        let kind = examine(&head)?;
        self.check_protection(&head)?;
        let bytes_max = self.context().limits.message_bytes_max;
        if body.size_hint().lower() > bytes_max {
            return Err(Refusal::TooLarge);
        }
        // Before a WebSocket there is no body; behind its head come frames.
        let upload = if kind == Kind::Exchange { Upload::new(body, bytes_max) } else { Upload::Empty };
        let way = self.way(&head).await?;
        let asker = Asker {
            client: self.client.address,
            is_encrypted: self.tls.is_some() || self.client.tls.is_some(),
            is_believed: self.client.is_believed,
        };
        let mut next = onward(&head, kind, &asker, &self.context().name)?;
        if kind == Kind::Connect {
            begin_websocket(&mut next, &STANDARD.encode(rand::random::<[u8; 16]>()));
        }
        let preamble = self.client.preamble(Protocol::Http, self.tls.clone());
        let errand = Errand { head: next, kind, preamble };
        let (response, upstream) = match way {
            Way::Members(members) => self.ask_members(&errand, upload, members).await?,
            Way::Foreign(host) => self.ask_foreign(&errand, upload, &host).await?,
        };
        self.pass_back(&head, kind, (response, upstream), switch).await
    }

    /// Nothing of an account goes in the clear, as in every other protocol here.
    fn check_protection(&self, head: &request::Parts) -> Result<(), Refusal> {
        if self.client.protection(self.tls.clone()) != Protection::Required {
            return Ok(());
        }
        let there = authority(head)?.filter(|_| matches!(head.method, Method::GET | Method::HEAD)).map(|authority| {
            let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
            format!("https://{}{target}", authority.host())
        });
        Err(Refusal::Insecure(there))
    }

    /// Finds who is to be asked.
    async fn way(&self, head: &request::Parts) -> Result<Way, Refusal> {
        let names = match head.headers.get(AUTHORIZATION).map(|value| authorization(value.as_bytes())) {
            Some(Shown::Basic(basic)) => vec![basic.name],
            Some(Shown::Bearer(names)) => names,
            Some(Shown::Other) | None => Vec::new(),
        };
        let waits = |error: LookupError| {
            tracing::warn!(%error, "a request waits for the directory");
            Refusal::Unavailable
        };
        let directory = &self.context().directory;
        for login in names.iter().filter_map(|name| LoginName::parse(name).ok()) {
            if let Some(account) = directory.account_by_login(&login).await.map_err(waits)? {
                return self.way_home(&account).await;
            }
        }
        let remembered = if names.is_empty() { self.remembered(head) } else { None };
        if let Some(id) = remembered
            && let Some(account) = directory.account_by_id(id).await.map_err(waits)?
        {
            return self.way_home(&account).await;
        }
        // A name without an account goes to some member, too, which checks the password against nobody's.
        let key = names
            .first()
            .map_or_else(|| RouteKey::of_name(&self.client.address.ip().to_string()), |name| RouteKey::of_name(name));
        Ok(Way::Members(self.context().routes.everywhere(key).await.map_err(no_way)?))
    }

    async fn way_home(&self, account: &AccountRecord) -> Result<Way, Refusal> {
        let routes = &self.context().routes;
        Ok(match routes.home(account).await.map_err(no_way)? {
            Home::Cluster(_, members) => {
                Way::Members(routes.plan(RouteKey::of_account(account.id), &members, Some(account.id)))
            }
            Home::Foreign(host) => Way::Foreign(host),
        })
    }

    /// The account that an earlier answer led this browser to.
    fn remembered(&self, head: &request::Parts) -> Option<AccountId> {
        let mut values = head.headers.get_all(COOKIE).iter();
        let sealed = values.find_map(|value| cookie(value.as_bytes(), COOKIE_NAME))?;
        self.front.cookies.open(sealed)
    }

    /// Asks one member after the other, for as long as nothing can be done twice.
    async fn ask_members(
        &self,
        errand: &Errand,
        upload: Upload,
        members: Vec<SocketAddr>,
    ) -> Result<(Response<Incoming>, Upstream), Refusal> {
        let is_repeatable = upload.is_empty() && errand.kind == Kind::Exchange && is_repeatable(&errand.head.method);
        let mut request = Request::from_parts(errand.head.clone(), upload);
        let mut was_lost = false;
        for member in members {
            match self.ask_member(member, errand, request).await {
                Attempt::Answered(response, upstream) => return Ok((response, upstream)),
                Attempt::Refused(refusal) => return Err(refusal),
                Attempt::Unsent(unsent) => request = unsent,
                Attempt::Lost if is_repeatable => {
                    was_lost = true;
                    request = Request::from_parts(errand.head.clone(), Upload::Empty);
                }
                Attempt::Lost => return Err(Refusal::Lost),
            }
        }
        Err(if was_lost { Refusal::Lost } else { Refusal::Unavailable })
    }

    async fn ask_member(&self, member: SocketAddr, errand: &Errand, mut request: Request<Upload>) -> Attempt {
        // A connection that is to become a WebSocket carries nothing else.
        let kept = if errand.kind == Kind::Exchange { self.kept.take(Some(member)) } else { None };
        if let Some(upstream) = kept {
            match self.exchange(upstream, request).await {
                Attempt::Unsent(unsent) => request = unsent,
                attempt => return attempt,
            }
        }
        let routes = &self.context().routes;
        let began = Instant::now();
        let opening = routes.unless_doubted(member, Upstream::to_member(self.context(), member, &errand.preamble));
        match opening.await.unwrap_or(Err(DialError::Doubted)) {
            Ok(upstream) => self.exchange(upstream, request).await,
            Err(error) => {
                routes.on_no_answer(member, began, &error);
                Attempt::Unsent(request)
            }
        }
    }

    async fn ask_foreign(
        &self,
        errand: &Errand,
        upload: Upload,
        host: &str,
    ) -> Result<(Response<Incoming>, Upstream), Refusal> {
        let servers = self.context().foreign.load_full();
        let server = servers.find(host).map_err(|error| {
            tracing::warn!(host, %error, "the account's home is not a cluster of ours");
            Refusal::Unavailable
        })?;
        if server.settings.ports.http.is_none() {
            return Err(Refusal::NotHere);
        }
        let opened = Upstream::to_foreign(self.context(), &server, &errand.preamble).await;
        let request = Request::from_parts(errand.head.clone(), upload);
        match self.exchange(opened.ok_or(Refusal::Unavailable)?, request).await {
            Attempt::Answered(response, upstream) => Ok((response, upstream)),
            Attempt::Refused(refusal) => Err(refusal),
            Attempt::Unsent(_) => Err(Refusal::Unavailable),
            Attempt::Lost => Err(Refusal::Lost),
        }
    }

    /// Sends a request and waits for the head of its answer, or for the news that there will be none.
    async fn exchange(&self, mut upstream: Upstream, request: Request<Upload>) -> Attempt {
        let routes = &self.context().routes;
        let sending = timeout(ANSWER_DEADLINE, upstream.sender.try_send_request(request));
        let answered = match upstream.member {
            Some(member) => routes.unless_lost(member, sending).await,
            None => Some(sending.await),
        };
        match answered {
            None | Some(Err(_)) => Attempt::Lost,
            Some(Ok(Ok(response))) => {
                if let Some(member) = upstream.member {
                    routes.on_reached(member);
                }
                Attempt::Answered(response, upstream)
            }
            Some(Ok(Err(mut error))) => match error.take_message() {
                Some(request) => Attempt::Unsent(request),
                None => upload_fault(error.error()).map_or(Attempt::Lost, Attempt::Refused),
            },
        }
    }

    async fn pass_back(
        self: &Arc<Self>,
        asked: &request::Parts,
        kind: Kind,
        (mut response, upstream): (Response<Incoming>, Upstream),
        switch: OnUpgrade,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let has_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if has_switched {
            if kind == Kind::Exchange {
                return Err(Refusal::Lost);
            }
            let lifeline = upstream.member.map(|member| self.context().routes.lifeline(member)).unwrap_or_default();
            tunnel::join(self.clone(), switch, hyper::upgrade::on(&mut response), lifeline);
        }
        let is_ours = upstream.member.is_some();
        let (mut head, body) = response.into_parts();
        let account = back(&mut head, kind, &asked.method);
        if head.status == StatusCode::UNAUTHORIZED {
            self.slow_down(asked).await;
        }
        if let Some(cookie) = account.filter(|_| is_ours).and_then(|account| self.cookie_for(&account, asked)) {
            head.headers.append(SET_COOKIE, cookie);
        }
        if has_switched {
            head.headers.remove(CONTENT_LENGTH);
        }
        let kept = (!has_switched).then(|| (upstream, self.kept.clone()));
        Ok(Response::from_parts(head, AnswerBody::theirs(body, kept)))
    }

    /// Guesses are answered as slowly here as in every other protocol.
    async fn slow_down(&self, asked: &request::Parts) {
        let shown = asked.headers.get(AUTHORIZATION).map(|value| authorization(value.as_bytes()));
        if !matches!(shown, Some(Shown::Basic(_))) {
            return;
        }
        let (now, ip) = (Instant::now(), self.client.address.ip());
        let failures = {
            let mut suspicion = self.context().suspicion.lock();
            let failures = suspicion.failures(now, ip);
            suspicion.on_failure(now, ip);
            failures
        };
        sleep(wait_after(failures)).await;
    }

    /// The cookie for the account that a member named, unless the browser has it already.
    fn cookie_for(&self, account: &HeaderValue, asked: &request::Parts) -> Option<HeaderValue> {
        let account: AccountId = account.to_str().ok()?.parse().ok()?;
        if self.remembered(asked) == Some(account) {
            return None;
        }
        let sealed = self.front.cookies.seal(account)?;
        let secure = if self.tls.is_some() || self.client.tls.is_some() { "; Secure" } else { "" };
        HeaderValue::from_str(&format!("{COOKIE_NAME}={sealed}; Path=/; HttpOnly; SameSite=Lax{secure}")).ok()
    }
}

fn no_way(error: RouteError) -> Refusal {
    tracing::warn!(%error, "no way for a request");
    Refusal::Unavailable
}

/// Whether it was the client's body that broke an exchange.
fn upload_fault(error: &hyper::Error) -> Option<Refusal> {
    let mut source = error.source();
    while let Some(error) = source {
        match error.downcast_ref::<UploadError>() {
            Some(UploadError::TooLarge) => return Some(Refusal::TooLarge),
            Some(UploadError::TooSlow) => return Some(Refusal::TooSlow),
            Some(UploadError::Broken) => return Some(Refusal::Malformed("the body is broken")),
            None => source = error.source(),
        }
    }
    None
}
