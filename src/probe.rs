//! `laniakea store probe`: find out whether a filesystem may carry a cluster.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use laniakea_backend::{
    drive::{
        arbiter::cluster_of,
        probe::{Correspondence, ProbeError, Report, probe_alone, probe_pair, probe_with},
    },
    probe::{Check, Filesystem, Side, Tally, Verdict},
};
use serde_json::{Value, json};

use crate::{
    exit::{Failure, say, say_json},
    table::table,
};

/// Try whether a filesystem keeps what a cluster relies on, and say what to change.
///
/// Members do the same with a fellow when they start. What is measured is what one mount sees of what was done through
/// another: so it takes two mounts, on two machines or on this one. With one path alone, only what a single mount can show
/// is tried.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  laniakea store probe /mnt/one /mnt/two                    two mounts on this machine
  laniakea store probe --key blue.key --serve 10.1.2.1:7003 /srv/mail/blue      on one machine, then
  laniakea store probe --key blue.key --peer 10.1.2.1:7003 /srv/mail/blue       on another
  laniakea store probe --key blue.key --peer 10.1.2.1:7001 /srv/mail/blue       with a member that runs: its control address

Exit code 78 if the filesystem must not be used as it is mounted, 75 if nothing can be said.")]
pub struct Probe {
    /// The folder, through one mount or through two.
    #[arg(required = true, num_args = 1..=2)]
    paths: Vec<PathBuf>,
    /// Help whoever comes to this address and proves to hold the key, until interrupted.
    #[arg(long, value_name = "ADDRESS", requires = "key", conflicts_with_all = ["peer", "json"])]
    serve: Option<SocketAddr>,
    /// Probe with the member, or the waiting command, at this address.
    #[arg(long, value_name = "ADDRESS", requires = "key")]
    peer: Option<SocketAddr>,
    /// File of 32 random bytes that both sides have: that of the cluster.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Probe {
    pub fn run(self) -> Result<(), Failure> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
        runtime.block_on(self.probe())
    }

    async fn probe(self) -> Result<(), Failure> {
        let paths: Vec<&Path> = self.paths.iter().map(PathBuf::as_path).collect();
        match (paths.as_slice(), self.serve, self.peer) {
            ([path], Some(address), None) => self.serve(path, address).await,
            ([path], None, Some(peer)) => {
                let correspondence = self.correspondence(path, peer)?;
                let bar = bar();
                let report =
                    probe_with(path, &correspondence, peer, &mut |played, all| advance(&bar, played, all)).await;
                self.tell(&bar, report)
            }
            ([path], None, None) => {
                let bar = bar();
                let report = probe_alone(path, &mut |played, all| advance(&bar, played, all)).await;
                self.tell(&bar, report)
            }
            ([one, other], None, None) => {
                let bar = bar();
                let report = probe_pair(one, other, &mut |played, all| advance(&bar, played, all)).await;
                self.tell(&bar, report)
            }
            _ => Err(Failure::usage("give two paths, or one path with --serve or --peer, or one path alone")),
        }
    }

    async fn serve(&self, path: &Path, address: SocketAddr) -> Result<(), Failure> {
        let correspondence = self.correspondence(path, address)?;
        let listener = tokio::net::TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        let address = listener.local_addr().context("listen")?;
        say(format_args!(
            "waiting at {address}; on the other machine: laniakea store probe --key FILE --peer {address} PATH"
        ));
        tokio::select! {
            () = correspondence.serve(listener, path) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(())
    }

    fn correspondence(&self, path: &Path, address: SocketAddr) -> Result<Correspondence, Failure> {
        let Some(file) = &self.key else { return Err(Failure::usage("--serve and --peer need --key")) };
        let bytes = std::fs::read(file)
            .with_context(|| format!("read the key from {}", file.display()))
            .map_err(Failure::Configuration)?;
        let key = <[u8; 32]>::try_from(bytes).map_err(|bytes| {
            Failure::configuration(format_args!("{} holds {} bytes instead of 32", file.display(), bytes.len()))
        })?;
        // Before there is a cluster on it, both sides take the same empty name.
        let cluster = cluster_of(path).unwrap_or_default();
        Ok(Correspondence::of_stranger(&key, &cluster, address))
    }

    fn tell(&self, bar: &ProgressBar, report: Result<Report, ProbeError>) -> Result<(), Failure> {
        bar.finish_and_clear();
        let report = report.map_err(refused)?;
        if self.json {
            say_json(&to_json(&report));
        } else {
            show(&report);
        }
        match report.findings.verdict() {
            Verdict::Sound => Ok(()),
            Verdict::Broken => Err(Failure::configuration(format_args!(
                "{} must not carry a cluster as it is mounted",
                report.storage.display()
            ))),
            Verdict::Unfinished => Err(Failure::Temporary(anyhow::anyhow!("{}", unfinished(&report)))),
        }
    }
}

/// A path that is not there, or shows something else, is the caller's to change.
fn refused(error: ProbeError) -> Failure {
    match &error {
        ProbeError::Absent(_) => Failure::Configuration(error.into()),
        ProbeError::Storage { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Failure::Configuration(error.into())
        }
        ProbeError::Storage { .. } | ProbeError::Peer { .. } | ProbeError::Busy(_) | ProbeError::Stalled => {
            Failure::Temporary(error.into())
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} round {pos} of at most {len}, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

fn advance(bar: &ProgressBar, played: u16, all: u16) {
    bar.set_length(u64::from(all));
    bar.set_position(u64::from(played));
}

fn show(report: &Report) {
    let describe =
        |filesystem: &Filesystem| format!("{} ({}) at {}", filesystem.name, filesystem.source, filesystem.mount_point);
    say(format_args!("{}: {}", report.storage.display(), describe(&report.filesystem)));
    match &report.peer {
        Some(peer) => say(format_args!("{}: {}", peer.name, describe(&peer.filesystem))),
        None => say("alone: what another mount sees of this one was not tried"),
    }
    say(format_args!("{} rounds in {:.1} s\n", report.findings.rounds, report.elapsed.as_secs_f64()));
    let row = |check: Check| {
        let tally = report.findings.of(check);
        let word = match tally {
            Tally { wrong: 0, tried: 0 } => "not tried",
            Tally { wrong: 0, .. } => "good",
            Tally { .. } => "BROKEN",
        };
        let (tried, wrong) = (tally.tried.to_string(), tally.wrong.to_string());
        vec![check.assumption().into(), check.promise().into(), tried, wrong, word.into()]
    };
    let rows: Vec<Vec<String>> = Check::ALL.into_iter().map(row).collect();
    say(table("", &["", "WHAT MUST HOLD", "TRIED", "WRONG", ""], &rows));
    say("");
    for line in report.advice() {
        say(format_args!("to do: {line}"));
    }
    for line in report.filesystem.beyond() {
        say(format_args!("cannot be tried: {line}"));
    }
}

fn unfinished(report: &Report) -> String {
    match &report.findings.trouble {
        Some(trouble) => format!(
            "on {}: {}: {}",
            report.side(trouble.side),
            trouble.operation,
            io::Error::from_raw_os_error(trouble.errno)
        ),
        None => format!("{} rounds are too few to say anything", report.findings.rounds),
    }
}

fn to_json(report: &Report) -> Value {
    let findings = &report.findings;
    let verdict = match findings.verdict() {
        Verdict::Sound => "sound",
        Verdict::Broken => "broken",
        Verdict::Unfinished => "unfinished",
    };
    let checks: Vec<Value> = findings
        .tallies
        .iter()
        .map(|((check, side), tally)| {
            json!({
                "check": check.word(),
                "assumption": check.assumption(),
                "promise": check.promise(),
                "side": match side { Side::Here => "here", Side::There => "there" },
                "tried": tally.tried,
                "wrong": tally.wrong,
            })
        })
        .collect();
    let filesystem = |one: &Filesystem| json!({"type": one.name, "source": one.source, "mount_point": one.mount_point, "options": one.options});
    json!({
        "verdict": verdict,
        "storage": report.storage,
        "filesystem": filesystem(&report.filesystem),
        "peer": report.peer.as_ref().map(|peer| json!({"name": peer.name, "filesystem": filesystem(&peer.filesystem)})),
        "rounds": findings.rounds,
        "seconds": report.elapsed.as_secs_f64(),
        "checks": checks,
        "advice": report.advice(),
        "beyond": report.filesystem.beyond(),
        "trouble": findings.trouble.as_ref().map(|_| unfinished(report)),
    })
}
