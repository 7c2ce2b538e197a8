//! The one thread that writes. Whatever waits when it looks shares one transaction and one sync of the disk, so that a
//! thousand pipelined additions cost hardly more than one.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
    time::{Instant, SystemTime},
};

use ldap3_proto::LdapResultCode as Code;
use metrics::{counter, histogram};
use redb::Database;
use tokio::sync::{mpsc, oneshot};

use super::{apply::apply, table::Tables};
use crate::server::{
    change::Change,
    entry::Stamp,
    refusal::{Refusal, refuse},
};

/// Changes that may wait; more make their connections wait.
const WAITING_MAX: usize = 4096;
/// Changes that share one commit: more would make the first wait long.
const BATCH_MAX: usize = 1024;

type Answer = Result<(), Refusal>;

/// A change on its way to the disk.
struct Job {
    change: Change,
    who: String,
    answer: oneshot::Sender<Answer>,
}

/// The way to the thread. Dropping it waits until everything sent is written and the database let go of.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// The writing thread has ended: the process cannot write any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the directory's writer has ended")]
pub(in crate::server) struct WriterGone;

impl Writer {
    pub(super) fn start(database: Arc<Database>) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let thread = std::thread::Builder::new().name("directory-writer".into());
        let thread = thread.spawn(move || run(&database, waiting));
        if let Err(error) = &thread {
            tracing::error!(%error, "start the directory's writer");
        }
        Self { jobs: Some(jobs), thread: thread.ok() }
    }

    pub(super) async fn send(&self, change: Change, who: String) -> Result<oneshot::Receiver<Answer>, WriterGone> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(WriterGone)?;
        jobs.send(Job { change, who, answer }).await.map_err(|_| WriterGone)?;
        Ok(answered)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ = thread.join();
        }
    }
}

fn run(database: &Database, mut waiting: mpsc::Receiver<Job>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        write(database, batch);
    }
}

/// Writes a batch; if a change in it panics, writes each change by itself.
fn write(database: &Database, batch: Vec<Job>) {
    let start = Instant::now();
    let size = batch.len();
    let changes: Vec<_> = batch.iter().map(|job| (job.change.clone(), job.who.clone())).collect();
    let answers = commit_guarded(database, changes).unwrap_or_else(|| {
        let one = |job: &Job| commit_guarded(database, vec![(job.change.clone(), job.who.clone())]);
        batch.iter().map(|job| one(job).and_then(|mut answers| answers.pop()).unwrap_or_else(broken)).collect()
    });
    for (job, answer) in batch.into_iter().zip(answers) {
        // Whoever asked may have gone.
        let _ = job.answer.send(answer);
    }
    counter!("laniakea_directory_server_commits_total").increment(1);
    counter!("laniakea_directory_server_changes_total").increment(size as u64);
    histogram!("laniakea_directory_server_commit_seconds").record(start.elapsed());
}

fn commit_guarded(database: &Database, changes: Vec<(Change, String)>) -> Option<Vec<Answer>> {
    // The transaction is dropped, and so undone, when something in it panics.
    catch_unwind(AssertUnwindSafe(|| {
        let count = changes.len();
        commit(database, changes).unwrap_or_else(|error| {
            let refusal = Refusal::from(error);
            vec![Err(refusal); count]
        })
    }))
    .ok()
}

fn commit(database: &Database, changes: Vec<(Change, String)>) -> Result<Vec<Answer>, redb::Error> {
    let transaction = database.begin_write()?;
    let unix_seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let answers = {
        let mut tables = Tables::open(&transaction)?;
        changes.into_iter().map(|(change, who)| apply(&mut tables, change, Stamp { unix_seconds, who })).collect()
    };
    transaction.commit()?;
    Ok(answers)
}

fn broken() -> Answer {
    tracing::error!("a change of the directory panicked");
    refuse(Code::Other, "internal error")
}
