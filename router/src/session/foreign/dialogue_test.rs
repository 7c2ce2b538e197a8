//! Plays the dialogues of `integration-tests/dialogues/{imap,pop3}-foreign`. The server is `C:` there, we are `S:`.

use std::path::Path;

use laniakea_config::Mechanism;
use laniakea_directory::{LoginName, Secret};

use super::*;
use crate::{
    dialogue::{Player, Said, Script},
    wire::sasl::Proof,
};

struct Login<S> {
    machine: S,
}

impl<S: ForeignLogin> Player for Login<S> {
    fn send(&mut self, bytes: &[u8]) {
        self.machine.handle(Input::Bytes(bytes));
    }

    fn answer(&mut self, text: &str) -> Result<(), String> {
        match text {
            "tls" => self.machine.handle(Input::TlsDone),
            _ if text.starts_with("answer") => {
                let answer = Secret::new(text.trim_start_matches("answer").trim_start().into());
                self.machine.handle(Input::Answer(&answer));
            }
            _ => return Err(format!("no such answer: {text}")),
        }
        Ok(())
    }

    fn next_said(&mut self) -> Option<Said> {
        Some(match self.machine.poll()? {
            Output::Write(bytes) => Said::Bytes(bytes.to_vec()),
            Output::Ask(challenge) => Said::Asks(format!("ask {}", challenge.escape_ascii())),
            Output::StartTls(_) => Said::Asks("starttls".into()),
            Output::End(Verdict::LoggedIn { reply_lines, unread }) => {
                Said::Asks(format!("logged-in {} | {}", reply_lines.escape_ascii(), unread.escape_ascii()))
            }
            Output::End(Verdict::Refused(fault)) => Said::Asks(format!("refused {}", fault.as_str())),
            Output::End(Verdict::Unusable(why)) => Said::Asks(format!("unusable {why}")),
        })
    }
}

fn approach(script: &Script) -> Approach {
    let secret = script.settings.get("password").map_or("wonder", String::as_str);
    Approach {
        request: LoginRequest {
            tag: "a1".into(),
            login: LoginName::parse(b"eve").unwrap(),
            authzid: script.settings.get("authzid").cloned(),
            proof: match script.settings.get("scram") {
                Some(message) => {
                    Proof::Exchange { mechanism: Mechanism::ScramSha256, message: Secret::new(message.clone().into()) }
                }
                None => Proof::Password(Secret::new(secret.into())),
            },
            claims: Default::default(),
            hello: None,
        },
        start_tls: script.settings.get("tls").is_some_and(|tls| tls == "start"),
        introduction: script.settings.contains_key("introduce").then(|| Introduction {
            client: "192.0.2.1:5000".parse().unwrap(),
            local: "192.0.2.2:143".parse().unwrap(),
            session: SessionId(7),
            ttl: 4,
        }),
    }
}

fn play_all<S: ForeignLogin>(folder: &str, begin: fn(Approach) -> S) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/dialogues").join(folder);
    let scripts = Script::all_in(&folder).unwrap();
    assert!(!scripts.is_empty());
    let failures: Vec<String> = scripts
        .iter()
        .filter_map(|(path, script)| {
            let mut player = Login { machine: begin(approach(script)) };
            script.play(&mut player).err().map(|error| format!("{}: {error}", path.display()))
        })
        .collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn imap_dialogues_go_as_written() {
    play_all("imap-foreign", ImapForeign::new);
}

#[test]
fn pop3_dialogues_go_as_written() {
    play_all("pop3-foreign", Pop3Foreign::new);
}

proptest::proptest! {
    #[test]
    fn no_bytes_of_a_server_make_a_login_panic_or_go_on_for_ever(packets: Vec<Vec<u8>>) {
        let script = Script::parse("! tls=start introduce=yes").unwrap();
        let mut imap = ImapForeign::new(approach(&script));
        let mut pop3 = Pop3Foreign::new(approach(&script));
        for packet in packets {
            imap.handle(Input::Bytes(&packet));
            pop3.handle(Input::Bytes(&packet));
            while imap.poll().is_some() || pop3.poll().is_some() {}
        }
    }
}
