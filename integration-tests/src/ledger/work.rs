//! Clients that work and write down what they are told.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Ledger, Message};
use crate::{
    client::{Imap, Smtp, http},
    cluster::{Cluster, PASSWORD},
    hosts::{Host, on_host},
};

/// The header field that carries the number.
const FIELD: &str = "X-Storm";

/// A short rest after a failure, and between steps of one client: many accounts are to be busy, none in a hurry.
const REST: Duration = Duration::from_millis(30);

/// How long one step of an observer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

fn text(number: u64) -> String {
    let body = "All mail that was acknowledged is there. ".repeat(usize::try_from(number % 50).unwrap_or(0) + 1);
    format!("From: <storm@example.net>\r\nSubject: storm {number}\r\n{FIELD}: {number}\r\n\r\n{body}\r\n")
}

/// Sends, to all accounts in turn.
pub async fn send(smtp: SocketAddr, accounts: Vec<String>, first: usize, ledger: Ledger, over: Arc<AtomicBool>) {
    let mut turns = accounts.iter().cycle().skip(first);
    while !over.load(Ordering::Relaxed) {
        // How it ends is not asked: what was acknowledged is written down, what was not is in doubt.
        let _ = send_some(smtp, &mut turns, &ledger, &over).await;
        tokio::time::sleep(REST).await;
    }
}

async fn send_some<'a>(
    smtp: SocketAddr,
    turns: &mut impl Iterator<Item = &'a String>,
    ledger: &Ledger,
    over: &AtomicBool,
) -> Result<()> {
    let mut connection = Smtp::connect(smtp).await?;
    while !over.load(Ordering::Relaxed) {
        let account = turns.next().context("no accounts")?;
        let number = ledger.number();
        let mail = connection.mail("storm@example.net", &[account], text(number).as_bytes()).await?;
        if mail.data.iter().any(crate::client::Reply::is_ok) {
            ledger.book().delivered(account, number);
        }
        connection.connection.transcript.clear();
    }
    Ok(())
}

/// Reads, appends, flags and expunges in one account.
pub async fn read_and_write(imap: SocketAddr, account: String, ledger: Ledger, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let _ = one_session(imap, &account, &ledger, &over).await;
        tokio::time::sleep(REST).await;
    }
}

async fn one_session(imap: SocketAddr, account: &str, ledger: &Ledger, over: &AtomicBool) -> Result<()> {
    let mut imap = Imap::login(imap, account, PASSWORD).await?;
    let selected = imap.ok("SELECT INBOX").await?.text();
    let validity = number_after(&selected, "UIDVALIDITY ").context("no UIDVALIDITY")?;
    ledger.book().validity(account, u32::try_from(validity)?);
    let mut highest = 0;
    for turn in 0u64.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let due = ledger.book().due(account);
        imap.ok("NOOP").await?;
        let shown = fetch(&mut imap, highest).await?;
        ledger.book().seen(account, highest, &shown, &due);
        highest = shown.last().map_or(highest, |message| message.uid);
        match turn % 8 {
            3 => flag(&mut imap, account, ledger).await?,
            7 => expunge(&mut imap, account, ledger).await?,
            _ => append(&mut imap, account, ledger).await?,
        }
        imap.connection.transcript.clear();
        tokio::time::sleep(REST).await;
    }
    Ok(())
}

async fn append(imap: &mut Imap, account: &str, ledger: &Ledger) -> Result<()> {
    let number = ledger.number();
    if imap.append("INBOX", text(number).as_bytes()).await?.is_ok() {
        ledger.book().appended(account, number);
    }
    Ok(())
}

async fn flag(imap: &mut Imap, account: &str, ledger: &Ledger) -> Result<()> {
    let picked = ledger.book().untouched(account).last().copied();
    if let Some((uid, number)) = picked
        && imap.command(&format!("UID STORE {uid} +FLAGS.SILENT (\\Flagged)")).await?.is_ok()
    {
        ledger.book().flagged(account, number);
    }
    Ok(())
}

async fn expunge(imap: &mut Imap, account: &str, ledger: &Ledger) -> Result<()> {
    let Some((uid, number)) = ledger.book().untouched(account).first().copied() else { return Ok(()) };
    ledger.book().expunging(account, number);
    imap.ok(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)")).await?;
    if imap.command(&format!("UID EXPUNGE {uid}")).await?.is_ok() {
        ledger.book().expunged(account, number);
    }
    Ok(())
}

/// Everything above a UID, in the order of UIDs.
async fn fetch(imap: &mut Imap, above: u32) -> Result<Vec<Message>> {
    let command = format!("UID FETCH {}:* (UID FLAGS BODY.PEEK[HEADER.FIELDS ({FIELD})])", above + 1);
    let fetched = imap.ok(&command).await?;
    let parse = |response: &Vec<u8>| {
        let text = String::from_utf8_lossy(response).into_owned();
        let uid = u32::try_from(number_after(&text, "UID ")?).ok()?;
        let number = number_after(&text, &format!("{FIELD}: "))?;
        Some(Message { uid, number, is_flagged: text.contains("\\Flagged") })
    };
    let mut messages: Vec<Message> = fetched.untagged.iter().filter_map(parse).collect();
    // `n:*` always names the last message (RFC 9051 §9).
    messages.retain(|message| message.uid > above);
    messages.sort_by_key(|message| message.uid);
    Ok(messages)
}

fn number_after(text: &str, word: &str) -> Option<u64> {
    let digits = text.split_once(word)?.1;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

async fn read(imap: SocketAddr, account: &str, password: &str) -> Result<Vec<Message>> {
    let mut imap = Imap::login(imap, account, password).await?;
    imap.ok("EXAMINE INBOX").await?;
    fetch(&mut imap, 0).await
}

/// Reads an account until everything acknowledged is there, or patience has ended.
pub async fn until_all_there(
    ledger: &Ledger,
    imap: SocketAddr,
    account: &str,
    patience: Duration,
) -> Result<Vec<Message>> {
    let begin = Instant::now();
    loop {
        match read(imap, account, PASSWORD).await {
            Ok(shown) if ledger.book().missing(account, &shown).is_empty() => return Ok(shown),
            Ok(shown) if begin.elapsed() > patience => return Ok(shown),
            Err(error) if begin.elapsed() > patience => return Err(error.context(format!("read {account}"))),
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}

/// Reads an account at the member that runs on a host, as a client there does.
pub fn read_on(host: &Host, account: &str, password: &str) -> Result<Vec<Message>> {
    let read = || {
        on_host(host)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(read(SocketAddr::from(([127, 0, 0, 1], 143)), account, password))
    };
    let done = thread::scope(|scope| scope.spawn(read).join());
    done.map_err(|_| anyhow::anyhow!("the reader panicked"))?
        .with_context(|| format!("read {account} on {}", host.name()))
}

/// Asks all members what they own.
pub struct Observer {
    members: Vec<(String, SocketAddr)>,
    token: String,
    live: PathBuf,
    ids: Vec<String>,
}

impl Observer {
    pub fn new(cluster: &Cluster, ids: Vec<String>) -> Result<Self> {
        let members = cluster.members().iter().map(|member| (member.name.clone(), member.metrics())).collect();
        let token = fs::read_to_string(&cluster.config.admin_token)?.trim().to_owned();
        Ok(Self { members, token, live: cluster.backing().join("cluster/live"), ids })
    }

    pub async fn watch(self, ledger: Ledger, over: Arc<AtomicBool>) {
        for id in self.ids.iter().cycle() {
            if over.load(Ordering::Relaxed) {
                return;
            }
            if let Some(owners) = self.two_owners(id).await {
                ledger.wrong(format!("TWO OWNERS of account {id}: {owners:?}"));
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Members that have an account open at the same time, and that are not fenced. Who is fenced, and does not know it
    /// yet, may believe what it likes: it promises nothing.
    async fn two_owners(&self, id: &str) -> Option<Vec<String>> {
        let mut holders = Vec::new();
        for (name, address) in &self.members {
            if let Some(epoch) = self.holds(*address, id).await {
                holders.push((name, address, epoch));
            }
        }
        let ((first, address, epoch), rest) = holders.split_first()?;
        let (second, ..) = rest.first()?;
        // The first may have given it back before the second took it; if it still has it, under the same epoch, it had
        // it when the second was asked.
        let still = self.holds(**address, id).await;
        let both = still.as_ref() == Some(epoch) && self.is_live(first) && self.is_live(second);
        both.then(|| vec![(*first).clone(), (*second).clone()])
    }

    /// Whether a member has an account open: then, which epoch its controller names.
    async fn holds(&self, member: SocketAddr, id: &str) -> Option<String> {
        let path = format!("/admin/v1/ownable/{id}");
        let question = http::get_as(member, &path, Some(&self.token));
        let answer = tokio::time::timeout(ANSWER_DEADLINE, question).await.ok()?.ok()?;
        let value: Value = serde_json::from_str(&answer.body).ok()?;
        value.get("messages")?.as_u64()?;
        Some(value.get("epoch")?.as_str()?.to_owned())
    }

    fn is_live(&self, member: &str) -> bool {
        let prefix = format!("{member}.");
        let names = fs::read_dir(&self.live).into_iter().flatten().flatten();
        names.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
    }
}

/// How long it takes until an account takes and shows a message again: a login, SELECT, APPEND, FETCH.
///
/// # Errors
/// If it does not within `deadline`.
pub async fn until_served(imap: SocketAddr, account: &str, ledger: &Ledger, deadline: Duration) -> Result<Duration> {
    let begin = Instant::now();
    loop {
        let tried = tokio::time::timeout(deadline, serve_once(imap, account, ledger)).await;
        let error = match tried {
            Ok(Ok(())) => return Ok(begin.elapsed()),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no answer"),
        };
        ensure!(begin.elapsed() < deadline, "{account} is not served after {deadline:?}: {error:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn serve_once(imap: SocketAddr, account: &str, ledger: &Ledger) -> Result<()> {
    let mut imap = Imap::login(imap, account, PASSWORD).await?;
    imap.ok("SELECT INBOX").await?;
    let number = ledger.number();
    let response = imap.append("INBOX", text(number).as_bytes()).await?;
    ensure!(response.is_ok(), "APPEND: {}", response.tagged);
    ledger.book().appended(account, number);
    let code = response.tagged.split_once("APPENDUID ").context("no APPENDUID")?.1;
    let uid = u32::try_from(number_after(code, " ").context("no UID")?)?;
    let shown = fetch(&mut imap, uid - 1).await?;
    ensure!(shown.first().is_some_and(|message| message.number == number), "what was just appended is not shown");
    Ok(())
}
