//! The dialogues that bare sessions pass, over TCP: through a router, to a member, on a store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use integration_tests::up::{Shape, Up};
use laniakea_router::dialogue::{Player, Said, Script};

/// When the messages of a dialogue were received.
const RECEIVED: &str = "17-Jul-1996 02:44:25 -0700";

/// A dialogue's client, logged in.
struct Client(TcpStream);

impl Client {
    /// Logs in and fills INBOX as the script wants it.
    fn ready(router: SocketAddr, account: &str, password: &str, script: &Script) -> Result<Client> {
        let mut client = Client(TcpStream::connect(router)?);
        client.line()?;
        client.ok(format!("l LOGIN \"{account}\" \"{password}\"\r\n").as_bytes())?;
        for name in script.settings.get("inbox").into_iter().flat_map(|names| names.split(',')) {
            let message = fs::read_to_string(folder().join("mail").join(format!("{name}.eml")))?.replace('\n', "\r\n");
            let append = format!("l APPEND INBOX \"{RECEIVED}\" {{{}+}}\r\n{message}\r\n", message.len());
            client.ok(append.as_bytes())?;
        }
        Ok(client)
    }

    fn ok(&mut self, command: &[u8]) -> Result<()> {
        self.0.write_all(command)?;
        let line = self.line()?;
        ensure!(line.starts_with("l OK"), "{line}");
        Ok(())
    }

    /// One line, byte by byte, so that none of what follows is lost.
    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            line.extend_from_slice(&byte);
        }
        Ok(String::from_utf8(line)?)
    }
}

impl Player for Client {
    const HEARS_SILENCE: bool = false;

    fn send(&mut self, bytes: &[u8]) {
        // A server that has closed has said why; that is still to be heard.
        let _ = self.0.write_all(bytes);
    }

    fn answer(&mut self, _: &str) -> Result<(), String> {
        Err("over TCP the driver is real".into())
    }

    fn next_said(&mut self) -> Option<Said> {
        let mut bytes = [0; 4096];
        match self.0.read(&mut bytes) {
            Ok(0) | Err(_) => Some(Said::Asks("close".into())),
            Ok(length) => Some(Said::Bytes(bytes[..length].to_vec())),
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dialogues/imap")
}

/// Whether a script needs nothing but a new account with some mail in it.
fn is_playable(script: &Script) -> bool {
    !script.needs_driver() && script.settings.keys().all(|key| key == "inbox")
}

#[tokio::test]
async fn dialogues_go_the_same_way_through_a_router() -> Result<()> {
    let scripts = Script::all_in(&folder())?.into_iter().filter(|(_, script)| is_playable(script)).collect::<Vec<_>>();
    ensure!(scripts.len() > 10, "{}", scripts.len());
    let up = Up::start_as(Shape { accounts: scripts.len() as u32, ..Shape::default() }).await?;
    let router = up.router()?.imap()?;
    for (number, (path, script)) in (1..).zip(scripts) {
        let (account, password) = (up.account(number), up.password().to_owned());
        let played = tokio::task::spawn_blocking(move || -> Result<()> {
            let mut client = Client::ready(router, &account, &password, &script)?;
            Ok(script.play(&mut client)?)
        });
        played.await?.with_context(|| path.display().to_string())?;
    }
    Ok(())
}
