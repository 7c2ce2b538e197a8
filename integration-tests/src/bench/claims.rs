//! Claims: how many a controller grants for each second of processor time, and how long one takes beside a bare round trip.
//!
//! The controller is a real member in a process of its own, so that its processor time is its alone. The members that
//! claim are real too, links, seals and all, but share the process of the benchmark. Every claim is for an account nobody
//! owns and is given back at once: the account is opened and closed, without its log.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use laniakea_backend::{
    cluster::{Claim, Epoch, OwnableId},
    drive::{
        arbiter::initialise_storage,
        control::{ClusterHandle, ControlSettings},
    },
};
use laniakea_directory::{AccountId, ClusterName};
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{CLUSTER, Spread, member_settings, own_cpu, progress};

/// Bytes of a bare round trip, each way: as many as a frame with one claim has.
const BARE_BYTES: usize = 64;

/// Single claims, and bare round trips, measured one after the other before it is the other's turn.
const TURN: u64 = 100;

/// Claims of one member under way at once while the table is being filled.
const OWNING_AT_ONCE: usize = 64;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Claims {
    /// Members that claim; the controller is one more.
    #[arg(long, default_value_t = 4)]
    pub members: usize,
    /// Accounts that are owned all the while, so that the controller's table is as large as in earnest.
    #[arg(long, default_value_t = 100_000)]
    pub owned: u64,
    /// Claims under way at once, over all members; may be repeated.
    #[arg(long, default_values_t = [1, 16, 64, 256, 1024, 4096])]
    pub at_once: Vec<u64>,
    /// Seconds for each of them.
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Single claims whose time is taken, in turn with bare round trips.
    #[arg(long, default_value_t = 4000)]
    pub singles: u64,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// One claim at a time over the link: asker, desk and link of the member are on one thread.
    pub link: Singles,
    /// One claim at a time in a whole member: two more switches between threads, to its desk and back.
    pub member: Singles,
    /// Claims under load.
    pub loads: Vec<Load>,
}

/// Single claims, in turn with bare round trips over TCP from the same thread to the same process.
#[derive(Debug, Serialize)]
pub struct Singles {
    /// A bare round trip.
    pub bare: Spread,
    /// A claim.
    pub claim: Spread,
    /// p50 of a claim in bare round trips.
    pub ratio: f64,
}

/// Claims under load.
#[derive(Debug, Serialize)]
pub struct Load {
    /// Claims under way at once.
    pub at_once: u64,
    /// Claims per second of the clock; the members have their share of the machine.
    pub per_second: f64,
    /// Claims per second of the controller's processor time.
    pub per_controller_core: f64,
    /// How long one took.
    pub claim: Spread,
}

/// Measures. `program` is this very program, which is started again to be the controller.
///
/// # Errors
/// If a process cannot be started, or a claim is not granted.
pub async fn measure(claims: &Claims, program: &Path) -> Result<Report> {
    let folder = prepare()?;
    let mut controller = Controller::start(program, folder.path()).await?;
    let members = start_members(folder.path(), claims.members).await?;
    let first = members.first().context("at least one member")?;

    let next = Arc::new(AtomicU64::new(0));
    let owning = progress(claims.owned, "owning accounts");
    own(&members, &next, claims.owned).await?;
    owning.finish_and_clear();
    // In a task, as sessions are: what blocks on the runtime's edge pays a thread switch for every event.
    let singles = measure_singles(first.clone(), controller.echo, Arc::clone(&next), claims.singles);
    let member = tokio::spawn(singles).await??;
    let link = measure_link(folder.path(), controller.echo, Arc::clone(&next), claims.singles).await?;
    let mut loads = Vec::new();
    let bar = progress(claims.at_once.len() as u64, "claims under load");
    for at_once in &claims.at_once {
        loads.push(measure_load(&members, &mut controller, &next, *at_once, claims.seconds).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    for member in members {
        member.shutdown().await;
    }
    controller.stop().await?;
    Ok(Report { link, member, loads })
}

/// Is the controller until standard input ends; tells its processor time for every line that comes in.
///
/// # Errors
/// If it cannot be.
pub async fn be_controller(folder: &Path) -> Result<()> {
    let handle = ClusterHandle::start(settings(folder, "controller")).await?;
    handle.changes().wait_for(|view| view.is_controller() && view.registered).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::thread::spawn(move || echo(listener));
    tokio::task::block_in_place(|| {
        let lines = std::io::stdin().lines();
        lines.map_while(Result::ok).for_each(|_| println!("{}", own_cpu().as_nanos()));
    });
    handle.shutdown().await;
    Ok(())
}

/// The other end of the bare round trips: a thread with a runtime of its own, as the controller's desk has.
fn echo(listener: TcpListener) -> Result<()> {
    let listener = listener.into_std()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let echoing = async move {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let mut bytes = [0; BARE_BYTES];
            while stream.read_exact(&mut bytes).await.is_ok() {
                stream.write_all(&bytes).await?;
            }
        }
    };
    // In a task, as the desk is.
    runtime.block_on(async { tokio::spawn(echoing).await? })
}

/// Storage and key of a new cluster.
pub(super) fn prepare() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    initialise_storage(&folder.path().join("storage"), &ClusterName::new(CLUSTER))?;
    std::fs::write(folder.path().join("key"), [7; 32])?;
    Ok(folder)
}

fn settings(folder: &Path, member: &str) -> ControlSettings {
    member_settings(folder.join("storage"), folder.join("key"), member)
}

/// The controller's process, seen from outside.
pub(super) struct Controller {
    process: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    echo: SocketAddr,
}

impl Controller {
    pub(super) async fn start(program: &Path, folder: &Path) -> Result<Self> {
        let mut process = Command::new(program)
            .arg("controller")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the controller")?;
        let ask = process.stdin.take().context("the controller's input")?;
        let mut answers = BufReader::new(process.stdout.take().context("the controller's output")?).lines();
        let echo = answers.next_line().await?.context("the controller ended")?.parse()?;
        Ok(Self { process, ask, answers, echo })
    }

    pub(super) async fn cpu(&mut self) -> Result<Duration> {
        self.ask.write_all(b"cpu\n").await?;
        let answer = self.answers.next_line().await?.context("the controller ended")?;
        Ok(Duration::from_nanos(answer.parse()?))
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        drop(self.ask);
        ensure!(self.process.wait().await?.success(), "the controller failed");
        Ok(())
    }
}

pub(super) async fn start_members(folder: &Path, count: usize) -> Result<Vec<ClusterHandle>> {
    let mut members = Vec::new();
    for number in 0..count {
        members.push(ClusterHandle::start(settings(folder, &format!("member-{number}"))).await?);
    }
    for member in &members {
        member.changes().wait_for(|view| view.members.len() == count + 1 && view.registered).await?;
        ensure!(!member.view().is_controller(), "the controller is another process");
    }
    Ok(members)
}

/// An account nobody has claimed yet. Its id is spread like the random ones of a directory.
pub(super) fn fresh(next: &AtomicU64) -> OwnableId {
    numbered(next.fetch_add(1, Ordering::Relaxed))
}

pub(super) fn numbered(number: u64) -> OwnableId {
    let spread = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    OwnableId::Account(AccountId(uuid::Uuid::from_u128(spread)))
}

pub(super) async fn claim(member: &ClusterHandle, account: OwnableId) -> Result<Epoch> {
    match member.claim(account).await? {
        Claim::Granted(grant) => Ok(grant.epoch()),
        Claim::Owned { member, .. } => bail!("{account} is owned by {member} already"),
    }
}

/// Claims `count` accounts, each member its share, many at a time.
pub(super) async fn own(members: &[ClusterHandle], next: &Arc<AtomicU64>, count: u64) -> Result<()> {
    let workers = OWNING_AT_ONCE * members.len();
    let share = count.div_ceil(workers as u64);
    let workers = members.iter().cycle().take(workers).map(|member| {
        let (member, next) = (member.clone(), Arc::clone(next));
        tokio::spawn(async move {
            for _ in 0..share {
                claim(&member, fresh(&next)).await?;
            }
            anyhow::Ok(())
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await??;
    }
    Ok(())
}

/// A member whose desk and whose one task that claims share a thread.
async fn measure_link(folder: &Path, echo: SocketAddr, next: Arc<AtomicU64>, count: u64) -> Result<Singles> {
    let settings = settings(folder, "single");
    let measured = tokio::task::spawn_blocking(move || {
        let measure = async move {
            let member = ClusterHandle::start_beside(settings).await?;
            member.changes().wait_for(|view| view.registered).await?;
            let singles = measure_singles(member.clone(), echo, next, count).await?;
            member.shutdown().await;
            Ok(singles)
        };
        // In a task: what a runtime blocks on is woken through the kernel.
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(async { tokio::spawn(measure).await? })
    });
    measured.await?
}

async fn measure_singles(member: ClusterHandle, echo: SocketAddr, next: Arc<AtomicU64>, count: u64) -> Result<Singles> {
    let mut stream = TcpStream::connect(echo).await?;
    stream.set_nodelay(true)?;
    let (mut bare, mut single) = (Vec::new(), Vec::new());
    let bar = progress(count, "single claims and bare round trips");
    for _ in 0..count.div_ceil(TURN) {
        for _ in 0..TURN {
            let begun = Instant::now();
            let mut bytes = [0; BARE_BYTES];
            stream.write_all(&bytes).await?;
            stream.read_exact(&mut bytes).await?;
            bare.push(begun.elapsed());
        }
        let mut owned = Vec::new();
        for _ in 0..TURN {
            let account = fresh(&next);
            let begun = Instant::now();
            let epoch = claim(&member, account).await?;
            single.push(begun.elapsed());
            owned.push((account, epoch));
        }
        owned.into_iter().for_each(|(account, epoch)| member.release(account, epoch));
        bar.inc(TURN);
    }
    bar.finish_and_clear();
    let (bare, claim) = (Spread::of(bare), Spread::of(single));
    Ok(Singles { bare, claim, ratio: claim.p50_us / bare.p50_us })
}

async fn measure_load(
    members: &[ClusterHandle],
    controller: &mut Controller,
    next: &Arc<AtomicU64>,
    at_once: u64,
    seconds: f64,
) -> Result<Load> {
    let (begun, before) = (Instant::now(), controller.cpu().await?);
    let over = begun + Duration::from_secs_f64(seconds);
    let workers: Vec<_> = (0..at_once)
        .zip(members.iter().cycle())
        .map(|(_, member)| {
            let (member, next) = (member.clone(), Arc::clone(next));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < over {
                    let account = fresh(&next);
                    let asked = Instant::now();
                    let epoch = claim(&member, account).await?;
                    times.push(asked.elapsed());
                    member.release(account, epoch);
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await??);
    }
    let (elapsed, cpu) = (begun.elapsed(), controller.cpu().await?.saturating_sub(before));
    let count = times.len() as f64;
    Ok(Load {
        at_once,
        per_second: count / elapsed.as_secs_f64(),
        per_controller_core: count / cpu.as_secs_f64(),
        claim: Spread::of(times),
    })
}

/// This program, to be started again as another role.
///
/// # Errors
/// If the system does not say.
pub fn this_program() -> Result<PathBuf> {
    std::env::current_exe().context("find this program")
}
