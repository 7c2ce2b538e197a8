//! Who connects to a member and never proves who it is: real sessions before login, and bytes that no client would send.

use std::time::Instant;

use laniakea_router::session::{Fault, ImapLogin, Input, LoginOutcome, Peer, Pop3Login, Protection, Settings};

use super::*;
use crate::sim::invariant::Watched;

/// Strangers at one member at a time.
const STRANGERS_MAX: usize = 2;

/// How a stranger behaves.
#[derive(Debug, Clone, Copy)]
enum Habit {
    /// Says nothing.
    Silent,
    /// One byte now and then.
    Drip,
    /// As much as it can, and never the end of a line.
    Flood,
    /// Commands that need no login, as fast as it can.
    Chat,
    /// Commands that are none.
    Babble,
    /// Passwords.
    Guess,
    /// Announces more than it may send.
    Announce,
}

const HABITS: [Habit; 7] =
    [Habit::Silent, Habit::Drip, Habit::Flood, Habit::Chat, Habit::Babble, Habit::Guess, Habit::Announce];

/// One stranger's connection.
pub struct Stranger {
    watched: Watched,
    habit: Habit,
    is_imap: bool,
}

impl World {
    /// A stranger connects, unless there are enough already.
    pub(super) fn meet_stranger(&mut self, id: ProcessId) {
        if self.processes[&id].strangers.len() >= STRANGERS_MAX {
            return;
        }
        let (now, number) = (self.wall(id), self.random.next());
        let habit = HABITS[usize::try_from(self.random.below(HABITS.len() as u64)).unwrap()];
        let is_imap = self.random.one_in(2);
        let settings = Settings::new("sim", Protection::Offered, Peer::Client);
        let watched = if is_imap {
            Watched::new(Box::new(ImapLogin::new(now, settings)), now)
        } else {
            Watched::new(Box::new(Pop3Login::new(now, settings)), now)
        };
        self.process(id).strangers.insert(number, Stranger { watched, habit, is_imap });
        self.after(Duration::from_millis(1), Happening::Stranger { process: id, number });
    }

    /// A stranger says something, or its time is over.
    pub(super) fn hear_stranger(&mut self, id: ProcessId, number: u64) {
        let now = self.wall(id);
        let bytes = self.processes[&id].strangers.get(&number).map(|stranger| (stranger.habit, stranger.is_imap));
        let Some(bytes) = bytes.map(|(habit, is_imap)| self.say(habit, is_imap)) else { return };
        let Some(stranger) = self.process(id).strangers.get_mut(&number) else { return };
        let watched = &mut stranger.watched;
        let is_time = watched.deadline().is_some_and(|deadline| deadline <= now);
        let input = if is_time { Input::Tick } else { Input::Bytes(&bytes) };
        if watched.handle(now, input) {
            watched.handle(now, Input::Login(LoginOutcome::Refused(Fault::BadCredentials)));
        }
        if watched.is_closed() {
            self.process(id).strangers.remove(&number);
            return;
        }
        let left = watched.deadline().map_or(Duration::ZERO, |deadline| deadline - now);
        let wait = self.random.span(1_000, 4_000_000).min(left);
        self.after_local(id, wait, Happening::Stranger { process: id, number });
    }

    fn say(&mut self, habit: Habit, is_imap: bool) -> Vec<u8> {
        let text = |imap: &str, pop3: &str| if is_imap { imap.to_owned() } else { pop3.to_owned() };
        match habit {
            Habit::Silent => String::new(),
            Habit::Drip => "a".to_owned(),
            Habit::Flood => "x".repeat(1 << 14),
            Habit::Chat => text("a NOOP\r\n", "CAPA\r\n").repeat(40),
            Habit::Babble => {
                let bytes = (0..64).map(|_| self.random.below(256) as u8).collect::<Vec<_>>();
                return [bytes, b"\r\n".to_vec()].concat();
            }
            Habit::Guess => text("a LOGIN u p\r\n", "USER u\r\nPASS p\r\n").repeat(8),
            Habit::Announce => text("a LOGIN {4096}\r\n", "AUTH PLAIN\r\n"),
        }
        .into_bytes()
    }

    /// What a process takes for the time, where a clock of the system is asked for.
    fn wall(&self, id: ProcessId) -> Instant {
        self.born + Duration::from_micros(self.local(id).as_micros())
    }
}
