//! Is a fellow dead? The evidence about one incarnation, and what it amounts to.
//!
//! A verdict never makes anything safe: it says when to *try* a fence. Evidence that was gathered while this process
//! itself stood still is no evidence ([`Contact::excuse`]).

use std::time::Duration;

use laniakea_config::ClusterTiming;

use super::{Health, LinkId, Moment, Peer, Slots};

/// After a link ended: how long until the first, second and third attempt to reach the peer again, in `probe`s.
const PROBES: [u32; 3] = [0, 1, 3];

/// How sure we are that an incarnation is gone for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// Nobody listens at its address.
    Refused,
    /// A later incarnation of the same member exists.
    Replaced,
    /// It said so.
    Left,
    /// Its live directory is not listed any more.
    Missing,
}

/// What the evidence amounts to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answers.
    Alive,
    /// A link to it ended and the probes have not told yet.
    Doubtful,
    /// Silent for a while: nothing new goes there.
    Suspect,
    /// Silent for too long.
    Silent,
    /// Certainly not coming back.
    Gone(Gone),
}

/// A tick as read from the shared filesystem, twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TickSeen {
    counter: u64,
    first: Moment,
    last: Moment,
}

/// The attempts to reach a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Redial {
    attempt: usize,
    due: Moment,
    under_way: bool,
}

/// What one member knows of one incarnation of a fellow.
#[derive(Debug, Clone)]
pub struct Contact {
    /// Who it is and how to reach it.
    pub peer: Peer,
    /// Who answers it, as it said last.
    pub sees: Slots,
    /// How old its last tick was, as it said last.
    pub storage_age: Duration,
    /// The link we dialled.
    pub dialled: Option<LinkId>,
    /// The link it dialled.
    pub accepted: Option<LinkId>,
    /// Since when we mean to fence it, though it answers.
    pub condemned: Option<Moment>,
    /// Since when its live directory is not listed any more.
    pub missing: Option<Moment>,
    /// It is fenced; until then what it owned is not granted.
    pub cooling: Option<Moment>,
    /// Since when it has stood outside the winning side.
    pub outside: Option<Moment>,
    /// Whether the controller's table was told that this incarnation is in doubt.
    pub doubt_told: bool,
    watched: Moment,
    heard: Option<Moment>,
    spoke: Option<Moment>,
    answered: Option<Moment>,
    leased: Option<Moment>,
    up: Option<Moment>,
    ended: bool,
    gone: Option<(Gone, Moment)>,
    tick: Option<TickSeen>,
    redial: Redial,
}

impl Contact {
    /// Begins to watch `peer`; it is to be dialled at once.
    #[must_use]
    pub fn new(now: Moment, peer: Peer) -> Self {
        Self {
            peer,
            sees: Slots::NONE,
            storage_age: Duration::ZERO,
            dialled: None,
            accepted: None,
            condemned: None,
            outside: None,
            missing: None,
            cooling: None,
            doubt_told: false,
            watched: now,
            heard: None,
            spoke: None,
            answered: None,
            leased: None,
            up: None,
            ended: false,
            gone: None,
            tick: None,
            redial: Redial { attempt: 0, due: now, under_way: false },
        }
    }

    /// It said something; so it knows us.
    pub fn hear(&mut self, now: Moment) {
        self.spoke = self.spoke.max(Some(now));
        self.note_life(now);
    }

    /// Its live directory is listed again.
    pub fn find(&mut self) {
        self.missing = None;
        if matches!(self.gone, Some((Gone::Missing, _))) {
            self.gone = None;
        }
    }

    fn note_life(&mut self, now: Moment) {
        self.heard = self.heard.max(Some(now));
        if matches!(self.gone, Some((Gone::Refused, _))) {
            self.gone = None;
        }
    }

    /// It told how it is.
    pub fn learn(&mut self, health: &Health) {
        self.sees = health.sees;
        self.storage_age = Duration::from_millis(u64::from(health.storage_age_ms));
    }

    /// It answered the ping sent at `sent`; with `lease` unless it means to fence us.
    pub fn answer(&mut self, sent: Moment, lease: bool) {
        self.answered = self.answered.max(Some(sent));
        if lease {
            self.leased = self.leased.max(Some(sent));
        }
    }

    /// A link came up: no doubt is left.
    pub fn link_up(&mut self, now: Moment) {
        self.ended = false;
        self.up = Some(now);
        self.note_life(now);
    }

    /// It has reached us: so a way is there, and an attempt of ours that hangs is not waited for.
    pub fn reached_us(&mut self, now: Moment) {
        if self.dialled.is_none() {
            self.redial = Redial { attempt: 0, due: now, under_way: false };
        }
    }

    /// A link ended: reach for it at once, unless we still hold the link we dialled, or it ends links without a word.
    pub fn link_ended(&mut self, now: Moment, timing: &ClusterTiming) {
        if self.dialled.is_some() {
            return;
        }
        self.ended = true;
        let under_way = self.redial.under_way;
        if self.up.is_some_and(|since| self.spoke.is_none_or(|spoke| spoke < since)) {
            self.unreachable(now, timing);
        } else {
            self.redial = Redial { attempt: 0, due: now, under_way };
        }
        self.redial.under_way = under_way;
    }

    /// Says whether it is certainly not coming back.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        self.gone.is_some()
    }

    /// Since when it has been watched, or excused.
    #[must_use]
    pub const fn watched(&self) -> Moment {
        self.watched
    }

    /// It is gone for good.
    pub fn bury(&mut self, now: Moment, how: Gone) {
        let since = self.gone.map_or(now, |(_, since)| since);
        self.gone = Some((how, since));
    }

    /// How it is known not to come back, if it is.
    #[must_use]
    pub fn how_gone(&self) -> Option<Gone> {
        self.gone.map(|(how, _)| how)
    }

    /// Since when it is known not to come back.
    #[must_use]
    pub fn gone_since(&self) -> Option<Moment> {
        self.gone.map(|(_, since)| since)
    }

    /// An attempt to reach it failed without a refusal; the next one is due later.
    pub fn unreachable(&mut self, now: Moment, timing: &ClusterTiming) {
        let attempt = self.redial.attempt + 1;
        let wait = PROBES.get(attempt).map_or(timing.ping, |probes| *probes * timing.probe);
        self.redial = Redial { attempt, due: now + wait, under_way: false };
    }

    /// Says whether it is time to dial, and notes that somebody does.
    pub fn begin_dialling(&mut self, now: Moment) -> bool {
        let due =
            self.dialled.is_none() && self.is_worth_dialling() && !self.redial.under_way && self.redial.due <= now;
        self.redial.under_way |= due;
        due
    }

    /// Who is only not listed may still be there, or refuse, and then it is certain that it is not.
    fn is_worth_dialling(&self) -> bool {
        matches!(self.how_gone(), None | Some(Gone::Missing))
    }

    /// The link we dialled came up or down: nobody is dialling any more.
    pub fn end_dialling(&mut self) {
        self.redial.under_way = false;
    }

    /// Its tick was read. `began` and `ended` frame the reading.
    pub fn observe_tick(&mut self, counter: u64, began: Moment, ended: Moment) {
        self.tick = Some(match self.tick {
            // The first reading counts from its end, later ones to their beginning: the span between is certain.
            Some(seen) if seen.counter == counter => TickSeen { last: began, ..seen },
            _ => TickSeen { counter, first: ended, last: ended },
        });
    }

    /// This process stood still until `now`: whatever it has not heard since then counts for nothing.
    pub fn excuse(&mut self, now: Moment) {
        self.watched = now;
        self.tick = None;
    }

    /// Since when it has said nothing.
    fn quiet_since(&self) -> Moment {
        self.heard.map_or(self.watched, |heard| heard.max(self.watched))
    }

    /// For how long it has said nothing.
    #[must_use]
    pub fn silence(&self, now: Moment) -> Duration {
        now.since(self.quiet_since())
    }

    /// The send time of the last ping it answered without meaning to fence us.
    #[must_use]
    pub const fn leased(&self) -> Option<Moment> {
        self.leased
    }

    /// Says whether it answered a ping of ours lately.
    #[must_use]
    pub fn is_seen(&self, now: Moment, timing: &ClusterTiming) -> bool {
        let answered = self.answered.is_some_and(|sent| now.since(sent) < timing.suspect);
        answered && self.gone.is_none() && self.dialled.is_some()
    }

    /// Says whether it ever said anything: then it counts us among its fellows, and its lease needs our answers.
    #[must_use]
    pub const fn was_met(&self) -> bool {
        self.spoke.is_some()
    }

    /// Says whether it has ever taken its seat: then it has spoken, or says in its ticks that it is there itself. Who hangs
    /// on its way to a seat ticks as well, but will neither campaign nor fence anybody.
    #[must_use]
    pub const fn has_seat(&self) -> bool {
        self.was_met() || self.sees.contains(self.peer.slot)
    }

    /// Says whether its tick stood still between two of our own readings for as long as death takes.
    #[must_use]
    pub fn has_stopped_ticking(&self, timing: &ClusterTiming) -> bool {
        self.tick.is_some_and(|seen| seen.last.since(seen.first) >= timing.dead)
    }

    /// What the evidence amounts to.
    #[must_use]
    pub fn verdict(&self, now: Moment, timing: &ClusterTiming) -> Verdict {
        let silence = self.silence(now);
        match self.gone {
            Some((how, _)) => Verdict::Gone(how),
            None if silence >= timing.dead => Verdict::Silent,
            None if silence >= timing.suspect => Verdict::Suspect,
            None if self.ended => Verdict::Doubtful,
            None => Verdict::Alive,
        }
    }

    /// Says whether it is worth reading ticks for: two signs of life are missing, or more.
    #[must_use]
    pub fn is_in_doubt(&self, now: Moment, timing: &ClusterTiming) -> bool {
        self.ended || self.gone.is_some() || self.silence(now) >= 2 * timing.ping
    }

    /// When the verdict may change by itself, or a dial is due.
    #[must_use]
    pub fn deadline(&self, now: Moment, timing: &ClusterTiming) -> Option<Moment> {
        let quiet = self.quiet_since();
        let thresholds = [2 * timing.ping, timing.suspect, timing.dead].map(|span| quiet + span);
        let dials = self.dialled.is_none() && self.is_worth_dialling() && !self.redial.under_way;
        let dial = dials.then_some(self.redial.due);
        let condemned = self.condemned.map(|since| since + timing.lease_over());
        let outside = self.outside.map(|since| since + timing.dead);
        let later = thresholds.into_iter().chain(condemned).chain(outside).filter(|at| *at > now);
        match self.gone {
            Some((_, since)) => {
                let over = [Some(since + timing.lease_over()), self.cooling].into_iter().flatten();
                over.filter(|at| *at > now).chain(dial).min()
            }
            None => later.chain(dial).min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fixture::{at, peer};

    fn timing() -> ClusterTiming {
        ClusterTiming::default()
    }

    #[test]
    fn silence_is_suspected_after_one_second_and_dead_after_two() {
        let mut contact = Contact::new(at(0), peer("b", 1));
        contact.link_up(at(100));
        assert_eq!(contact.verdict(at(1099), &timing()), Verdict::Alive);
        assert_eq!(contact.verdict(at(1100), &timing()), Verdict::Suspect);
        assert_eq!(contact.verdict(at(2100), &timing()), Verdict::Silent);
        contact.hear(at(2101));
        assert_eq!(contact.verdict(at(2101), &timing()), Verdict::Alive);
    }

    #[test]
    fn an_ended_link_is_probed_at_once_then_after_50_and_150_ms() {
        let mut contact = Contact::new(at(0), peer("b", 1));
        contact.link_up(at(0));
        contact.hear(at(0));
        contact.link_ended(at(1000), &timing());
        assert_eq!(contact.verdict(at(1000), &timing()), Verdict::Suspect);
        for (now, due) in [(1000, 1050), (1050, 1200), (1200, 1400)] {
            assert!(contact.begin_dialling(at(now)), "{now}");
            assert!(!contact.begin_dialling(at(now)), "one attempt at a time");
            contact.unreachable(at(now), &timing());
            assert!(!contact.begin_dialling(at(due - 1)));
        }
        contact.bury(at(1400), Gone::Refused);
        assert_eq!(contact.verdict(at(1400), &timing()), Verdict::Gone(Gone::Refused));
        assert!(!contact.begin_dialling(at(9000)), "the dead are not called");
    }

    #[test]
    fn who_reaches_us_is_dialled_at_once_though_an_attempt_hangs() {
        let mut contact = Contact::new(at(0), peer("b", 1));
        assert!(contact.begin_dialling(at(0)));
        contact.reached_us(at(500));
        assert!(contact.begin_dialling(at(500)));
        assert!(!contact.begin_dialling(at(500)), "once for each time it does");
    }

    #[test]
    fn a_tick_counts_as_stopped_only_between_two_own_readings() {
        let mut contact = Contact::new(at(0), peer("b", 1));
        contact.observe_tick(7, at(0), at(900));
        assert!(!contact.has_stopped_ticking(&timing()));
        contact.observe_tick(7, at(2800), at(9000));
        assert!(!contact.has_stopped_ticking(&timing()), "a slow reading proves nothing");
        contact.observe_tick(7, at(2900), at(2901));
        assert!(contact.has_stopped_ticking(&timing()));
        contact.observe_tick(8, at(3000), at(3001));
        assert!(!contact.has_stopped_ticking(&timing()));
    }

    #[test]
    fn a_process_that_stood_still_judges_nobody() {
        let mut contact = Contact::new(at(0), peer("b", 1));
        contact.link_up(at(0));
        contact.excuse(at(60_000));
        assert_eq!(contact.verdict(at(60_000), &timing()), Verdict::Alive);
        assert_eq!(contact.verdict(at(62_000), &timing()), Verdict::Silent);
    }
}
