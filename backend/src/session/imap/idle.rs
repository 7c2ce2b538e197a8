//! `IDLE` (RFC 2177): changes are told as they happen, until the client says `DONE`.

use super::finish::Done;
use super::telling::Telling;
use super::view::Numbers;
use super::{ImapSession, Phase};

impl ImapSession {
    /// Begins to wait for changes. Without a selected mailbox there are none, which is allowed.
    pub(super) fn idle(&mut self, tag: String) {
        self.out.text().extend_from_slice(b"+ idling\r\n");
        self.phase = Phase::Idle(tag);
    }

    /// Goes on within IDLE: tells what has changed, reads `DONE`.
    pub(super) fn read_done(&mut self, tag: String) -> bool {
        if self.tell_within_idle(&tag) {
            return true;
        }
        let Some(line) = self.reader.line() else {
            self.reader.shrink();
            if self.ended {
                self.out.close();
            }
            self.phase = Phase::Idle(tag);
            return false;
        };
        match line {
            Ok(line) if line.eq_ignore_ascii_case(b"DONE") => self.finish(&tag, Done::ok("IDLE completed")),
            // RFC 2177 §3: nothing else may be sent. The line is lost, and IDLE is over.
            Ok(_) => self.bad(Some(&tag), None, "expected DONE"),
            Err(why) => self.bye(None, &why.to_string()),
        }
        true
    }

    /// Puts changes in line, after which IDLE goes on; `false` if there are none.
    fn tell_within_idle(&mut self, tag: &str) -> bool {
        if !self.has_changes() {
            return false;
        }
        let updates = self.update(Numbers::MayChange);
        let mut telling = Telling::new(updates, self.manner(), Vec::new());
        telling.idle = Some(tag.to_owned());
        self.tell_later(telling);
        true
    }
}
