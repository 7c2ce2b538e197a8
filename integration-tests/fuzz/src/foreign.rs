//! Logins at servers of other kinds, where it is the server that may say anything.

use laniakea_config::Mechanism;
use laniakea_directory::{LoginName, Secret};
use laniakea_router::{
    handoff::SessionId,
    session::{
        LoginRequest,
        foreign::{Approach, ForeignLogin, ImapForeign, Input, Introduction, Output, Pop3Foreign, Verdict},
    },
    wire::sasl::Proof,
};

use crate::{before_login::check_lines, packets};

/// An IMAP server of another kind.
pub(crate) fn imap(bytes: &[u8]) {
    log_in(ImapForeign::new, bytes);
}

/// A POP3 server of another kind.
pub(crate) fn pop3(bytes: &[u8]) {
    log_in(Pop3Foreign::new, bytes);
}

/// Whatever the server says, it hears whole lines, no password before TLS where TLS is asked for, and the client's verdict is made
/// of whole lines.
fn log_in<S: ForeignLogin>(begin: fn(Approach) -> S, bytes: &[u8]) {
    const SECRET: &[u8] = b"wonderwall";
    let Ok(login) = LoginName::parse(b"eve") else { return };
    let kind = bytes.len();
    let start_tls = kind.is_multiple_of(2);
    let loopback = ([127, 0, 0, 1], 143).into();
    // A password, or an exchange that the server may prolong as it likes.
    let proof = match kind % 5 {
        0 => Proof::Exchange { mechanism: Mechanism::ScramSha256, message: Secret::new(SECRET.to_vec()) },
        _ => Proof::Password(Secret::new(SECRET.to_vec())),
    };
    let introduction = Introduction { client: loopback, local: loopback, session: SessionId(7), ttl: 4 };
    let mut machine = begin(Approach {
        request: LoginRequest {
            tag: "a1".to_owned(),
            login,
            authzid: None,
            proof,
            claims: Default::default(),
            hello: None,
        },
        start_tls,
        introduction: kind.is_multiple_of(3).then_some(introduction),
    });
    let mut is_inside_tls = !start_tls;
    for packet in packets(bytes) {
        machine.handle(Input::Bytes(packet));
        while let Some(output) = machine.poll() {
            match output {
                Output::Write(lines) => {
                    check_lines(&lines);
                    let shown = lines.windows(SECRET.len()).any(|window| window == SECRET);
                    assert!(is_inside_tls || !shown, "a password before TLS");
                }
                Output::StartTls(_) => {
                    is_inside_tls = true;
                    machine.handle(Input::TlsDone);
                }
                Output::Ask(_) => machine.handle(Input::Answer(&Secret::new(b"an answer".to_vec()))),
                Output::End(Verdict::LoggedIn { reply_lines, .. }) => {
                    assert!(is_inside_tls);
                    return check_lines(&reply_lines);
                }
                Output::End(Verdict::Refused(_) | Verdict::Unusable(_)) => return,
            }
        }
    }
}
