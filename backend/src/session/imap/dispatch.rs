//! From commands to the functions that run them; which state each needs (RFC 3501 §6).

use super::ImapSession;
use super::finish::Done;
use super::reply::limit_reply;
use super::view::{Access, Numbers};
use crate::wire::imap::command::{Command, NotUnderstood, parse};
use crate::wire::imap::read::{Raw, Refusal};
use crate::wire::imap::response::text::print;
use crate::wire::imap::response::{Code, Condition, tagged, untagged};

impl ImapSession {
    /// Runs a command as it came.
    pub(super) fn run(&mut self, raw: &Raw) {
        match parse(raw) {
            Ok(found) => {
                self.bad_commands = 0;
                self.run_command(found.tag, found.command);
            }
            Err(NotUnderstood { tag, bad }) => self.bad(tag.as_deref(), None, bad.0),
        }
    }

    fn run_command(&mut self, tag: String, command: Command) {
        if needs_view(&command) && self.view.is_none() {
            return self.bad(Some(&tag), None, "no mailbox is selected");
        }
        match command {
            Command::Capability => self.capability(&tag),
            Command::Noop => self.finish(&tag, Done::ok("NOOP completed")),
            Command::Check => self.finish(&tag, Done::ok("CHECK completed")),
            Command::Logout => self.logout(&tag),
            Command::Id => self.id(&tag),
            Command::Enable(names) => self.enable(&tag, &names),
            Command::Namespace => self.namespace(&tag),
            Command::Select(select) => self.select(tag, select, Access::ReadWrite),
            Command::Examine(select) => self.select(tag, select, Access::ReadOnly),
            Command::Create(create) => self.create(tag, &create),
            Command::Delete(name) => self.delete(tag, &name),
            Command::Rename(rename) => self.rename(tag, &rename),
            Command::Subscribe(name) => self.subscribe(tag, &name),
            Command::Unsubscribe(name) => self.unsubscribe(tag, &name),
            Command::List(list) => self.list(tag, &list),
            Command::Lsub(lsub) => self.lsub(&tag, &lsub),
            Command::Status(status) => self.status(tag, &status),
            Command::Append(append) => self.append(tag, append),
            Command::GetQuota(root) => self.quota(&tag, &root),
            Command::GetQuotaRoot(name) => self.quota_root(&tag, &name),
            Command::Idle => self.idle(tag),
            Command::Close => self.close(tag),
            Command::Unselect => self.unselect(&tag),
            Command::Expunge => self.expunge(tag, None),
            Command::UidExpunge(set) => self.expunge(tag, Some(&set)),
            Command::Search(search) => self.search(tag, search),
            Command::Fetch(fetch) => self.fetch(tag, fetch),
            Command::Store(store) => self.store(tag, store),
            Command::Copy(transfer) => self.copy(tag, &transfer),
            Command::Move(transfer) => self.move_messages(tag, &transfer),
        }
    }

    /// Refuses what was not understood, and gives up on a client that is never understood.
    pub(super) fn bad(&mut self, tag: Option<&str>, code: Option<Code>, text: &str) {
        match tag {
            Some(tag) => tagged(self.out.text(), tag, Condition::Bad, code.as_ref(), text),
            None => untagged(self.out.text(), Condition::Bad, code.as_ref(), text),
        }
        self.bad_commands += 1;
        if self.bad_commands >= super::BAD_COMMANDS_MAX {
            self.bye(None, "too many bad commands");
        }
    }

    /// Refuses a command that broke a limit of the reader.
    pub(super) fn refuse_oversized(&mut self, tag: Option<&str>, why: Refusal) {
        match (limit_reply(why), tag) {
            ((Condition::No, code), Some(tag)) => {
                tagged(self.out.text(), tag, Condition::No, code.as_ref(), &why.to_string());
            }
            ((_, code), tag) => self.bad(tag, code, &why.to_string()),
        }
    }

    fn capability(&mut self, tag: &str) {
        print(self.out.text(), format_args!("* CAPABILITY {}\r\n", super::CAPABILITIES));
        self.finish(tag, Done::ok("CAPABILITY completed"));
    }

    fn logout(&mut self, tag: &str) {
        untagged(self.out.text(), Condition::Bye, None, "logging out");
        tagged(self.out.text(), tag, Condition::Ok, None, "LOGOUT completed");
        self.out.close();
    }

    /// RFC 2971 §3.1: name and version suffice; more would help attackers only.
    fn id(&mut self, tag: &str) {
        self.out.text().extend_from_slice(b"* ID (\"name\" \"Laniakea\")\r\n");
        self.finish(tag, Done::ok("ID completed"));
    }

    /// RFC 5161 §3.1: what is not known is passed over in silence.
    fn enable(&mut self, tag: &str, names: &[String]) {
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        let enabled = match (has("CONDSTORE"), has("QRESYNC")) {
            (false, false) => "",
            (true, false) => " CONDSTORE",
            (false, true) => " QRESYNC",
            (true, true) => " CONDSTORE QRESYNC",
        };
        // RFC 7162 §3.2.3: QRESYNC enables CONDSTORE.
        self.qresync |= has("QRESYNC");
        self.condstore |= has("CONDSTORE") || has("QRESYNC");
        print(self.out.text(), format_args!("* ENABLED{enabled}\r\n"));
        self.finish(tag, Done::ok("ENABLE completed"));
    }

    /// RFC 2342 §5: one personal namespace, nobody else's, nothing shared.
    fn namespace(&mut self, tag: &str) {
        self.out.text().extend_from_slice(b"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
        self.finish(tag, Done::ok("NAMESPACE completed"));
    }

    fn unselect(&mut self, tag: &str) {
        self.view = None;
        self.finish(tag, Done::ok("UNSELECT completed").numbers(Numbers::Keep));
    }
}

/// The commands of the selected state (RFC 3501 §6.4).
fn needs_view(command: &Command) -> bool {
    match command {
        Command::Check
        | Command::Close
        | Command::Unselect
        | Command::Expunge
        | Command::UidExpunge(_)
        | Command::Search(_)
        | Command::Fetch(_)
        | Command::Store(_)
        | Command::Copy(_)
        | Command::Move(_) => true,
        Command::Capability
        | Command::Noop
        | Command::Logout
        | Command::Id
        | Command::Enable(_)
        | Command::Namespace
        | Command::Select(_)
        | Command::Examine(_)
        | Command::Create(_)
        | Command::Delete(_)
        | Command::Rename(_)
        | Command::Subscribe(_)
        | Command::Unsubscribe(_)
        | Command::List(_)
        | Command::Lsub(_)
        | Command::Status(_)
        | Command::Append(_)
        | Command::GetQuota(_)
        | Command::GetQuotaRoot(_)
        | Command::Idle => false,
    }
}
