//! What a seat concludes from evidence.

use laniakea_config::ClusterTiming;

use super::*;
use crate::cluster::{
    Answer, ArbiterAnswer, Claim, DrainRecord, FenceOutcome, Health, LinkId, LiveEntry, Message, Ping, Pong,
    Registration, Side, TermRecord, TickName,
    fixture::{account, at, incarnation, peer},
    seat::Event,
};

fn survey(counter: u64) -> Survey {
    let sees: Slots = [0, 1].into_iter().collect();
    let entry = |name| LiveEntry { peer: peer(name, 1), tick: Some(TickName { counter, sees }) };
    let term = TermRecord { term: 1, controller: incarnation("a", 1) };
    Survey { term: Some(term), live: vec![entry("a"), entry("b")], ..Survey::default() }
}

#[test]
fn a_controller_that_answers_but_does_not_reach_the_storage_is_deposed() {
    let mut seat = Seat::new(at(0), peer("b", 1), ClusterTiming::default());
    seat.on_survey(at(0), at(0), survey(1));
    for (number, side) in [(1, Side::Accepted), (2, Side::Dialled)] {
        seat.step(at(1), Event::LinkUp { link: LinkId(number), side, peer: peer("a", 1) });
    }
    // All is well at first: nothing is read, and nobody campaigns. Then the controller's last tick grows old.
    for now in (200..8_000).step_by(200) {
        seat.ticked(at(now));
        let storage_age_ms = u32::try_from(now).unwrap();
        let health = Health { term: None, sees: [1].into_iter().collect(), storage_age_ms };
        let pong = Message::Pong(Pong { sent: at(now), health: health.clone(), lease: true, registered: None });
        let ping = Message::Ping(Ping { sent: at(now), health });
        let mut commands = seat.step(at(now), Event::Received { link: LinkId(2), message: pong });
        commands.extend(seat.step(at(now), Event::Received { link: LinkId(1), message: ping }));
        if commands.iter().any(|command| matches!(command, Command::Ask(ArbiterCall::Survey))) {
            let answer = ArbiterAnswer::Surveyed(survey(now));
            commands.extend(seat.step(at(now + 1), Event::Arbiter { began: at(now), answer }));
        }
        if commands.iter().any(|command| matches!(command, Command::Ask(ArbiterCall::WinTerm { term: 2, .. }))) {
            assert!(now > 5_000, "it campaigned after {now} ms");
            return;
        }
    }
    panic!("nobody campaigns");
}

/// The controller before marked this member to be fenced, and died before it did it. What a member owns that became
/// controller itself must not be free when the lease of the one that was marked would be over.
#[test]
fn a_controller_that_was_marked_and_not_fenced_keeps_its_own_place() {
    let mut seat = Seat::new(at(0), peer("a", 1), ClusterTiming::default());
    let me = incarnation("a", 1);
    let mut won: Option<TermRecord> = None;
    let mut answered = Vec::new();
    for now in (0..10_000).step_by(50) {
        seat.ticked(at(now));
        let mut asked = seat.step(at(now), Event::Timer);
        // One claim as soon as there is a controller, one long after the lease of the one that was marked.
        if now == 1_000 || now == 9_000 {
            asked.extend(seat.step(at(now), Event::Claims(vec![(now, account(now.into()))])));
        }
        while let Some(command) = asked.pop() {
            let answer = match command {
                Command::Ask(ArbiterCall::Survey) => {
                    let live = vec![LiveEntry { peer: peer("a", 1), tick: None }];
                    let cooling = vec![me.clone()];
                    ArbiterAnswer::Surveyed(Survey { term: won.clone(), live, cooling, ..Survey::default() })
                }
                Command::Ask(ArbiterCall::WinTerm { term, candidate }) => {
                    ArbiterAnswer::Term(won.insert(TermRecord { term, controller: candidate }).clone())
                }
                Command::Ask(ArbiterCall::RecordDrains(record)) => {
                    let (term, number) = (record.term, record.number);
                    ArbiterAnswer::DrainsRecorded { term, number, superseded: None }
                }
                Command::Ask(call) => panic!("{call:?}"),
                Command::Answer { request, outcome: Ok(Claim::Granted(_)) } => {
                    answered.push(request);
                    continue;
                }
                _ => continue,
            };
            asked.extend(seat.step(at(now), Event::Arbiter { began: at(now), answer }));
        }
    }
    assert_eq!(answered, [1_000, 9_000]);
}

/// A seat with a filesystem that always answers, unless told not to read.
struct Play {
    seat: Seat,
    live: Vec<(Peer, Slots)>,
    term: Option<TermRecord>,
    reads: bool,
    asked: Vec<ArbiterCall>,
    granted: Vec<u64>,
    sent: Vec<Message>,
    lease: Option<Moment>,
}

impl Play {
    fn new(me: &str, live: Vec<(Peer, Slots)>, term: Option<TermRecord>) -> Self {
        let seat = Seat::new(at(0), peer(me, 1), ClusterTiming::default());
        let (asked, granted, sent) = (Vec::new(), Vec::new(), Vec::new());
        let mut play = Self { seat, live, term, reads: true, asked, granted, sent, lease: None };
        let survey = play.survey(0);
        play.seat.on_survey(at(0), at(0), survey);
        play
    }

    fn survey(&self, now: u64) -> Survey {
        let entry = |(peer, sees): &(Peer, Slots)| {
            let tick = Some(TickName { counter: now, sees: *sees });
            LiveEntry { peer: peer.clone(), tick }
        };
        Survey { term: self.term.clone(), live: self.live.iter().map(entry).collect(), ..Survey::default() }
    }

    fn step(&mut self, now: u64, event: Event) {
        let mut commands = self.seat.step(at(now), event);
        while !commands.is_empty() {
            for command in std::mem::take(&mut commands) {
                match command {
                    Command::Ask(call) => {
                        self.asked.push(call.clone());
                        if let Some(answer) = self.answer(now, call) {
                            commands.extend(self.seat.step(at(now), Event::Arbiter { began: at(now), answer }));
                        }
                    }
                    Command::Answer { request, outcome: Ok(Claim::Granted(_)) } => self.granted.push(request),
                    Command::Send { message, .. } => self.sent.push(message),
                    Command::Lease(until) => self.lease = until,
                    _ => {}
                }
            }
        }
    }

    fn answer(&mut self, now: u64, call: ArbiterCall) -> Option<ArbiterAnswer> {
        Some(match call {
            ArbiterCall::Survey if self.reads => ArbiterAnswer::Surveyed(self.survey(now)),
            ArbiterCall::WinTerm { term, candidate } => {
                ArbiterAnswer::Term(self.term.insert(TermRecord { term, controller: candidate }).clone())
            }
            ArbiterCall::RecordDrains(DrainRecord { term, number, .. }) => {
                ArbiterAnswer::DrainsRecorded { term, number, superseded: None }
            }
            ArbiterCall::Fence { incarnation, .. } => {
                self.live.retain(|(one, _)| one.incarnation != incarnation);
                ArbiterAnswer::Fenced { incarnation, outcome: FenceOutcome::Fenced }
            }
            _ => return None,
        })
    }

    /// Lets time pass; with `ticks`, this member's tick goes on.
    fn pass(&mut self, from: u64, to: u64, ticks: bool) {
        for now in (from..to).step_by(50) {
            if ticks {
                self.seat.ticked(at(now));
            }
            self.step(now, Event::Timer);
        }
    }

    fn has_fenced(&self, member: &str) -> bool {
        let is_his = |call: &ArbiterCall| matches!(call, ArbiterCall::Fence { incarnation, .. } if incarnation.member == incarnation_of(member));
        self.asked.iter().any(is_his)
    }

    /// A fellow dials, and registers with nothing; it answers what this seat sends no further.
    fn meet(&mut self, now: u64, fellow: &str, term: u64) {
        self.step(now, Event::LinkUp { link: LinkId(1), side: Side::Accepted, peer: peer(fellow, 1) });
        self.step(now, Event::LinkUp { link: LinkId(2), side: Side::Dialled, peer: peer(fellow, 1) });
        self.register(now, term);
    }

    fn register(&mut self, now: u64, term: u64) {
        let part = Registration { term, first: true, last: true, leaving: false, owned: Vec::new() };
        self.step(now, Event::Received { link: LinkId(1), message: Message::Register(part) });
    }

    /// The fellow in `slot` pings, and answers a ping, as one that sees everybody.
    fn chat(&mut self, now: u64, registered: Option<Slots>) {
        let health = Health { term: self.term.clone(), sees: [0, 1].into_iter().collect(), storage_age_ms: 0 };
        let pong = Message::Pong(Pong { sent: at(now), health: health.clone(), lease: true, registered });
        self.step(now, Event::Received { link: LinkId(2), message: pong });
        self.step(now, Event::Received { link: LinkId(1), message: Message::Ping(Ping { sent: at(now), health }) });
    }

    /// Time passes while the fellow is well.
    fn chat_on(&mut self, from: u64, to: u64) {
        for now in (from..to).step_by(100) {
            self.seat.ticked(at(now));
            self.chat(now, None);
            self.step(now, Event::Timer);
        }
    }
}

fn incarnation_of(member: &str) -> laniakea_directory::MemberName {
    incarnation(member, 1).member
}

/// It was started anew after its last run had been the controller, stands before its first look at the directory, and
/// ticks. Its slot is the lower one, and the controller's.
#[test]
fn nobody_yields_to_a_member_that_hangs_in_its_start() {
    let before = TermRecord { term: 7, controller: incarnation("a", 1) };
    let hangs = (peer("a", 2), Slots::NONE);
    let mut play = Play::new("b", vec![hangs, (peer("b", 1), Slots::NONE)], Some(before.clone()));
    play.step(1, Event::Claims(vec![(1, account(1))]));
    play.pass(50, 5_000, true);
    assert_eq!(play.term.as_ref().map(|record| record.term), Some(8));
    assert!(play.has_fenced("a"));
    assert_eq!(play.granted, [1]);

    // Who has a seat and is cut off is another matter: both sides must decide alike.
    let seated = (peer("a", 2), Slots::NONE.with(0));
    let mut play = Play::new("b", vec![seated, (peer("b", 1), Slots::NONE)], Some(before));
    play.pass(50, 5_000, true);
    assert_eq!(play.term.map(|record| record.term), Some(7));
}

#[test]
fn a_controller_that_keeps_what_it_recalls_from_itself_is_fenced() {
    let mut play = Play::new("a", vec![(peer("a", 1), Slots::NONE), (peer("b", 1), Slots::NONE)], None);
    play.meet(1, "b", 1);
    play.pass(50, 100, true);
    play.register(100, 1);
    play.step(150, Event::Claims(vec![(1, account(1))]));
    assert_eq!(play.granted, [1]);
    play.step(200, Event::Drain { request: 0, member: incarnation_of("a"), on: true });
    play.chat_on(200, 5_100);
    assert!(!play.has_fenced("a"), "it has its five seconds");
    assert!(play.lease.is_some());
    play.chat_on(5_100, 5_400);
    assert!(play.has_fenced("a"));
    assert!(play.seat.controller().is_none());
    assert_eq!(play.lease, None);
}

#[test]
fn a_controller_that_keeps_what_nobody_else_could_serve_stays() {
    let mut play = Play::new("a", vec![(peer("a", 1), Slots::NONE)], None);
    play.pass(50, 100, true);
    play.step(150, Event::Claims(vec![(1, account(1))]));
    play.step(200, Event::Retire);
    play.pass(200, 9_000, true);
    assert!(!play.has_fenced("a"));
    // Who comes now and wants it gets it when it is free.
    play.live.push((peer("b", 1), Slots::NONE));
    play.meet(9_000, "b", 1);
    let claim = Message::Claims { term: 1, wanted: vec![account(1)] };
    play.step(9_050, Event::Received { link: LinkId(1), message: claim });
    let epoch = play.seat.member().epoch_of(&account(1)).unwrap();
    play.step(9_100, Event::Releases(vec![(account(1), epoch)]));
    let is_grant = |message: &Message| matches!(message, Message::Answers { answers, .. } if matches!(answers[..], [(_, Answer::Granted(_))]));
    assert!(play.sent.iter().any(is_grant));
}

/// The fellow may have had this member fenced before, and have granted what it owns: only a tick since tells.
#[test]
fn a_lease_needs_a_tick_begun_since_a_fellow_was_given_up() {
    let before = TermRecord { term: 1, controller: incarnation("a", 1) };
    let mut play = Play::new("b", vec![(peer("a", 1), Slots::NONE), (peer("b", 1), Slots::NONE)], Some(before));
    play.meet(1, "a", 1);
    let registered = Message::Registered { term: 1 };
    play.step(2, Event::Received { link: LinkId(2), message: registered });
    play.seat.ticked(at(10));
    play.chat(10, Some([0, 1].into_iter().collect()));
    assert_eq!(play.lease, Some(at(10) + ClusterTiming::default().read_lease));
    // The fellow's process ends. This one wins the term, and has it fenced, before its own next tick.
    play.step(20, Event::LinkDown(LinkId(1)));
    play.step(20, Event::LinkDown(LinkId(2)));
    play.step(21, Event::DialFailed { incarnation: incarnation("a", 1), refused: true });
    play.pass(50, 400, false);
    assert!(play.has_fenced("a"));
    assert!(play.seat.controller().is_some_and(Controller::is_granting));
    assert_eq!(play.lease, None);
    play.pass(400, 450, true);
    assert_eq!(play.lease, Some(at(400) + ClusterTiming::default().read_lease));
}

/// An earlier controller may have had this member fenced, and somebody who has not heard of the new term may take what it
/// granted. When all are gathered there is nobody left who would.
#[test]
fn no_lease_begins_before_all_are_gathered() {
    let mut play = Play::new("a", vec![(peer("a", 1), Slots::NONE), (peer("b", 1), Slots::NONE)], None);
    play.reads = false;
    play.step(1, Event::LinkUp { link: LinkId(1), side: Side::Accepted, peer: peer("b", 1) });
    play.step(1, Event::LinkUp { link: LinkId(2), side: Side::Dialled, peer: peer("b", 1) });
    play.chat_on(50, 300);
    play.register(300, 1);
    play.sent.clear();
    play.chat_on(300, 600);
    let leases = |play: &Play| {
        let is_leased = |message: &&Message| matches!(message, Message::Pong(pong) if pong.registered.is_some());
        (play.lease.is_some(), play.sent.iter().any(|message| is_leased(&message)))
    };
    assert!(play.seat.controller().is_some_and(|one| !one.is_granting() && one.registered().len() == 2));
    assert_eq!(leases(&play), (false, false), "of the controller itself, of who is registered");
    play.reads = true;
    let answer = ArbiterAnswer::Surveyed(play.survey(600));
    play.step(600, Event::Arbiter { began: at(600), answer });
    play.chat_on(650, 900);
    assert_eq!(leases(&play), (true, true));
}

#[test]
fn a_controller_whose_readings_of_the_directory_hang_says_so() {
    let mut play = Play::new("a", vec![(peer("a", 1), Slots::NONE), (peer("b", 1), Slots::NONE)], None);
    play.reads = false;
    play.meet(1, "b", 1);
    play.chat_on(50, 7_000);
    let age = |message: &Message| match message {
        Message::Pong(pong) => pong.health.storage_age_ms,
        _ => 0,
    };
    assert!(play.seat.controller().is_some());
    assert!(play.sent.iter().map(age).max().unwrap() > 5_000);
}
