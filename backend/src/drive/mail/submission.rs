//! Submission at a member (RFC 6409): a login, then mail in the account's own name, to anybody.
//!
//! No account is opened: the password is checked against the directory, and the queue takes the mail. So any member takes
//! anybody's submission.

use std::sync::Arc;

use laniakea_directory::AccountRecord;
use laniakea_router::{
    drive::{
        Stream,
        mail::{Connection, converse},
        prelogin::{Event, PreLogin, Prover},
    },
    handoff::{Preamble, Protocol},
    session::{
        LoginOutcome, LoginRequest, Protection, Settings, SubmissionLogin,
        smtp::{self, Dialect, Hello, Submitter},
    },
};

use super::{MailService, courier::Origin, exchange::MemberExchange};
use crate::drive::{clock, login::Arrival};

/// A client that has logged in.
struct Entered {
    account: Arc<AccountRecord>,
    hello: Hello,
    /// Whose connection it is.
    preamble: Preamble,
}

impl MailService {
    /// Serves a client that submits mail.
    pub async fn serve_submission(self: Arc<Self>, stream: Stream, arrival: Arrival) {
        let Some((stream, unread, entered)) = Box::pin(self.log_in(stream, arrival)).await else { return };
        let Entered { account, hello, preamble } = entered;
        let front = &self.member.front;
        let settings = smtp::Settings {
            dialect: Dialect::Smtp,
            // The client itself, whoever passes its bytes on.
            peer: smtp::Peer::Client,
            host: self.settings.host.clone(),
            domain: front.domain.clone(),
            message_bytes_max: front.limits.message_bytes_max,
            recipients_max: front.limits.recipients_max,
            starttls: false,
            tls: preamble.tls.is_some(),
            believes_claims: false,
            submitter: Some(Submitter { hello, addresses: account.addresses.clone() }),
        };
        let origin = Origin {
            client: preamble.client,
            local: preamble.local,
            tls: preamble.tls.clone(),
            session: preamble.session,
            hello: String::new(),
            hops: 0,
            is_submission: true,
            awaited: true,
            kept: Arc::default(),
        };
        let connection = Connection { stream, tls: None, unread, shutdown: front.shutdown.clone() };
        let exchange = MemberExchange::new(Arc::clone(&self), Dialect::Smtp, origin);
        let farewell = converse(connection, settings, preamble.tls, exchange).await;
        tracing::debug!(?farewell, login = %account.login, "submission ended");
    }

    /// Answers logins until one is accepted: the connection, what was sent and not read, and whose it is.
    async fn log_in(&self, stream: Stream, arrival: Arrival) -> Option<(Stream, Vec<u8>, Entered)> {
        let front = &self.member.front;
        let tls = arrival.preamble(Protocol::Submission, &stream).tls;
        let protection = match &arrival {
            Arrival::Direct(client) => client.protection(tls),
            // The router has seen to it that passwords are protected.
            Arrival::HandedOver(_) => tls.map_or(Protection::Plain, Protection::Active),
        };
        let mut settings = Settings::new(&front.domain, protection, arrival.peer());
        settings.login_within = front.limits.login;
        settings.mechanisms = front.mechanisms.clone();
        settings.message_bytes_max = front.limits.message_bytes_max;
        settings.believes_claims = matches!(&arrival, Arrival::Direct(client) if client.is_believed);
        let session = SubmissionLogin::new(clock::now(), settings);
        let mut prelogin = PreLogin::new(stream, session, Some(front.tls.clone())).until(front.shutdown.clone());
        let mut entered = None;
        loop {
            match prelogin.run().await {
                Event::Login(mut waiting, request) => {
                    let preamble = match &arrival {
                        Arrival::Direct(client) => {
                            client.claimed(&request.claims).preamble(Protocol::Submission, waiting.tls_facts())
                        }
                        Arrival::HandedOver(preamble) => preamble.clone(),
                    };
                    let (outcome, account) = self.judge(&request, &preamble, &mut waiting).await;
                    entered = account.zip(request.hello).map(|(account, hello)| Entered { account, hello, preamble });
                    prelogin = waiting.answer(outcome);
                }
                Event::LoggedIn(stream, forward) => return Some((stream, forward.unread, entered?)),
                Event::Over => return None,
            }
        }
    }

    async fn judge(
        &self,
        request: &LoginRequest,
        preamble: &Preamble,
        prover: &mut impl Prover,
    ) -> (LoginOutcome, Option<Arc<AccountRecord>>) {
        let verdict = self.member.authenticate(request, prover).await;
        let outcome = verdict.as_ref().map_or_else(|fault| fault.as_str(), |_| "here");
        metrics::counter!("laniakea_member_logins_total", "protocol" => "submission", "outcome" => outcome)
            .increment(1);
        tracing::info!(session = %preamble.session, client = %preamble.client, login = %request.login, protocol = "submission", outcome, "login");
        match verdict {
            Ok(account) => (LoginOutcome::Accepted { capabilities: None, text: "logged in".to_owned() }, Some(account)),
            Err(fault) => (LoginOutcome::Refused(fault), None),
        }
    }
}
