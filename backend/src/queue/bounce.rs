//! Telling a sender that a message was given up: delivery status notifications (RFC 3464, RFC 6533).
//!
//! A bounce has no reverse-path of its own, so it is never bounced (RFC 5321 §6.1): when one fails, the postmaster gets it;
//! when that fails too, it is dropped and a log line remains.

use std::fmt::Write;

use laniakea_router::{
    session::smtp::Recipient,
    wire::smtp::{Body, MailParameters, Mailbox, RcptParameters, Return, encode_xtext},
};

use super::{
    entry::{Entry, NewEntry},
    schedule::LIFETIME,
    settle::Failed,
};
use crate::deliver::{Addressee, date};

/// Longest header that is returned.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Longest message that is returned whole, and only if the sender asked for it.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Longest diagnostic, so that its line stays within RFC 5322 §2.1.1.
const DIAGNOSTIC_BYTES_MAX: usize = 800;

/// What a bounce is about.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The name of this server.
    pub host: &'a str,
    /// The domain of the postmaster.
    pub domain: &'a str,
    /// The message.
    pub entry: &'a Entry,
    /// The recipients that are given up.
    pub failed: &'a [Failed],
    /// The message's content.
    pub content: &'a [u8],
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
    /// Makes names unique: boundary, Message-ID and delivery.
    pub random: u128,
}

/// What to do about failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bounce {
    /// Queue this message.
    Send(NewEntry, Vec<u8>),
    /// Nobody wants to hear of it (NOTIFY=NEVER).
    Unwanted,
    /// A bounce to the postmaster failed; nobody is left to be told.
    Dead,
}

/// Decides whom to tell of failures, and says it.
#[must_use]
pub fn bounce(report: &Report<'_>) -> Bounce {
    let failed: Vec<&Failed> = report.failed.iter().filter(|failed| wants_report(failed)).collect();
    if failed.is_empty() {
        return Bounce::Unwanted;
    }
    let to = match &report.entry.reverse_path {
        Some(reverse_path) => reverse_path.clone(),
        None => match postmaster_instead(report, &failed) {
            Some(postmaster) => postmaster,
            None => return Bounce::Dead,
        },
    };
    let content = Notification { report, failed: &failed, to: &to }.write();
    let parameters = MailParameters {
        size: Some(content.len() as u64),
        body: if content.is_ascii() { Body::SevenBit } else { Body::EightBitMime },
        smtputf8: report.entry.parameters.smtputf8 || !to.is_ascii(),
        ..MailParameters::default()
    };
    let recipient = Recipient { address: to, parameters: RcptParameters::default() };
    let entry = NewEntry {
        reverse_path: None,
        parameters,
        addressees: vec![Addressee { recipient, delivery_id: report.random }],
        arrived_ms: report.now_ms,
        expires_ms: report.now_ms.saturating_add(u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX)),
    };
    Bounce::Send(entry, content)
}

/// RFC 3461 §4.1: failure is reported unless NOTIFY says otherwise.
fn wants_report(failed: &Failed) -> bool {
    failed.pending.addressee.recipient.parameters.notify.is_none_or(|notify| notify.failure)
}

/// The postmaster, unless it is the postmaster that could not be reached.
fn postmaster_instead(report: &Report<'_>, failed: &[&Failed]) -> Option<Mailbox> {
    let postmaster = Mailbox::parse(&format!("postmaster@{}", report.domain)).ok()?;
    let is_postmaster = |failed: &&Failed| {
        failed.pending.addressee.recipient.address.as_str().eq_ignore_ascii_case(postmaster.as_str())
    };
    (!failed.iter().any(is_postmaster)).then_some(postmaster)
}

struct Notification<'a> {
    report: &'a Report<'a>,
    failed: &'a [&'a Failed],
    to: &'a Mailbox,
}

impl Notification<'_> {
    fn write(&self) -> Vec<u8> {
        let boundary = format!("=_{:032x}", self.report.random);
        let mut text = self.header(&boundary);
        let _ = write!(
            text,
            "--{boundary}\r\n{}--{boundary}\r\n{}--{boundary}\r\n",
            self.for_people(),
            self.for_programs()
        );
        let mut content = text.into_bytes();
        self.append_returned(&mut content);
        content.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        content
    }

    fn header(&self, boundary: &str) -> String {
        let Report { host, domain, now_ms, random, .. } = self.report;
        format!(
            "From: Mail Delivery System <MAILER-DAEMON@{domain}>\r\n\
             To: <{}>\r\n\
             Subject: Undelivered mail returned to sender\r\n\
             Date: {}\r\n\
             Message-ID: <{random:032x}@{host}>\r\n\
             Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\
             \r\n",
            self.to,
            date(*now_ms)
        )
    }

    fn for_people(&self) -> String {
        let mut text =
            String::from("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
        let _ = write!(text, "This is the mail system at {}.\r\n\r\n", self.report.host);
        text += "Your message could not be delivered to these recipients:\r\n\r\n";
        for failed in self.failed {
            let why =
                if failed.expired { "given up after too many attempts, the last of which said" } else { "refused" };
            let _ = write!(text, "  <{}>\r\n    {why}: {}\r\n\r\n", address(failed), diagnostic(failed));
        }
        text
    }

    /// RFC 3464 §2.2 and §2.3.
    fn for_programs(&self) -> String {
        let Report { host, entry, now_ms, .. } = self.report;
        let kind = if self.is_global() { "message/global-delivery-status" } else { "message/delivery-status" };
        let mut text = format!("Content-Type: {kind}\r\n\r\nReporting-MTA: dns; {host}\r\n");
        if let Some(envid) = &entry.parameters.envid {
            let _ = write!(text, "Original-Envelope-Id: {}\r\n", encode_xtext(envid));
        }
        let _ = write!(text, "Arrival-Date: {}\r\n\r\n", date(entry.arrived_ms));
        for failed in self.failed {
            if let Some(original) = &failed.pending.addressee.recipient.parameters.orcpt {
                let _ = write!(text, "Original-Recipient: {};{}\r\n", original.kind, encode_xtext(&original.address));
            }
            // RFC 6533 §3: an internationalised address is of type utf-8.
            let kind = if address(failed).is_ascii() { "rfc822" } else { "utf-8" };
            let _ = write!(
                text,
                "Final-Recipient: {kind}; {}\r\nAction: failed\r\nStatus: {}\r\nDiagnostic-Code: smtp; {}\r\nLast-Attempt-Date: {}\r\n\r\n",
                address(failed),
                status(failed),
                diagnostic(failed),
                date(*now_ms)
            );
        }
        text
    }

    /// The message itself, or its header (RFC 3461 §4.3, RFC 6522 §4).
    fn append_returned(&self, content: &mut Vec<u8>) {
        let Report { entry, content: original, .. } = self.report;
        let whole = entry.parameters.ret == Some(Return::Full) && original.len() <= MESSAGE_BYTES_MAX;
        let kind = match (whole, self.is_global()) {
            (true, false) => "message/rfc822",
            (true, true) => "message/global",
            (false, false) => "text/rfc822-headers",
            (false, true) => "message/global-headers",
        };
        let returned = if whole { original } else { header_of(original) };
        let encoding = if returned.is_ascii() { "7bit" } else { "8bit" };
        content.extend_from_slice(
            format!("Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n").as_bytes(),
        );
        content.extend_from_slice(returned);
        content.extend_from_slice(b"\r\n");
    }

    fn is_global(&self) -> bool {
        self.report.entry.parameters.smtputf8
    }
}

fn address(failed: &Failed) -> &Mailbox {
    &failed.pending.addressee.recipient.address
}

/// RFC 3463 §3.5: X.4.7 is "delivery time expired".
fn status(failed: &Failed) -> String {
    match failed.reply.enhanced {
        _ if failed.expired => "4.4.7".into(),
        Some(enhanced) => enhanced.to_string(),
        None => "5.0.0".into(),
    }
}

fn diagnostic(failed: &Failed) -> String {
    let text = failed.reply.to_string();
    text.chars().filter(|c| !c.is_control()).take(DIAGNOSTIC_BYTES_MAX).collect()
}

/// The header, up to its empty line, in whole lines.
fn header_of(content: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(content, b"\r\n\r\n").map_or(content.len(), |at| at + 2);
    let header = content.get(..end.min(HEADER_BYTES_MAX)).unwrap_or(content);
    let lines_end = memchr::memmem::rfind(header, b"\r\n").map_or(0, |at| at + 2);
    header.get(..lines_end).unwrap_or(header)
}

#[cfg(test)]
mod tests {
    use laniakea_router::wire::smtp::{Notify, OriginalRecipient, Reply};

    use super::*;
    use crate::{
        queue::{EntryId, Pending},
        store::BodyRef,
    };

    fn entry(reverse_path: Option<&str>) -> Entry {
        Entry {
            id: EntryId(0),
            reverse_path: reverse_path.map(|path| Mailbox::parse(path).unwrap()),
            parameters: MailParameters { envid: Some("e+1".into()), ..MailParameters::default() },
            pending: Vec::new(),
            arrived_ms: 1_795_456_800_000,
            expires_ms: 0,
            body: BodyRef::File { epoch: 0, number: 0, length: 0 },
        }
    }

    fn failed(recipient: &str, reply: Reply) -> Failed {
        let parameters = RcptParameters {
            orcpt: Some(OriginalRecipient { kind: "rfc822".into(), address: "first@x.example".into() }),
            ..RcptParameters::default()
        };
        let recipient = Recipient { address: Mailbox::parse(recipient).unwrap(), parameters };
        let pending = Pending {
            place: 0,
            addressee: Addressee { recipient, delivery_id: 1 },
            attempts: 1,
            next_ms: 0,
            last: None,
        };
        let expired = reply.is_temporary();
        Failed { pending, reply, expired }
    }

    fn report<'a>(entry: &'a Entry, failed: &'a [Failed]) -> Report<'a> {
        let content = b"Subject: hi\r\nX-Secret: --=_00\r\n\r\nbody\r\n";
        Report {
            host: "mx.example",
            domain: "example",
            entry,
            failed,
            content,
            now_ms: 1_795_456_860_000,
            random: 0xabc,
        }
    }

    #[test]
    fn a_notification_has_the_shape_of_rfc_3464() {
        let entry = entry(Some("a@b.example"));
        let failures = [
            failed("gone@example", Reply::new(550, (5, 1, 1), "no such account")),
            failed("slow@example", Reply::new(451, (4, 3, 0), "temporarily unavailable")),
        ];
        let Bounce::Send(new, content) = bounce(&report(&entry, &failures)) else { panic!() };
        assert_eq!(new.reverse_path, None);
        assert_eq!(new.addressees[0].recipient.address.as_str(), "a@b.example");
        let text = String::from_utf8(content).unwrap();
        let parts: Vec<&str> = text.split("--=_00000000000000000000000000000abc").collect();
        assert_eq!(parts.len(), 5);
        assert!(parts[0].contains("multipart/report; report-type=delivery-status;"));
        assert!(parts[0].contains("boundary=\"=_00000000000000000000000000000abc\""));
        assert_eq!(
            parts[2],
            "\r\nContent-Type: message/delivery-status\r\n\r\n\
             Reporting-MTA: dns; mx.example\r\nOriginal-Envelope-Id: e+2B1\r\nArrival-Date: Mon, 23 Nov 2026 18:00:00 +0000\r\n\r\n\
             Original-Recipient: rfc822;first@x.example\r\nFinal-Recipient: rfc822; gone@example\r\nAction: failed\r\nStatus: 5.1.1\r\n\
             Diagnostic-Code: smtp; 550 5.1.1 no such account\r\nLast-Attempt-Date: Mon, 23 Nov 2026 18:01:00 +0000\r\n\r\n\
             Original-Recipient: rfc822;first@x.example\r\nFinal-Recipient: rfc822; slow@example\r\nAction: failed\r\nStatus: 4.4.7\r\n\
             Diagnostic-Code: smtp; 451 4.3.0 temporarily unavailable\r\nLast-Attempt-Date: Mon, 23 Nov 2026 18:01:00 +0000\r\n\r\n"
        );
        assert_eq!(
            parts[3],
            "\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: hi\r\nX-Secret: --=_00\r\n\r\n"
        );
        assert_eq!(parts[4], "--\r\n");
        assert!(text.lines().all(|line| line.len() < 998));
    }

    #[test]
    fn a_bounce_is_never_bounced_to_its_sender() {
        let entry = entry(None);
        let failures = [failed("a@b.example", Reply::new(550, (5, 1, 1), "no such account"))];
        let Bounce::Send(new, _) = bounce(&report(&entry, &failures)) else { panic!() };
        assert_eq!(new.addressees[0].recipient.address.as_str(), "postmaster@example");
        let failures = [failed("Postmaster@example", Reply::new(550, (5, 1, 1), "no such account"))];
        assert_eq!(bounce(&report(&entry, &failures)), Bounce::Dead);
    }

    #[test]
    fn who_never_wants_to_know_is_not_told() {
        let entry = entry(Some("a@b.example"));
        let mut failure = failed("gone@example", Reply::new(550, (5, 1, 1), "no such account"));
        failure.pending.addressee.recipient.parameters.notify = Some(Notify::NEVER);
        assert_eq!(bounce(&report(&entry, &[failure])), Bounce::Unwanted);
    }

    #[test]
    fn a_long_header_is_cut_between_lines() {
        let content = "X: y\r\n".repeat(20_000);
        let header = header_of(content.as_bytes());
        assert!(header.len() <= HEADER_BYTES_MAX && header.ends_with(b"\r\n") && header.len().is_multiple_of(6));
    }
}
