//! One connection from its first byte to its last: messages in, answers out, limits kept.

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures_util::{FutureExt, SinkExt, StreamExt};
use ldap3_proto::{
    LdapCodec, LdapMsg, LdapResultCode as Code,
    control::LdapControl,
    proto::{LdapExtendedResponse, LdapOp, LdapResult},
};
use metrics::{counter, histogram};
use tokio::{sync::mpsc, task::spawn_blocking, time::timeout};
use tokio_util::{
    codec::{Decoder, Framed},
    sync::CancellationToken,
};

use super::{
    access::Rights,
    certificate::ServerCertificate,
    filter::Filter,
    operation::{Context, Identity, Response, Task, answer_like, result},
    refusal::refuse,
    stream::{Stream, accept_tls},
};
use crate::dn::Dn;

/// Largest message of somebody who has not bound: a bind or a look at the root DSE is small.
const MESSAGE_BYTES_MAX_ANONYMOUS: usize = 64 << 10;
/// Largest message of somebody who has.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Nesting of a message: filters need some.
const MESSAGE_DEPTH_MAX: usize = 64;
/// Operations of one connection that may be under way.
const UNDER_WAY_MAX: usize = 1024;
/// Answers that may wait to be sent.
const ANSWERS_MAX: usize = 256;
/// Silence allowed before a bind, and after one.
const IDLE_ANONYMOUS: Duration = Duration::from_secs(120);
const IDLE_BOUND: Duration = Duration::from_secs(3600);
/// How long one write to a client that does not read may take.
const WRITE_MAX: Duration = Duration::from_secs(60);
/// Notice of Disconnection (RFC 4511 §4.4.1).
const OID_DISCONNECTION: &str = "1.3.6.1.4.1.1466.20036";

/// An answer made by a task, to be sent by the connection.
enum Answer {
    /// One of several.
    Part(LdapMsg),
    /// The last of its operation.
    Last(LdapMsg),
}

/// One connection.
pub(super) struct Connection {
    context: Arc<Context>,
    certificate: Option<ServerCertificate>,
    framed: Framed<Stream, LdapCodec>,
    identity: Identity,
    answers: mpsc::Sender<Answer>,
    answered: mpsc::Receiver<Answer>,
    /// Operations under way; those that can be abandoned by their number.
    under_way: usize,
    /// Whether answers wait in the buffer.
    unflushed: bool,
    abandon: HashMap<i32, CancellationToken>,
}

/// Why a connection ends, if not because the client wanted it.
enum Ending {
    Wanted,
    Broken(io::Error),
    /// Something that is not LDAP.
    Garbage,
    Idle,
    ShuttingDown,
}

impl From<io::Error> for Ending {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

fn codec(rights: &Rights) -> LdapCodec {
    let bytes = if *rights == Rights::Anonymous { MESSAGE_BYTES_MAX_ANONYMOUS } else { MESSAGE_BYTES_MAX };
    LdapCodec::new(Some(bytes), Some(MESSAGE_DEPTH_MAX))
}

/// Decodes requests and prepares what is in them.
pub(super) fn fuzz_requests(bytes: &[u8]) {
    let (mut codec, mut buffer) = (codec(&Rights::Anonymous), BytesMut::from(bytes));
    while let Ok(Some(message)) = codec.decode(&mut buffer) {
        match message.op {
            LdapOp::SearchRequest(search) => {
                let _ = (Dn::parse(&search.base), Filter::prepare(search.filter));
            }
            LdapOp::DelRequest(dn) => drop(Dn::parse(&dn)),
            LdapOp::ModifyDNRequest(rename) => drop((Dn::parse(&rename.dn), Dn::parse(&rename.newrdn))),
            _ => {}
        }
    }
}

impl Connection {
    pub(super) fn new(context: Arc<Context>, certificate: Option<ServerCertificate>, stream: Stream) -> Self {
        let (answers, answered) = mpsc::channel(ANSWERS_MAX);
        let identity = Identity::anonymous();
        let framed = Framed::new(stream, codec(&identity.rights));
        Self {
            context,
            certificate,
            framed,
            identity,
            answers,
            answered,
            under_way: 0,
            unflushed: false,
            abandon: HashMap::new(),
        }
    }

    /// Serves until the client leaves, misbehaves or falls silent.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let ending = self.serve(&shutdown).await;
        match ending {
            Ending::Wanted => {}
            Ending::Broken(error) => tracing::debug!(%error, "an LDAP connection broke"),
            Ending::Garbage => {
                counter!("laniakea_directory_server_garbage_total").increment(1);
                self.notify(Code::ProtocolError, "that was not LDAP").await;
            }
            Ending::Idle => self.notify(Code::Unavailable, "idle for too long").await,
            Ending::ShuttingDown => self.notify(Code::Unavailable, "shutting down").await,
        }
        for search in self.abandon.values() {
            search.cancel();
        }
    }

    async fn serve(&mut self, shutdown: &CancellationToken) -> Ending {
        loop {
            let idle = if self.identity.rights == Rights::Anonymous { IDLE_ANONYMOUS } else { IDLE_BOUND };
            let may_read = self.under_way < UNDER_WAY_MAX;
            // While more requests are at hand their answers gather and go out together.
            if self.unflushed {
                if may_read && let Some(Some(Ok(message))) = self.framed.next().now_or_never() {
                    if let Err(ending) = self.on_message(message).await {
                        return ending;
                    }
                    continue;
                }
                if let Err(ending) = self.flush().await {
                    return ending;
                }
            }
            let step = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ending::ShuttingDown,
                Some(answer) = self.answered.recv() => self.on_answer(answer).await,
                message = timeout(idle, self.framed.next()), if may_read => match message {
                    Ok(Some(Ok(message))) => self.on_message(message).await,
                    Ok(Some(Err(error))) => Err(reading(error)),
                    Ok(None) => return Ending::Wanted,
                    Err(_) if self.under_way > 0 => Ok(()),
                    Err(_) => return Ending::Idle,
                },
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }

    async fn on_message(&mut self, message: LdapMsg) -> Result<(), Ending> {
        let start = Instant::now();
        let (number, name) = (message.msgid, operation_name(&message.op));
        // RFC 4511 §4.1.1.1: zero is for notices of the server.
        if number <= 0 && !matches!(message.op, LdapOp::UnbindRequest) {
            return Err(Ending::Garbage);
        }
        match &message.op {
            // RFC 4511 §4.2.1: a bind waits until nothing is under way.
            LdapOp::BindRequest(_) => self.settle().await?,
            LdapOp::AbandonRequest(number) => {
                if let Some(search) = self.abandon.get(number) {
                    search.cancel();
                }
            }
            // RFC 4511 §4.14.1: no StartTLS inside TLS, or while something is under way.
            LdapOp::ExtendedRequest(request) if request.name == super::root::OID_START_TLS && self.is_too_late() => {
                let late = result(refuse(Code::OperationsError, "too late for StartTLS"));
                let answer = answer_like(&message.op, late);
                return self.send_all(number, answer.into_iter().collect()).await;
            }
            _ => {}
        }
        let response = self.context.perform(&self.identity, message).await;
        let done = self.on_response(number, response).await;
        counter!("laniakea_directory_server_operations_total", "operation" => name).increment(1);
        histogram!("laniakea_directory_server_operation_seconds", "operation" => name).record(start.elapsed());
        done
    }

    async fn on_response(&mut self, number: i32, response: Response) -> Result<(), Ending> {
        match response {
            Response::Now(ops) => self.send_all(number, ops).await,
            Response::Later(answered, make) => {
                self.under_way += 1;
                let answers = self.answers.clone();
                tokio::spawn(async move {
                    let gone = |_| refuse(Code::Unavailable, "the writer has ended");
                    let outcome = answered.await.unwrap_or_else(gone);
                    // The connection may have gone.
                    let _ = answers.send(Answer::Last(LdapMsg::new(number, make(result(outcome))))).await;
                });
                Ok(())
            }
            Response::Search(task) => {
                self.start_search(number, task);
                Ok(())
            }
            Response::Bound(identity, op) => {
                self.identity = identity;
                *self.framed.codec_mut() = codec(&self.identity.rights);
                self.send_all(number, vec![op]).await
            }
            Response::StartTls(op) => self.start_tls(number, op).await,
            Response::Nothing => Ok(()),
            Response::Close => Err(Ending::Wanted),
        }
    }

    fn start_search(&mut self, number: i32, task: Box<Task>) {
        self.under_way += 1;
        let abandoned = CancellationToken::new();
        self.abandon.insert(number, abandoned.clone());
        let answers = self.answers.clone();
        tokio::spawn(async move {
            let parts = answers.clone();
            let search = spawn_blocking(move || {
                task.run(&mut |op| {
                    let message = LdapMsg::new(number, op);
                    !abandoned.is_cancelled() && parts.blocking_send(Answer::Part(message)).is_ok()
                })
            });
            let message = match search.await {
                Ok(done) => {
                    // RFC 2696 §3: the size is an estimate, and zero means none.
                    let page = done.cookie.map(|cookie| LdapControl::SimplePagedResults { size: 0, cookie });
                    LdapMsg::new_with_ctrls(number, done.op, page.into_iter().collect())
                }
                Err(_) => {
                    let failed: LdapResult = result(refuse(Code::Other, "internal error"));
                    LdapMsg::new(number, LdapOp::SearchResultDone(failed))
                }
            };
            let _ = answers.send(Answer::Last(message)).await;
        });
    }

    /// Sends an answer and whatever else is ready, then flushes once.
    async fn on_answer(&mut self, answer: Answer) -> Result<(), Ending> {
        self.feed_answer(answer).await?;
        for _ in 0..ANSWERS_MAX {
            let Ok(answer) = self.answered.try_recv() else { break };
            self.feed_answer(answer).await?;
        }
        self.flush().await
    }

    async fn feed_answer(&mut self, answer: Answer) -> Result<(), Ending> {
        let message = match answer {
            Answer::Part(message) => message,
            Answer::Last(message) => {
                self.under_way -= 1;
                let abandoned = self.abandon.remove(&message.msgid).is_some_and(|search| search.is_cancelled());
                // RFC 4511 §4.11: an abandoned operation is not answered.
                if abandoned {
                    return Ok(());
                }
                message
            }
        };
        self.feed(message).await
    }

    /// Waits until nothing is under way.
    async fn settle(&mut self) -> Result<(), Ending> {
        while self.under_way > 0 {
            let Some(answer) = self.answered.recv().await else { return Ok(()) };
            self.on_answer(answer).await?;
        }
        Ok(())
    }

    fn is_too_late(&self) -> bool {
        self.under_way > 0 || self.certificate.is_none() || matches!(self.framed.get_ref(), Stream::Tls(_))
    }

    /// Answers, then begins TLS; what was sent in plain text before must not count inside (as in CVE-2011-0411).
    async fn start_tls(&mut self, number: i32, op: LdapOp) -> Result<(), Ending> {
        if !self.framed.read_buffer().is_empty() {
            return Err(Ending::Garbage);
        }
        self.send_all(number, vec![op]).await?;
        self.flush().await?;
        let Some(certificate) = self.certificate.clone() else { return Err(Ending::Garbage) };
        let plain = std::mem::replace(self.framed.get_mut(), Stream::Taken);
        let Stream::Plain(socket) = plain else { return Err(Ending::Garbage) };
        let stream = accept_tls(&certificate.acceptor(), socket).await?;
        // RFC 4513 §3.1.1: what was proved in plain text may stay proved; we prefer that it is proved again.
        self.identity = Identity::anonymous();
        self.framed = Framed::new(stream, codec(&self.identity.rights));
        Ok(())
    }

    async fn send_all(&mut self, number: i32, ops: Vec<LdapOp>) -> Result<(), Ending> {
        for op in ops {
            self.feed(LdapMsg::new(number, op)).await?;
        }
        Ok(())
    }

    async fn feed(&mut self, message: LdapMsg) -> Result<(), Ending> {
        self.unflushed = true;
        timeout(WRITE_MAX, self.framed.feed(message))
            .await
            .map_err(|_| Ending::Broken(io::ErrorKind::TimedOut.into()))??;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        self.unflushed = false;
        timeout(WRITE_MAX, self.framed.flush()).await.map_err(|_| Ending::Broken(io::ErrorKind::TimedOut.into()))??;
        Ok(())
    }

    async fn notify(&mut self, code: Code, text: &str) {
        let res = LdapResult { code, matcheddn: String::new(), message: text.into(), referral: Vec::new() };
        let notice = LdapExtendedResponse { res, name: Some(OID_DISCONNECTION.into()), value: None };
        // The client may have gone.
        let _ =
            timeout(Duration::from_secs(1), self.framed.send(LdapMsg::new(0, LdapOp::ExtendedResponse(notice)))).await;
    }
}

/// Tells a broken connection from bytes that are no LDAP, which the codec reports as errors of its own.
fn reading(error: io::Error) -> Ending {
    match error.kind() {
        io::ErrorKind::Other | io::ErrorKind::OutOfMemory | io::ErrorKind::InvalidData => Ending::Garbage,
        _ => Ending::Broken(error),
    }
}

fn operation_name(op: &LdapOp) -> &'static str {
    match op {
        LdapOp::BindRequest(_) => "bind",
        LdapOp::UnbindRequest => "unbind",
        LdapOp::SearchRequest(_) => "search",
        LdapOp::ModifyRequest(_) => "modify",
        LdapOp::AddRequest(_) => "add",
        LdapOp::DelRequest(_) => "delete",
        LdapOp::ModifyDNRequest(_) => "rename",
        LdapOp::CompareRequest(_) => "compare",
        LdapOp::AbandonRequest(_) => "abandon",
        LdapOp::ExtendedRequest(_) => "extended",
        _ => "other",
    }
}
