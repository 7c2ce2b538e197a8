//! Finding a member that takes a transaction. Until content is sent a member that fails is replaced silently.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{ClientError, Handover, Kept, MailClient, Outgoing};
use crate::{
    drive::{login::DialError, routes::Routes},
    route::LOST_AFTER,
    session::smtp::Dialect,
    wire::smtp::Reply,
};

/// How often a router tries the whole list of members: a takeover takes about a second.
pub const ROUNDS: usize = 4;
/// Between two rounds.
const ROUND_PAUSE: Duration = Duration::from_millis(400);

/// How long a member may take to greet, or to answer on a connection that was kept; then another one is asked.
const GREETING_DEADLINE: Duration = LOST_AFTER;

/// A member that waits for content.
#[derive(Debug)]
pub struct Engaged {
    /// Its handoff address.
    pub member: SocketAddr,
    /// The connection.
    pub client: MailClient,
    /// Its word on each recipient; at least one is accepted.
    pub recipients: Vec<Reply>,
}

/// How strict a member's word on recipients is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The client was told that all are accepted, and will get one reply for all.
    EveryRecipient,
    /// Each recipient gets a reply of its own.
    AnyRecipient,
}

/// One transaction that looks for a member.
#[derive(Clone, Copy)]
pub struct Errand<'a> {
    /// Learns who could be reached.
    pub routes: &'a Routes,
    /// Which protocol.
    pub dialect: Dialect,
    /// Whose mail it is.
    pub handover: &'a Handover,
    /// The transaction.
    pub outgoing: Outgoing<'a>,
    /// Whether a member must accept every recipient.
    pub need: Need,
    /// How often all members are tried.
    pub rounds: usize,
    /// What the client's earlier transactions left open.
    pub kept: &'a Kept,
}

impl Errand<'_> {
    /// Tries the members in order, a few rounds.
    ///
    /// # Errors
    /// The last refusal, or a temporary failure when nobody could be reached.
    pub async fn engage(self, candidates: &[SocketAddr]) -> Result<Engaged, Reply> {
        let mut last = Reply::new(451, (4, 3, 0), "no member can be reached");
        for round in 0..self.rounds {
            if round > 0 {
                tokio::time::sleep(ROUND_PAUSE).await;
            }
            for &member in candidates {
                match self.try_member(member).await {
                    Ok(engaged) => return Ok(engaged),
                    Err(Some(reply)) => last = reply,
                    Err(None) => {}
                }
            }
        }
        Err(temporary(last))
    }

    async fn try_member(&self, member: SocketAddr) -> Result<Engaged, Option<Reply>> {
        if let Some(client) = self.kept.take(member) {
            // It may have been closed meanwhile, which says nothing about the member.
            if let Ok(Ok(engaged)) = timeout(GREETING_DEADLINE, self.open(member, client)).await {
                return Ok(engaged);
            }
        }
        let client = self.connect(member).await?;
        self.open(member, client).await
    }

    async fn connect(&self, member: SocketAddr) -> Result<MailClient, Option<Reply>> {
        let began = Instant::now();
        let greeted = self.routes.unless_doubted(member, self.hear_greeting(member));
        match greeted.await.unwrap_or(Err(DialError::Doubted)) {
            Ok(greeted) => {
                // A connection that broke says nothing of who is there.
                if !matches!(greeted, Err(ClientError::Io(_))) {
                    self.routes.on_reached(member);
                }
                greeted.map_err(|error| refusal(member, error))
            }
            Err(error) => {
                self.routes.on_no_answer(member, began, &error);
                Err(None)
            }
        }
    }

    /// The kernel accepts connections for a process that is frozen: only its greeting says that it is there.
    async fn hear_greeting(&self, member: SocketAddr) -> Result<Result<MailClient, ClientError>, DialError> {
        let stream = self.routes.handoffs().dial(member).await?;
        let greeted = timeout(GREETING_DEADLINE, MailClient::hand_over(stream, self.dialect, self.handover)).await;
        match greeted.map_err(|_| DialError::Silent)? {
            Err(ClientError::Io(error)) => match DialError::of(error) {
                DialError::Broken(error) => Ok(Err(ClientError::Io(error))),
                error => Err(error),
            },
            greeted => Ok(greeted),
        }
    }

    async fn open(&self, member: SocketAddr, mut client: MailClient) -> Result<Engaged, Option<Reply>> {
        let begun = self.routes.unless_lost(member, client.begin(self.outgoing)).await.ok_or(None)?;
        let recipients = begun.map_err(|error| refusal(member, error))?;
        let refused = recipients.iter().find(|reply| !reply.is_success());
        let accepted = recipients.iter().any(Reply::is_success);
        match (self.need, refused) {
            (Need::EveryRecipient, Some(reply)) => Err(Some(reply.clone())),
            (Need::AnyRecipient, Some(reply)) if !accepted => Err(Some(reply.clone())),
            (Need::EveryRecipient | Need::AnyRecipient, _) => Ok(Engaged { member, client, recipients }),
        }
    }
}

fn refusal(member: SocketAddr, error: ClientError) -> Option<Reply> {
    tracing::info!(%member, %error, "a member did not take mail");
    match error {
        ClientError::Refused(reply) => Some(reply),
        ClientError::Io(_) | ClientError::Reply(_) => None,
    }
}

/// The client was told that its recipients are accepted: a member that says otherwise may know less than we do, so
/// nothing permanent follows from it.
fn temporary(reply: Reply) -> Reply {
    if reply.is_permanent() { Reply::new(451, (4, 3, 0), "temporarily unavailable") } else { reply }
}
