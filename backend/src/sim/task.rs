//! What a process does on the filesystem: run at one moment, or stopped before one of its operations.
//!
//! A task that is stopped stands on a thread of its own and waits at a gate, while the world goes on without it. Only one
//! of all threads runs at any time, so a run is still one order of events.

use std::{sync::Arc, thread::JoinHandle};

use crate::{
    cluster::{ArbiterAnswer, TickError, TickName},
    mailbox::Account,
    queue::Queue,
    sabotage,
    store::{SimulatedFs, fs::simulated::Gate},
    worker::{RecoverError, Recovery, Snapshotted, Tidied, Written},
};

/// What came of a task.
pub enum Done {
    Arbiter(ArbiterAnswer),
    Tick(TickName, Result<(), TickError>),
    Account(Result<Recovery<Account, SimulatedFs>, RecoverError>),
    Shard(Result<Recovery<Queue, SimulatedFs>, RecoverError>),
    Written(Written<SimulatedFs>),
    Snapshotted(Snapshotted),
    Tidied(Tidied<SimulatedFs>),
    Closed,
}

/// What blocks.
pub type Task = Box<dyn FnOnce() -> Done + Send>;

/// A task that stands before an operation.
pub struct Stopped {
    gate: Arc<Gate>,
    thread: Option<JoinHandle<Done>>,
}

/// How far a task has come.
pub enum Progress {
    Done(Box<Done>),
    Stopped(Stopped),
}

/// Runs a task until it is done, or stands before its `operation`th operation.
pub fn run_until(fs: &SimulatedFs, operation: u64, task: Task) -> Progress {
    let operation = fs.operations() + operation;
    let gate = fs.pause_at(operation);
    let (at_end, mistake) = (Arc::clone(&gate), sabotage::current());
    let thread = std::thread::spawn(move || {
        sabotage::set(mistake);
        let done = task();
        at_end.pass_by();
        done
    });
    gate.until_arrived();
    let stopped = Stopped { gate, thread: Some(thread) };
    if fs.open_way(operation) { Progress::Done(Box::new(stopped.go_on())) } else { Progress::Stopped(stopped) }
}

impl Stopped {
    /// Lets it go on to its end.
    pub fn go_on(mut self) -> Done {
        self.gate.open();
        let thread = self.thread.take().expect("it is joined once");
        thread.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.gate.open();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
