//! Questions to the account's worker, and what becomes of its answers.

use super::finish::Done;
use super::select::Selecting;
use super::store::StoreAsked;
use super::view::Numbers;
use super::{ImapSession, Phase};
use crate::mailbox::{Reply, Request};
use crate::session::Output;
use crate::wire::imap::response::{Code, Condition, untagged};

/// A question that is out.
#[derive(Debug)]
pub struct Asked {
    /// The command that asked.
    pub tag: String,
    /// What the answer is for.
    pub purpose: Purpose,
}

/// What an answer is for.
#[derive(Debug)]
pub enum Purpose {
    /// Nothing but to complete the command with this text.
    Complete(&'static str),
    /// `APPEND`.
    Append,
    /// `SELECT` of this mailbox: which messages are recent.
    Select(Box<Selecting>),
    /// `STORE`.
    Store(Box<StoreAsked>),
    /// `\Seen` after a FETCH that was otherwise well.
    Seen(Done),
    /// `COPY`.
    Copy,
    /// `MOVE`.
    Move,
    /// `EXPUNGE` or `UID EXPUNGE`.
    Expunge(&'static str),
    /// `CLOSE`.
    Close,
}

impl ImapSession {
    /// Asks the account for a change on behalf of the command `tag`.
    pub(super) fn ask(&mut self, tag: String, request: Request, purpose: Purpose) {
        self.out.ask(Output::Ask(request));
        self.phase = Phase::Asked(Box::new(Asked { tag, purpose }));
    }

    /// The account has answered.
    pub(super) fn on_reply(&mut self, reply: Reply) {
        match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Asked(asked) => self.answer(*asked, reply),
            other => self.phase = other,
        }
    }

    fn answer(&mut self, asked: Asked, reply: Reply) {
        let tag = asked.tag.as_str();
        if let Reply::Refused(refusal) = reply {
            return match asked.purpose {
                // The messages were told; that they stay unseen is no reason to tell them again.
                Purpose::Seen(done) => self.finish(tag, done),
                _ => self.refuse(tag, refusal),
            };
        }
        match asked.purpose {
            Purpose::Complete(text) => self.finish(tag, Done::ok(text).code(created(&reply))),
            Purpose::Append => self.finish(tag, Done::ok("APPEND completed").code(appended(reply))),
            Purpose::Select(selecting) => {
                let recent_from = match reply {
                    Reply::TakenRecent { from } => Some(from),
                    _ => None,
                };
                self.show(asked.tag, *selecting, recent_from);
            }
            Purpose::Store(store) => self.stored(tag, *store, reply),
            Purpose::Seen(done) => self.finish(tag, done),
            Purpose::Copy => self.finish(tag, Done::ok("COPY completed").code(copied(reply))),
            Purpose::Move => {
                // RFC 6851 §4.3: the code comes before the expunges it explains.
                if let Some(code) = copied(reply) {
                    untagged(self.out.text(), Condition::Ok, Some(&code), "moved");
                }
                // RFC 6851 §4.4: told to every client.
                self.finish(tag, Done::ok("MOVE completed").code(self.highest_modseq()));
            }
            Purpose::Expunge(text) => {
                // RFC 7162 §3.2.7: told to clients that know mod-sequences.
                let code = self.highest_modseq().filter(|_| self.condstore);
                self.finish(tag, Done::ok(text).code(code));
            }
            Purpose::Close => {
                self.view = None;
                self.finish(tag, Done::ok("CLOSE completed").numbers(Numbers::Keep));
            }
        }
    }

    /// The mod-sequence of the selected mailbox after a change.
    fn highest_modseq(&self) -> Option<Code> {
        let selected = self.account.by_id(self.view.as_ref()?.mailbox())?;
        Some(Code::HighestModSeq(selected.highest_modseq))
    }
}

/// RFC 8474 §4.1: the id of a new mailbox.
fn created(reply: &Reply) -> Option<Code> {
    match reply {
        Reply::Created { id } => Some(Code::MailboxId(*id)),
        _ => None,
    }
}

fn appended(reply: Reply) -> Option<Code> {
    match reply {
        Reply::Appended { uid_validity, uids } => Some(Code::AppendUid(uid_validity, uids)),
        _ => None,
    }
}

/// RFC 4315 §3: no code if nothing was copied.
fn copied(reply: Reply) -> Option<Code> {
    match reply {
        Reply::Copied { uid_validity, from, to } if !from.is_empty() => Some(Code::CopyUid(uid_validity, from, to)),
        _ => None,
    }
}
