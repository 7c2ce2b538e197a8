//! What is tried next for one login, and until when.
//!
//! A refused connection moves on to the next member at once. When all have been tried, the plan is made anew after a
//! moment, so that a login during a takeover waits and then succeeds. `MOVED` is followed at once, but not in circles.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::handoff::{Moved, SealedTicket};

/// How long one login is tried, from the client's command to our reply.
pub const LOGIN_DEADLINE: Duration = Duration::from_secs(10);
/// Between two rounds over all members; a takeover takes less than a second.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// A member that answers "try again" is asked less and less often.
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Redirects followed without a pause; two members that disagree settle within a tick.
const MOVES_PER_ROUND_MAX: u32 = 3;

/// One login's tries.
#[derive(Debug)]
pub struct Attempts {
    until: Instant,
    /// Still to be tried in this round.
    queue: VecDeque<Target>,
    /// Nothing is tried before this.
    not_before: Instant,
    moves: u32,
    refusals: u32,
    is_planned: bool,
    /// Whether the client has been told something that only the member that said it can go on with.
    is_asked: bool,
    /// Thousandths of the pauses below.
    pace: u32,
}

/// Whom to dial, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A member's handoff address.
    pub member: SocketAddr,
    /// What another member gave us for it.
    pub ticket: Option<SealedTicket>,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Look the members up and call [`Attempts::on_plan`].
    Plan,
    /// Dial.
    Dial(Target),
    /// Wait until then and ask again.
    Wait(Instant),
    /// Time is up.
    GiveUp,
}

impl Attempts {
    /// Begins at `now`; ends [`LOGIN_DEADLINE`] later. `random` decides its pace, up to a fifth faster or slower than others: of
    /// the thousands that wait for one takeover, not all are to ask in the same moment again and again.
    #[must_use]
    pub fn new(now: Instant, random: u32) -> Self {
        let until = now + LOGIN_DEADLINE;
        let pace = 800 + random % 400;
        Self {
            until,
            queue: VecDeque::new(),
            not_before: now,
            moves: 0,
            refusals: 0,
            is_planned: false,
            is_asked: false,
            pace,
        }
    }

    /// Says what to do now.
    pub fn next(&mut self, now: Instant) -> Next {
        if now >= self.until {
            return Next::GiveUp;
        }
        if now < self.not_before {
            return Next::Wait(self.not_before.min(self.until));
        }
        if let Some(target) = self.queue.pop_front() {
            return Next::Dial(target);
        }
        if self.is_asked {
            return Next::GiveUp;
        }
        if !self.is_planned {
            return Next::Plan;
        }
        self.pause(now, ROUND_PAUSE);
        Next::Wait(self.not_before.min(self.until))
    }

    /// When the login must have succeeded.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }

    /// A member has the client asked for more: from now on this login succeeds there, or where that member sends it with a
    /// ticket, or not at all.
    pub fn on_asked(&mut self) {
        self.queue.clear();
        self.is_asked = true;
    }

    /// The client has answered: what it took for that does not count.
    pub fn prolong(&mut self, now: Instant) {
        self.until = now + LOGIN_DEADLINE;
    }

    /// Takes the members to try in this round.
    pub fn on_plan(&mut self, members: Vec<SocketAddr>) {
        self.queue = members.into_iter().map(|member| Target { member, ticket: None }).collect();
        self.moves = 0;
        self.is_planned = true;
    }

    /// A member named the owner: it is next, unless redirects begin to go in circles.
    pub fn on_moved(&mut self, now: Instant, moved: Moved) {
        self.moves += 1;
        self.queue.clear();
        if self.moves > MOVES_PER_ROUND_MAX {
            self.pause(now, ROUND_PAUSE);
        } else {
            self.queue.push_back(Target { member: moved.owner, ticket: Some(moved.ticket) });
        }
    }

    /// The owner does not take the ticket that another member gave us for it: their clocks may be too far apart. It is asked
    /// again without, and verifies the login itself.
    pub fn on_ticket_refused(&mut self, owner: SocketAddr) {
        if self.is_asked {
            return;
        }
        self.queue.push_front(Target { member: owner, ticket: None });
    }

    /// A member answered that it cannot serve the account at the moment. All others may wait for the same thing, but it
    /// may also be the only one that does not reach the storage: after a pause the next one is asked.
    pub fn on_unavailable(&mut self, now: Instant) {
        let pause = ROUND_PAUSE.saturating_mul(1 << self.refusals.min(4)).min(REFUSED_PAUSE_MAX);
        self.refusals += 1;
        if self.queue.is_empty() {
            self.pause(now, pause);
        } else {
            self.not_before = now + self.paced(pause);
        }
    }

    /// Ends the round; the next one begins with a fresh plan.
    fn pause(&mut self, now: Instant, pause: Duration) {
        self.queue.clear();
        self.is_planned = false;
        self.not_before = now + self.paced(pause);
    }

    fn paced(&self, pause: Duration) -> Duration {
        pause * self.pace / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neither faster nor slower.
    const EVEN: u32 = 200;

    fn member(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn dial(port: u16) -> Next {
        Next::Dial(Target { member: member(port), ticket: None })
    }

    fn moved(port: u16) -> Moved {
        Moved { owner: member(port), ticket: SealedTicket::from_bytes(b"t").unwrap() }
    }

    #[test]
    fn who_was_asked_is_followed_by_ticket_alone() {
        let now = Instant::now();
        let mut attempts = Attempts::new(now, EVEN);
        attempts.on_plan(vec![member(1), member(2)]);
        assert_eq!(attempts.next(now), dial(1));
        attempts.on_asked();
        let moved: Moved = "MOVED 192.0.2.1:3 AAAA".parse().unwrap();
        attempts.on_moved(now, moved.clone());
        assert_eq!(attempts.next(now), Next::Dial(Target { member: moved.owner, ticket: Some(moved.ticket) }));
        attempts.on_ticket_refused(member(3));
        assert_eq!(attempts.next(now), Next::GiveUp);
    }

    #[test]
    fn a_refused_connection_goes_on_to_the_next_member_at_once_and_then_begins_anew() {
        let now = Instant::now();
        let mut attempts = Attempts::new(now, EVEN);
        assert_eq!(attempts.next(now), Next::Plan);
        attempts.on_plan(vec![member(1), member(2)]);
        assert_eq!(attempts.next(now), dial(1));
        assert_eq!(attempts.next(now), dial(2));
        assert_eq!(attempts.next(now), Next::Wait(now + ROUND_PAUSE));
        assert_eq!(attempts.next(now + ROUND_PAUSE), Next::Plan);
    }

    #[test]
    fn the_deadline_ends_everything() {
        let now = Instant::now();
        let mut attempts = Attempts::new(now, EVEN);
        let late = now + LOGIN_DEADLINE;
        attempts.on_plan(vec![member(1)]);
        assert_eq!(attempts.next(late), Next::GiveUp);
        let mut attempts = Attempts::new(now, EVEN);
        attempts.on_unavailable(late - ROUND_PAUSE / 2);
        assert_eq!(attempts.next(late - ROUND_PAUSE / 2), Next::Wait(late));
    }

    #[test]
    fn moved_is_followed_with_its_ticket_but_not_in_circles() {
        let now = Instant::now();
        let mut attempts = Attempts::new(now, EVEN);
        attempts.on_plan(vec![member(1), member(2)]);
        for port in [3, 4, 3] {
            attempts.on_moved(now, moved(port));
            let ticket = Some(moved(port).ticket);
            assert_eq!(attempts.next(now), Next::Dial(Target { member: member(port), ticket }));
        }
        attempts.on_moved(now, moved(4));
        assert_eq!(attempts.next(now), Next::Wait(now + ROUND_PAUSE));
    }

    #[test]
    fn an_owner_that_refuses_the_ticket_is_asked_without_at_once() {
        let now = Instant::now();
        let mut attempts = Attempts::new(now, EVEN);
        attempts.on_plan(vec![member(1), member(2)]);
        attempts.on_moved(now, moved(3));
        assert!(matches!(attempts.next(now), Next::Dial(Target { ticket: Some(_), .. })));
        attempts.on_ticket_refused(member(3));
        assert_eq!(attempts.next(now), dial(3));
        attempts.on_unavailable(now);
        assert_eq!(attempts.next(now), Next::Wait(now + ROUND_PAUSE));
    }

    #[test]
    fn a_member_that_cannot_does_not_keep_the_others_from_being_asked() {
        let mut now = Instant::now();
        let mut attempts = Attempts::new(now, EVEN);
        attempts.on_plan(vec![member(1), member(2)]);
        assert_eq!(attempts.next(now), dial(1));
        attempts.on_unavailable(now);
        assert_eq!(attempts.next(now), Next::Wait(now + ROUND_PAUSE));
        now += ROUND_PAUSE;
        assert_eq!(attempts.next(now), dial(2));
        attempts.on_unavailable(now);
        assert_eq!(attempts.next(now + 2 * ROUND_PAUSE), Next::Plan);
    }

    #[test]
    fn a_member_that_cannot_is_asked_less_and_less_often() {
        let mut now = Instant::now();
        let mut attempts = Attempts::new(now, EVEN);
        for pause in [100, 200, 400, 800, 1000, 1000] {
            attempts.on_plan(vec![member(1)]);
            assert_eq!(attempts.next(now), dial(1));
            attempts.on_unavailable(now);
            now += Duration::from_millis(pause);
            assert_eq!(attempts.next(now), Next::Plan, "{pause}");
        }
    }

    #[test]
    fn logins_that_wait_for_the_same_thing_do_not_ask_in_the_same_moment() {
        let now = Instant::now();
        let mut moments: Vec<_> = (0..400)
            .map(|random| {
                let mut attempts = Attempts::new(now, random);
                attempts.on_plan(vec![]);
                let Next::Wait(until) = attempts.next(now) else { panic!() };
                until
            })
            .collect();
        moments.sort_unstable();
        moments.dedup();
        assert_eq!(moments.len(), 400);
        assert_eq!((moments[0], moments[399] < now + ROUND_PAUSE * 6 / 5), (now + ROUND_PAUSE * 4 / 5, true));
    }
}
