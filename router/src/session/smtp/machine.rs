//! The states of a session and its reaction to each command (RFC 5321 §4.1.4).

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use super::{
    Dialect, Envelope, Hello, Input, Output, Peer, Recipient, Settings,
    budget::{Budget, Cost},
    pace::Pace,
    replies,
};
use crate::wire::{
    claims::Claims,
    line::{LineBuffer, LineError},
    smtp::{Command, ContentFault, ContentReader, ForwardPath, Mail, Mailbox, Rcpt, Reply, parse_command},
};

/// Longest command line. RFC 5321 §4.5.3.1.4 asks for 512; DSN and SMTPUTF8 need more.
const LINE_BYTES_MAX: usize = 2048;
/// How long the next command may take (RFC 5321 §4.5.3.2.7).
const COMMAND_WAIT: Duration = Duration::from_secs(300);
/// Recipients refused as too many, in multiples of the limit, before the connection is closed.
const RECIPIENTS_ASKED_FACTOR: usize = 10;

/// One connection's protocol.
#[derive(Debug)]
pub struct SmtpSession {
    settings: Settings,
    buffer: LineBuffer,
    state: State,
    hello: Option<Hello>,
    claims: Claims,
    tls: bool,
    greeted: bool,
    stopping: bool,
    budget: Budget,
    paused_until: Option<Instant>,
    waits_until: Instant,
    replies: Vec<u8>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    /// No transaction.
    Idle,
    /// Between MAIL and DATA.
    Open(Transaction),
    /// The driver looks a recipient up.
    Resolving(Transaction, Recipient),
    /// The driver prepares for content for this many recipients.
    Beginning(usize),
    /// Content is coming.
    Content(ContentReader, Pace, usize),
    /// The driver takes responsibility.
    Ending(usize),
    /// The driver begins TLS.
    Handshake,
    /// The connection is over.
    Closed,
}

#[derive(Debug)]
struct Transaction {
    envelope: Box<Envelope>,
    /// RCPT commands so far, refused ones included.
    asked: usize,
}

impl SmtpSession {
    /// A session that will greet its client.
    #[must_use]
    pub fn new(now: Instant, settings: Settings) -> Self {
        let hello = settings.submitter.as_ref().map(|submitter| submitter.hello.clone());
        let mut outputs = VecDeque::new();
        if hello.is_none() {
            let mut greeting = Vec::new();
            replies::greeting(&settings).encode(&mut greeting);
            outputs.push_back(Output::Write(greeting));
        }
        Self {
            tls: settings.tls,
            buffer: LineBuffer::new(LINE_BYTES_MAX),
            state: State::Idle,
            greeted: hello.is_some(),
            hello,
            claims: Claims::default(),
            stopping: false,
            budget: Budget::default(),
            paused_until: None,
            waits_until: now + COMMAND_WAIT,
            replies: Vec::new(),
            outputs,
            settings,
        }
    }

    /// Tells the session what happened.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Bytes(bytes) => self.on_bytes(now, bytes),
            Input::Resolved(verdict) => self.on_resolved(now, verdict),
            Input::Ready(verdict) => self.on_ready(now, verdict),
            Input::Done(replies) => self.on_done(now, replies),
            Input::TlsDone(_) => self.on_tls_done(now),
            Input::Eof => self.on_eof(),
            Input::Tick => self.on_tick(now),
            Input::Shutdown => self.stopping = true,
        }
        self.advance(now);
    }

    /// Takes the next thing to do; to be called until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.greeted = true;
        self.outputs.pop_front()
    }

    /// Tells that all the session asked for is done: from now on it is the client that is waited for.
    pub fn caught_up(&mut self, now: Instant) {
        match &mut self.state {
            State::Content(_, pace, _) => pace.wait_from(now),
            State::Idle
            | State::Open(_)
            | State::Resolving(..)
            | State::Beginning(_)
            | State::Ending(_)
            | State::Handshake
            | State::Closed => {}
        }
    }

    /// When to send [`Input::Tick`]; `None` while the driver owes an answer.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Idle | State::Open(_) => Some(self.paused_until.unwrap_or(self.waits_until)),
            State::Content(_, pace, _) => Some(pace.deadline()),
            State::Resolving(..) | State::Beginning(_) | State::Ending(_) | State::Handshake | State::Closed => None,
        }
    }

    /// Whether the next thing to happen is up to the client, so that the driver should read.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        self.paused_until.is_none() && self.deadline().is_some()
    }

    fn on_bytes(&mut self, now: Instant, bytes: &[u8]) {
        if !self.greeted && self.settings.peer == Peer::Client {
            // RFC 5321 §3.1: a client waits for the greeting. Who does not is no mail server.
            self.outputs.clear();
            self.say(&Reply::new(554, (5, 5, 1), "you spoke before the greeting"));
            self.close();
            return;
        }
        match &self.state {
            State::Closed => {}
            State::Content(..) => self.on_content(now, bytes),
            State::Idle
            | State::Open(_)
            | State::Resolving(..)
            | State::Beginning(_)
            | State::Ending(_)
            | State::Handshake => {
                self.waits_until = now + COMMAND_WAIT;
                self.buffer.push(bytes);
            }
        }
    }

    /// Reads lines until the driver is asked for something, or no whole line is left.
    fn advance(&mut self, now: Instant) {
        while self.paused_until.is_none() && matches!(self.state, State::Idle | State::Open(_)) {
            if self.stopping && matches!(self.state, State::Idle) {
                self.say(&replies::shutting_down());
                self.close();
                return;
            }
            match self.buffer.next_line() {
                Ok(Some(line)) => self.on_line(now, &line),
                Ok(None) => break,
                Err(LineError::BareLineBreak | LineError::Nul) => {
                    self.refuse(now, &Reply::new(500, (5, 5, 2), "line with a bare CR, a bare LF or a NUL"));
                }
                Err(LineError::TooLong) => {
                    self.say(&Reply::new(500, (5, 5, 2), "line too long"));
                    self.close();
                }
            }
        }
        // Replies to pipelined commands leave together (RFC 2920 §3.2), at the latest when the client must move.
        if !matches!(self.state, State::Resolving(..)) {
            self.flush();
        }
    }

    fn on_line(&mut self, now: Instant, line: &[u8]) {
        match parse_command(line) {
            Ok(command) => self.on_command(now, command),
            Err(fault) => self.refuse(now, &replies::command_fault(fault)),
        }
    }

    fn on_command(&mut self, now: Instant, command: Command) {
        match (command, self.settings.dialect) {
            (Command::Helo(name), Dialect::Smtp) => self.on_hello(now, Hello { name, extended: false }),
            (Command::Ehlo(name), Dialect::Smtp) | (Command::Lhlo(name), Dialect::Lmtp) => {
                self.on_hello(now, Hello { name, extended: true });
            }
            // RFC 2033 §4.1: neither side may take one protocol for the other.
            (Command::Helo(_) | Command::Ehlo(_), Dialect::Lmtp) | (Command::Lhlo(_), Dialect::Smtp) => {
                self.refuse(now, &Reply::new(500, (5, 5, 1), "this is the other of SMTP and LMTP"));
            }
            (Command::Mail(mail), _) => self.on_mail(now, mail),
            (Command::Rcpt(rcpt), _) => self.on_rcpt(now, rcpt),
            (Command::Data, _) => self.on_data(now),
            (Command::Reset, _) => {
                self.state = State::Idle;
                self.idle_command(now, &Reply::new(250, (2, 0, 0), "OK"));
            }
            (Command::Noop, _) => self.idle_command(now, &Reply::new(250, (2, 0, 0), "OK")),
            // RFC 5321 §3.5.3: 252 where addresses are not told.
            (Command::Verify, _) => {
                self.idle_command(now, &Reply::new(252, (2, 5, 0), "send some mail, I'll try my best"))
            }
            (Command::Help, _) => self.idle_command(now, &Reply::new(214, (2, 0, 0), "see RFC 5321")),
            (Command::Quit, _) => {
                let goodbye = replies::goodbye(&self.settings.host);
                self.say(&goodbye);
                self.close();
            }
            (Command::StartTls, _) => self.on_starttls(now),
            (Command::Xclient(claims), _) => self.on_xclient(now, claims),
            (Command::Expand | Command::Bdat | Command::Auth { .. }, _) => self.refuse(now, &replies::not_offered()),
            (Command::Http, _) => {
                self.say(&replies::closing("this is a mail server"));
                self.close();
            }
        }
    }

    fn on_hello(&mut self, now: Instant, hello: Hello) {
        // RFC 5321 §4.1.4: a later EHLO is a RSET as well.
        self.state = State::Idle;
        let reply = if hello.extended {
            replies::hello(&self.settings, self.tls)
        } else {
            Reply::plain(250, vec![self.settings.host.clone().into()])
        };
        self.hello = Some(hello);
        self.idle_command(now, &reply);
    }

    /// The session begins anew, for the client that the proxy names.
    fn on_xclient(&mut self, now: Instant, claims: Claims) {
        if !self.settings.believes_claims {
            return self.refuse(now, &Reply::new(550, (5, 7, 0), "insufficient authorization"));
        }
        if matches!(self.state, State::Open(_)) {
            return self.refuse(now, &replies::out_of_order("a transaction is open already"));
        }
        self.claims = claims;
        self.hello = None;
        let greeting = replies::greeting(&self.settings);
        self.idle_command(now, &greeting);
    }

    fn on_mail(&mut self, now: Instant, mail: Mail) {
        let Some(hello) = self.hello.clone() else {
            return self.refuse(now, &replies::hello_first(self.settings.dialect));
        };
        if matches!(self.state, State::Open(_)) {
            return self.refuse(now, &replies::out_of_order("a transaction is open already"));
        }
        if self.settings.submitter.as_ref().is_some_and(|account| !account.may_send_as(mail.reverse_path.as_ref())) {
            return self.refuse(now, &replies::not_yours());
        }
        // RFC 1870 §6.1: refuse at once what is declared too large.
        if mail.parameters.size.is_some_and(|size| size > self.settings.message_bytes_max) {
            return self.refuse(now, &replies::too_large());
        }
        if !mail.parameters.smtputf8 && mail.reverse_path.as_ref().is_some_and(|path| !path.is_ascii()) {
            return self.refuse(now, &replies::utf8_unannounced());
        }
        let envelope = Envelope {
            hello,
            claims: self.claims.clone(),
            reverse_path: mail.reverse_path,
            parameters: mail.parameters,
            recipients: Vec::new(),
        };
        self.state = State::Open(Transaction { envelope: Box::new(envelope), asked: 0 });
        self.say(&Reply::new(250, (2, 1, 0), "sender OK"));
    }

    fn on_rcpt(&mut self, now: Instant, rcpt: Rcpt) {
        let State::Open(mut transaction) = mem::replace(&mut self.state, State::Idle) else {
            return self.refuse(now, &replies::out_of_order("send MAIL first"));
        };
        transaction.asked += 1;
        match self.check_rcpt(&transaction, rcpt) {
            Ok(recipient) => {
                self.outputs.push_back(Output::Resolve(recipient.clone()));
                self.state = State::Resolving(transaction, recipient);
            }
            Err(reply) => {
                let flood = transaction.asked > RECIPIENTS_ASKED_FACTOR * self.settings.recipients_max;
                self.state = State::Open(transaction);
                if flood {
                    self.say(&replies::closing("too many recipients"));
                    self.close();
                } else if reply.is_temporary() {
                    self.say(&reply);
                } else {
                    self.refuse(now, &reply);
                }
            }
        }
    }

    fn check_rcpt(&self, transaction: &Transaction, rcpt: Rcpt) -> Result<Recipient, Reply> {
        if transaction.envelope.recipients.len() >= self.settings.recipients_max {
            return Err(replies::too_many_recipients());
        }
        let address = match rcpt.forward_path {
            ForwardPath::Mailbox(address) => address,
            ForwardPath::Postmaster => Mailbox::parse(&format!("postmaster@{}", self.settings.domain))
                .map_err(|_| Reply::new(550, (5, 1, 1), "no postmaster here"))?,
        };
        if !address.is_ascii() && !transaction.envelope.parameters.smtputf8 {
            return Err(replies::utf8_unannounced());
        }
        match (self.settings.peer, rcpt.parameters.delivery_id) {
            (Peer::Client, Some(_)) => Err(replies::command_fault(crate::wire::smtp::CommandFault::Parameter)),
            (Peer::Client, None) | (Peer::Router, _) => Ok(Recipient { address, parameters: rcpt.parameters }),
        }
    }

    fn on_resolved(&mut self, now: Instant, verdict: Result<Mailbox, Reply>) {
        if !matches!(self.state, State::Resolving(..)) {
            return self.close();
        }
        let State::Resolving(mut transaction, mut recipient) = mem::replace(&mut self.state, State::Idle) else {
            return;
        };
        let reply = match verdict {
            Ok(address) => {
                recipient.address = address;
                transaction.envelope.recipients.push(recipient);
                Reply::new(250, (2, 1, 5), "recipient OK")
            }
            Err(reply) => reply,
        };
        self.state = State::Open(transaction);
        self.waits_until = now + COMMAND_WAIT;
        if reply.is_permanent() { self.refuse(now, &reply) } else { self.say(&reply) }
    }

    fn on_data(&mut self, now: Instant) {
        let refusal = match &self.state {
            State::Open(transaction) if !transaction.envelope.recipients.is_empty() => None,
            // RFC 2033 §4.2 demands 503 here; RFC 5321 §4.1.1.4 allows it.
            State::Open(_) => Some(replies::out_of_order("no valid recipients")),
            _ => Some(replies::out_of_order("send MAIL and RCPT first")),
        };
        if let Some(reply) = refusal {
            self.refuse(now, &reply);
            return self.close_if_pipelined();
        }
        if let State::Open(transaction) = mem::replace(&mut self.state, State::Idle) {
            self.state = State::Beginning(transaction.envelope.recipients.len());
            self.outputs.push_back(Output::Begin(transaction.envelope));
        }
    }

    /// DATA ends a group of pipelined commands (RFC 2920 §3.1). If it is refused, what was sent behind it must not be run:
    /// it may be the content.
    fn close_if_pipelined(&mut self) {
        if !self.buffer.unread().is_empty() {
            self.say(&replies::closing("content sent before DATA was accepted"));
            self.close();
        }
    }

    fn on_ready(&mut self, now: Instant, verdict: Result<(), Reply>) {
        let State::Beginning(recipients) = self.state else { return self.close() };
        match verdict {
            Ok(()) => {
                self.say(&Reply::plain(354, vec!["end with <CRLF>.<CRLF>".into()]));
                self.state =
                    State::Content(ContentReader::new(self.settings.message_bytes_max), Pace::new(now), recipients);
                let unread = self.buffer.take_up_to(usize::MAX);
                self.flush();
                self.read_content(&unread);
            }
            Err(reply) => {
                self.state = State::Idle;
                self.say(&reply);
                self.close_if_pipelined();
            }
        }
    }

    fn on_content(&mut self, now: Instant, bytes: &[u8]) {
        if let State::Content(_, pace, _) = &mut self.state {
            pace.on_bytes(now, bytes.len());
        }
        self.waits_until = now + COMMAND_WAIT;
        self.read_content(bytes);
    }

    fn read_content(&mut self, bytes: &[u8]) {
        let State::Content(reader, _, recipients) = &mut self.state else { return };
        let recipients = *recipients;
        let mut content = Vec::with_capacity(bytes.len());
        let progress = reader.read(bytes, &mut content);
        let verdict = reader.verdict();
        if !content.is_empty() {
            self.outputs.push_back(Output::Content(content));
        }
        if progress.ended {
            self.buffer.push(bytes.get(progress.used..).unwrap_or_default());
            self.on_content_end(verdict, recipients);
        }
    }

    fn on_content_end(&mut self, verdict: Result<u64, ContentFault>, recipients: usize) {
        let Err(fault) = verdict else {
            self.outputs.push_back(Output::End);
            self.state = State::Ending(recipients);
            return;
        };
        self.outputs.push_back(Output::Abort);
        self.state = State::Idle;
        for _ in 0..self.content_replies(recipients) {
            self.say(&replies::content_fault(fault));
        }
        match fault {
            // What stands behind such content may be a second message that another server already let in
            // (CVE-2023-51764): nothing of it is read.
            ContentFault::BareCr | ContentFault::BareLf | ContentFault::Nul => self.close(),
            ContentFault::LineTooLong | ContentFault::TooLarge => {}
        }
    }

    /// RFC 2033 §4.2: LMTP answers for each recipient.
    fn content_replies(&self, recipients: usize) -> usize {
        match self.settings.dialect {
            Dialect::Smtp => 1,
            Dialect::Lmtp => recipients,
        }
    }

    fn on_done(&mut self, now: Instant, mut answers: Vec<Reply>) {
        let State::Ending(recipients) = self.state else { return self.close() };
        answers.resize_with(self.content_replies(recipients), replies::unavailable);
        for answer in &answers {
            self.say(answer);
        }
        if answers.iter().any(Reply::is_success) {
            self.budget.on_message();
        }
        self.state = State::Idle;
        self.waits_until = now + COMMAND_WAIT;
    }

    fn on_starttls(&mut self, now: Instant) {
        if self.tls {
            return self.refuse(now, &replies::out_of_order("TLS is active already"));
        }
        if !self.settings.starttls {
            return self.refuse(now, &replies::not_offered());
        }
        let Some(drained) = self.buffer.drained() else {
            // RFC 3207 §4.2: nothing learnt before TLS may count; bytes behind STARTTLS were injected (CVE-2011-0411).
            self.say(&Reply::new(554, (5, 5, 1), "data after STARTTLS"));
            return self.close();
        };
        self.say(&Reply::new(220, (2, 0, 0), "ready to start TLS"));
        self.flush();
        self.outputs.push_back(Output::StartTls(drained));
        self.state = State::Handshake;
        self.hello = None;
        self.claims = Claims::default();
    }

    fn on_tls_done(&mut self, now: Instant) {
        let State::Handshake = self.state else { return self.close() };
        self.state = State::Idle;
        self.waits_until = now + COMMAND_WAIT;
        self.tls = true;
    }

    fn on_eof(&mut self) {
        // RFC 5321 §4.1.1.4 and §4.1.1.10: a message without its end is discarded.
        if matches!(self.state, State::Content(..)) {
            self.outputs.push_back(Output::Abort);
        }
        self.close();
    }

    fn on_tick(&mut self, now: Instant) {
        if let Some(until) = self.paused_until {
            if now >= until {
                self.paused_until = None;
                self.waits_until = now + COMMAND_WAIT;
            }
        } else if self.deadline().is_some_and(|deadline| now >= deadline) {
            if matches!(self.state, State::Content(..)) {
                self.outputs.push_back(Output::Abort);
            }
            self.say(&replies::timed_out());
            self.close();
        }
    }

    fn idle_command(&mut self, now: Instant, reply: &Reply) {
        self.say(reply);
        let cost = self.budget.on_idle_command();
        self.charge(now, cost);
    }

    fn refuse(&mut self, now: Instant, reply: &Reply) {
        self.say(reply);
        let cost = self.budget.on_error();
        self.charge(now, cost);
    }

    fn charge(&mut self, now: Instant, cost: Cost) {
        if self.settings.peer == Peer::Router {
            return;
        }
        match cost {
            Cost::Nothing => {}
            Cost::Wait(penalty) => self.paused_until = Some(now + penalty),
            Cost::Connection => {
                self.say(&replies::closing("too many errors"));
                self.close();
            }
        }
    }

    fn say(&mut self, reply: &Reply) {
        reply.encode(&mut self.replies);
    }

    fn flush(&mut self) {
        if !self.replies.is_empty() {
            self.outputs.push_back(Output::Write(mem::take(&mut self.replies)));
        }
    }

    fn close(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.flush();
            self.outputs.push_back(Output::Close);
        }
        self.state = State::Closed;
        self.paused_until = None;
    }
}
