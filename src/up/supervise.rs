//! Keeps the processes running, and stops them in order.

use std::{
    process::ExitStatus,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{
    process::Child,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};

use super::{
    RestartAfter,
    endpoints::Endpoints,
    process::{Kind, Process, describe},
};
use crate::{
    admin,
    exit::{Failure, say},
};

/// How long each kind of process may take to end before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// How often a starting process is asked whether it is ready.
const READY_EVERY: Duration = Duration::from_millis(50);

/// How long a process may take to become ready.
pub const READY_DEADLINE: Duration = Duration::from_secs(60);

/// The exit code of a process that could not go on but may when started again: a fenced member.
const TEMPORARY: i32 = 75;

/// The exit code of a process whose configuration must be changed first.
const CONFIGURATION: i32 = 78;

/// Something that happened to the process with this number in the list.
enum Event {
    Ended(usize, std::io::Result<ExitStatus>),
    Due(usize),
    Ready(usize, u32, Duration),
}

/// All processes, and what is known of them.
pub struct Supervisor {
    pub processes: Vec<Process>,
    events: JoinSet<Event>,
    restart_after: RestartAfter,
}

impl Supervisor {
    pub fn new(processes: Vec<Process>, restart_after: RestartAfter) -> Self {
        Self { processes, events: JoinSet::new(), restart_after }
    }

    /// Starts every process of these kinds.
    pub fn start(&mut self, kinds: &[Kind]) -> anyhow::Result<()> {
        for index in self.numbers(kinds) {
            self.start_one(index)?;
        }
        Ok(())
    }

    /// Numbers of the processes of these kinds.
    fn numbers(&self, kinds: &[Kind]) -> Vec<usize> {
        let all = self.processes.iter().enumerate();
        all.filter(|(_, process)| kinds.contains(&process.kind)).map(|(index, _)| index).collect()
    }

    /// Starts the process with this number in the list.
    pub fn start_one(&mut self, index: usize) -> anyhow::Result<()> {
        let Some(process) = self.processes.get_mut(index) else { return Ok(()) };
        let mut child: Child = process.start()?;
        self.events.spawn(async move { Event::Ended(index, child.wait().await) });
        Ok(())
    }

    /// Waits until each process of one of these kinds is ready; tells `progress` how many are.
    pub async fn until_ready(&mut self, kinds: &[Kind], mut progress: impl FnMut(usize, &str)) -> Result<(), Failure> {
        let begin = Instant::now();
        let waited = self.numbers(kinds);
        for (ready, index) in waited.iter().enumerate() {
            let Some((name, metrics)) =
                self.processes.get(*index).map(|process| (process.name.clone(), process.metrics))
            else {
                continue;
            };
            progress(ready, &name);
            let Some(metrics) = metrics else { continue };
            while !admin::is_ready(metrics).await {
                while let Some(Ok(event)) = self.events.try_join_next() {
                    self.on_early_event(event)?;
                }
                if begin.elapsed() > READY_DEADLINE {
                    return Err(self.not_ready(*index));
                }
                tokio::time::sleep(READY_EVERY).await;
            }
        }
        progress(waited.len(), "");
        Ok(())
    }

    fn not_ready(&self, index: usize) -> Failure {
        let seconds = READY_DEADLINE.as_secs();
        match self.processes.get(index) {
            Some(process) => Failure::Temporary(anyhow::anyhow!(
                "{} is not ready after {seconds} s; the end of {}:\n{}",
                process.name,
                process.log.display(),
                process.last_words()
            )),
            None => Failure::Temporary(anyhow::anyhow!("a process is not ready after {seconds} s")),
        }
    }

    /// A process that ends before all is ready has something to say, unless it only asks to be started again.
    fn on_early_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Ended(index, status) => {
                let code = status.as_ref().ok().and_then(ExitStatus::code);
                match self.restart_after {
                    RestartAfter::Delay(_) if code == Some(TEMPORARY) => self.on_end(index, status),
                    RestartAfter::Delay(_) | RestartAfter::Never => return Err(self.early_end(index, status)),
                }
            }
            Event::Due(index) => self.start_one(index)?,
            Event::Ready(..) => {}
        }
        Ok(())
    }

    fn early_end(&mut self, index: usize, status: std::io::Result<ExitStatus>) -> Failure {
        let code = status.as_ref().ok().and_then(ExitStatus::code);
        let how = status.map_or_else(|error| format!("cannot be watched: {error}"), describe);
        let Some(process) = self.processes.get_mut(index) else { return anyhow::anyhow!("a process {how}").into() };
        process.is_running = false;
        let text = anyhow::anyhow!(
            "{} {how} before all was ready; the end of {}:\n{}",
            process.name,
            process.log.display(),
            process.last_words()
        );
        if code == Some(CONFIGURATION) { Failure::Configuration(text) } else { Failure::Temporary(text) }
    }

    /// Keeps all running until a signal asks to stop.
    pub async fn keep(&mut self, endpoints: &Endpoints<'_>, stop: &mut Stop) -> Result<(), Failure> {
        loop {
            tokio::select! {
                () = stop.asked() => return Ok(()),
                Some(Ok(event)) = self.events.join_next(), if !self.events.is_empty() => self.on_event(event, endpoints)?,
            }
        }
    }

    /// Waits until a process ends, for callers that start their processes again themselves; returns its number.
    pub async fn ended(&mut self) -> usize {
        loop {
            match self.events.join_next().await {
                Some(Ok(Event::Ended(index, _))) => {
                    if let Some(process) = self.processes.get_mut(index) {
                        process.is_running = false;
                    }
                    return index;
                }
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }

    fn on_event(&mut self, event: Event, endpoints: &Endpoints<'_>) -> Result<(), Failure> {
        match event {
            Event::Ended(index, status) => self.on_end(index, status),
            Event::Due(index) => {
                self.start_one(index)?;
                // Written before anybody is told: a test that reads the file must find the new pid.
                endpoints.write(&self.processes)?;
                self.watch_ready(index);
            }
            Event::Ready(index, pid, after) => {
                let process =
                    self.processes.get(index).filter(|process| process.is_running && process.pid == Some(pid));
                if let Some(process) = process {
                    say(format_args!("{} is ready again (pid {pid}) after {:.1} s", process.name, after.as_secs_f64()));
                }
            }
        }
        Ok(())
    }

    fn on_end(&mut self, index: usize, status: std::io::Result<ExitStatus>) {
        let Some(process) = self.processes.get_mut(index) else { return };
        process.is_running = false;
        let how = status.map_or_else(|error| format!("cannot be watched: {error}"), describe);
        let pid = process.pid.unwrap_or_default();
        match self.restart_after {
            RestartAfter::Never => {
                say(format_args!("{} (pid {pid}) {how}; it is not started again (--restart-after never)", process.name))
            }
            RestartAfter::Delay(delay) => {
                say(format_args!(
                    "{} (pid {pid}) {how}; it starts again in {} s; log: {}",
                    process.name,
                    delay.as_secs_f64(),
                    process.log.display()
                ));
                self.events.spawn(async move {
                    tokio::time::sleep(delay).await;
                    Event::Due(index)
                });
            }
        }
    }

    fn watch_ready(&mut self, index: usize) {
        let Some(process) = self.processes.get(index) else { return };
        let (Some(metrics), Some(pid)) = (process.metrics, process.pid) else { return };
        self.events.spawn(async move {
            let begin = Instant::now();
            while !admin::is_ready(metrics).await && begin.elapsed() < READY_DEADLINE {
                tokio::time::sleep(READY_EVERY).await;
            }
            Event::Ready(index, pid, begin.elapsed())
        });
    }

    /// Stops all: routers first, so that no new work comes in; then members; the directory last.
    pub async fn stop(&mut self, stop: &mut Stop) {
        for kind in [Kind::Router, Kind::Member, Kind::Directory] {
            self.signal(kind, Signal::TERM);
            let deadline = tokio::time::Instant::now() + STOP_DEADLINE;
            while self.processes.iter().any(|process| process.kind == kind && process.is_running) {
                tokio::select! {
                    Some(ended) = self.events.join_next() => self.note_end(ended),
                    () = tokio::time::sleep_until(deadline) => self.kill(kind, "did not end in time"),
                    () = stop.asked() => self.kill(kind, "was told to end at once"),
                }
            }
        }
    }

    /// Kills all, whatever state they are in, and waits until they are gone.
    pub async fn kill_all(&mut self) {
        self.processes.iter().for_each(|process| process.signal(Signal::KILL));
        while self.processes.iter().any(|process| process.is_running) {
            self.ended().await;
        }
    }

    fn signal(&self, kind: Kind, signal: Signal) {
        self.processes.iter().filter(|process| process.kind == kind).for_each(|process| process.signal(signal));
    }

    fn kill(&mut self, kind: Kind, why: &str) {
        for process in self.processes.iter_mut().filter(|process| process.kind == kind && process.is_running) {
            say(format_args!("{} {why} and is killed; nothing acknowledged is lost by that", process.name));
            process.signal(Signal::KILL);
            process.is_running = false;
        }
    }

    fn note_end(&mut self, ended: Result<Event, tokio::task::JoinError>) {
        if let Ok(Event::Ended(index, _)) = ended
            && let Some(process) = self.processes.get_mut(index)
        {
            process.is_running = false;
        }
    }
}

/// The signals that ask to stop.
pub struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Stop {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when one has come.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
