//! SMTP and LMTP on both sides, and messages.

use std::time::Instant;

use laniakea_backend::mailbox::mime::summarise;
use laniakea_router::{
    handoff::TlsFacts,
    session::smtp::{Dialect, Input, Output, Peer, Settings, SmtpSession},
    wire::smtp::{ContentReader, DotStuffer, Reply, parse_reply},
};

use crate::{before_login::check_lines, packets};

/// Small, so that it is met.
const BYTES_MAX: u64 = 1 << 16;

/// A session with a driver that accepts what it is asked to; what is passed on can never be read as more than one message.
pub(crate) fn session(bytes: &[u8]) {
    let kind = bytes.len();
    let now = Instant::now();
    let dialect = if kind.is_multiple_of(3) { Dialect::Lmtp } else { Dialect::Smtp };
    let mut session = SmtpSession::new(
        now,
        Settings {
            dialect,
            peer: if kind.is_multiple_of(5) { Peer::Router } else { Peer::Client },
            host: "mx.example.org".into(),
            domain: "example.org".into(),
            message_bytes_max: BYTES_MAX,
            recipients_max: 20,
            starttls: true,
            tls: false,
            believes_claims: kind.is_multiple_of(7),
            submitter: None,
        },
    );
    let (mut recipients, mut content) = (0, Vec::new());
    for packet in packets(bytes) {
        if !session.wants_bytes() {
            break;
        }
        session.handle(now, Input::Bytes(packet));
        while let Some(output) = session.poll() {
            match output {
                Output::Write(lines) => check_lines(&lines),
                Output::Resolve(recipient) => session.handle(now, Input::Resolved(Ok(recipient.address))),
                Output::Begin(envelope) => {
                    (recipients, content) = (envelope.recipients.len(), Vec::new());
                    session.handle(now, Input::Ready(Ok(())));
                }
                Output::Content(bytes) => content.extend_from_slice(&bytes),
                Output::End => {
                    check_content(&content);
                    let count = if dialect == Dialect::Lmtp { recipients } else { 1 };
                    session.handle(now, Input::Done(vec![Reply::new(250, (2, 0, 0), "done"); count]));
                }
                Output::Abort => content.clear(),
                Output::StartTls(_) => session.handle(now, Input::TlsDone(TlsFacts::default())),
                Output::Close => return,
            }
        }
        session.caught_up(now);
    }
    session.handle(now, Input::Eof);
}

/// Accepted content arrives as it is, and its end is where the next server sees it, however lax that is about line ends.
fn check_content(content: &[u8]) {
    let (mut wire, mut stuffer) = (Vec::new(), DotStuffer::default());
    for piece in content.chunks(5) {
        stuffer.write(piece, &mut wire);
    }
    stuffer.finish(&mut wire);
    let arrived = unstuffed(&wire).unwrap_or_default();
    assert_eq!(arrived.strip_suffix(b"\r\n").unwrap_or(&arrived), content.strip_suffix(b"\r\n").unwrap_or(content));
    for end in [b"\n.\n".as_slice(), b"\n.\r", b"\r.\r", b"\r.\n"] {
        let inner = wire.strip_suffix(b".\r\n").unwrap_or(&wire);
        assert!(!inner.windows(end.len()).any(|window| window == end), "an end in the middle");
    }
}

/// What a receiver makes of dot-stuffed bytes; `None` if they end early or not at all.
pub(crate) fn unstuffed(wire: &[u8]) -> Option<Vec<u8>> {
    let (mut reader, mut out) = (ContentReader::new(u64::MAX), Vec::new());
    let progress = reader.read(wire, &mut out);
    (progress.ended && progress.used == wire.len()).then_some(out)
}

/// Replies of another server.
pub(crate) fn reply(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((reply, used))) = parse_reply(rest) {
        assert!(used > 0 && used <= rest.len());
        let mut again = Vec::new();
        reply.encode(&mut again);
        check_lines(&again);
        rest = rest.get(used..).unwrap_or_default();
    }
}

/// Messages: structure, headers, every part.
pub(crate) fn message(bytes: &[u8]) {
    let summary = summarise(bytes);
    let encoded = summary.encode();
    let again = laniakea_backend::mailbox::mime::Summary::decode(&encoded);
    assert_eq!(again.ok().as_ref(), Some(&summary), "a summary reads as it was written");
    for path in [&[][..], &[1], &[2], &[1, 1], &[1, 2, 1]] {
        if let Some(part) = summary.part(path) {
            let _ = format!("{part:?}");
        }
    }
}
