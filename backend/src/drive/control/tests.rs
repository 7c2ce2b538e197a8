//! Whole members in one process, on loopback and a scratch folder. Deadlines are generous: nothing here measures time.

use std::{future::Future, time::Duration};

use laniakea_config::{Advertised, ClusterTiming, ProbePolicy};
use laniakea_directory::{AccountId, ClusterName};

use super::*;
use crate::drive::arbiter::initialise_storage;

const PATIENCE: Duration = Duration::from_secs(30);

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        initialise_storage(&folder.path().join("storage"), &ClusterName::new("one")).unwrap();
        fs::write(folder.path().join("key"), [7; 32]).unwrap();
        Self { folder }
    }

    fn settings(&self, member: &str) -> ControlSettings {
        ControlSettings {
            cluster: ClusterName::new("one"),
            member: MemberName::new(member),
            storage: self.folder.path().join("storage"),
            key: self.folder.path().join("key"),
            control: "127.0.0.1:0".parse().unwrap(),
            advertise: Advertised {
                control: "127.0.0.1:0".parse().unwrap(),
                handoff: format!("127.0.0.1:{}", 2000 + u16::from(member.as_bytes()[0])).parse().unwrap(),
            },
            probe: ProbePolicy::Off,
            timing: ClusterTiming::default(),
        }
    }

    async fn start(&self, member: &str) -> ClusterHandle {
        ClusterHandle::start(self.settings(member)).await.unwrap()
    }

    /// Three members that all see one another and are registered.
    async fn three(&self) -> [ClusterHandle; 3] {
        let all = [self.start("a").await, self.start("b").await, self.start("c").await];
        for one in &all {
            see(one, |view| view.members.len() == 3 && view.registered).await;
        }
        all
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it took far too long")
}

async fn see(handle: &ClusterHandle, wanted: impl Fn(&ClusterView) -> bool) -> Arc<ClusterView> {
    let mut changes = handle.changes();
    in_time(changes.wait_for(|view| wanted(view))).await.unwrap().clone()
}

fn account(number: u128) -> OwnableId {
    OwnableId::Account(AccountId(uuid::Uuid::from_u128(number)))
}

async fn granted(handle: &ClusterHandle, number: u128) -> Epoch {
    match in_time(handle.claim(account(number))).await {
        Ok(Claim::Granted(grant)) => grant.epoch(),
        other => panic!("{other:?}"),
    }
}

/// Claims until it is granted: a takeover may first answer that the dead member owns it.
async fn taken_over(handle: &ClusterHandle, number: u128) -> Epoch {
    in_time(async {
        loop {
            match handle.claim(account(number)).await {
                Ok(Claim::Granted(grant)) => return grant.epoch(),
                Ok(Claim::Owned { .. }) | Err(ClaimError::Unavailable) => {
                    tokio::time::sleep(Duration::from_millis(5)).await
                }
                other => panic!("{other:?}"),
            }
        }
    })
    .await
}

fn by_role(all: [ClusterHandle; 3]) -> (ClusterHandle, Vec<ClusterHandle>) {
    let (mut controllers, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.view().is_controller());
    (controllers.pop().unwrap(), others)
}

#[tokio::test]
async fn a_single_member_owns_validates_and_leaves() {
    let world = World::new();
    let alone = world.start("a").await;
    let first = granted(&alone, 1).await;
    assert_eq!(alone.claim(account(1)).await.unwrap(), {
        let handoff = world.settings("a").advertise.handoff;
        Claim::Owned { member: MemberName::new("a"), handoff, epoch: first }
    });
    in_time(alone.validate()).await.unwrap();
    in_time(alone.read_permit()).await.unwrap();
    assert_eq!(alone.owners().await.unwrap(), [(account(1), MemberName::new("a"), first)]);
    alone.release(account(1), first);
    let second = granted(&alone, 1).await;
    assert!(second > first);
    in_time(alone.shutdown()).await;
    let living = fs::read_dir(world.folder.path().join("storage/cluster/live")).unwrap().count();
    assert_eq!(living, 0, "nothing is left among the living");

    let again = world.start("a").await;
    assert_eq!(again.view().incarnation, 2);
    assert!(granted(&again, 1).await > second, "epochs rise through restarts");
}

#[tokio::test]
async fn three_members_agree_who_owns_what() {
    let world = World::new();
    let [a, b, c] = world.three().await;
    let epoch = granted(&a, 1).await;
    for other in [&b, &c] {
        let claim = in_time(other.claim(account(1))).await.unwrap();
        assert_eq!(
            claim,
            Claim::Owned { member: MemberName::new("a"), handoff: world.settings("a").advertise.handoff, epoch }
        );
    }
    a.release(account(1), epoch);
    assert!(taken_over(&b, 1).await > epoch);
    let owners = c.owners().await.unwrap();
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0].1, MemberName::new("b"));
}

#[tokio::test]
async fn a_killed_members_accounts_are_granted_elsewhere_and_it_is_fenced() {
    let world = World::new();
    let (controller, others) = by_role(world.three().await);
    let [victim, heir] = &others[..] else { panic!() };
    let before = granted(victim, 1).await;
    let fenced = victim.fenced();
    // Its sockets close, but its tick goes on: a process that is not quite dead.
    victim.shared.aborted.cancel();
    assert!(taken_over(heir, 1).await > before);
    in_time(fenced.cancelled()).await;
    assert_eq!(victim.validate().await, Err(Fenced));
    assert!(controller.view().is_controller());
}

#[tokio::test]
async fn owners_go_on_while_a_new_controller_is_made() {
    let world = World::new();
    let (controller, others) = by_role(world.three().await);
    let [one, two] = &others[..] else { panic!() };
    let kept = granted(one, 1).await;
    let lost = granted(&controller, 2).await;
    controller.abort();
    in_time(one.validate()).await.unwrap();
    assert!(taken_over(two, 2).await > lost);
    let claim = in_time(two.claim(account(1))).await.unwrap();
    assert!(matches!(claim, Claim::Owned { epoch, .. } if epoch == kept), "{claim:?}");
    see(one, |view| view.members.len() == 2 && view.registered).await;
}

#[tokio::test]
async fn a_restarted_member_joins_at_once_and_its_old_incarnation_is_fenced() {
    let world = World::new();
    let [a, b, c] = world.three().await;
    let before = granted(&c, 1).await;
    let fenced = c.fenced();
    let again = world.start("c").await;
    in_time(fenced.cancelled()).await;
    assert!(taken_over(&again, 1).await > before);
    for one in [&a, &b, &again] {
        see(one, |view| view.members.iter().any(|member| member.name.as_str() == "c" && member.incarnation == 2)).await;
    }
}

#[tokio::test]
async fn a_member_that_leaves_gives_everything_back_at_once() {
    let world = World::new();
    let [a, b, c] = world.three().await;
    let before = granted(&a, 1).await;
    in_time(a.shutdown()).await;
    assert!(taken_over(&b, 1).await > before);
    see(&c, |view| view.members.len() == 2 && view.registered).await;
}

#[tokio::test]
async fn a_drained_member_is_asked_for_its_accounts_and_gets_no_new_ones() {
    let world = World::new();
    let (controller, others) = by_role(world.three().await);
    let [drained, heir] = &others[..] else { panic!() };
    let epoch = granted(drained, 1).await;
    let mut recalls = drained.recalls();
    let name = drained.view().member.clone();
    assert_eq!(in_time(heir.drain(&name, true)).await, Ok([name.clone()].into()));
    assert_eq!(in_time(recalls.recv()).await, Some(account(1)));
    drained.release(account(1), epoch);
    assert!(taken_over(heir, 1).await > epoch);
    assert_eq!(in_time(drained.claim(account(2))).await, Err(ClaimError::Draining));
    see(heir, |view| view.roster.drained.contains(&name) && view.takers().len() == 2).await;
    assert_eq!(in_time(controller.drain(&name, false)).await, Ok([].into()));
    in_time(async {
        while drained.claim(account(2)).await == Err(ClaimError::Draining) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_drain_outlives_the_controller_and_the_drained_process() {
    let world = World::new();
    let (controller, others) = by_role(world.three().await);
    let [drained, heir] = others.try_into().unwrap();
    let name = drained.view().member.clone();
    in_time(heir.drain(&name, true)).await.unwrap();
    controller.abort();
    in_time(drained.shutdown()).await;
    let again = world.start(name.as_str()).await;
    see(&again, |view| view.registered && view.roster.drained.contains(&name)).await;
    assert_eq!(in_time(again.claim(account(1))).await, Err(ClaimError::Draining));
    heir.abort();
    // Nobody else is left to serve.
    taken_over(&again, 1).await;
}

#[tokio::test]
async fn two_who_contradict_each_other_are_told_the_same_in_the_end() {
    let world = World::new();
    let [a, b, c] = world.three().await;
    let name = c.view().member.clone();
    for _ in 0..20 {
        let (one, other) = tokio::join!(a.drain(&name, true), b.drain(&name, false));
        let last = c.drain(&MemberName::new("nobody"), false).await.unwrap();
        assert!([one.unwrap(), other.unwrap()].contains(&last), "somebody was told the last state");
        for one in [&a, &b, &c] {
            see(one, |view| view.roster.drained == last).await;
        }
    }
}

#[tokio::test]
async fn a_claim_that_is_dropped_leaves_no_owner_behind() {
    let world = World::new();
    let [a, b, _c] = world.three().await;
    for number in 0..200 {
        let claim = a.claim(account(number));
        let _ = tokio::time::timeout(Duration::from_micros(number as u64 * 5), claim).await.map(|claim| {
            if let Ok(Claim::Granted(grant)) = claim {
                a.release(grant.ownable(), grant.epoch());
            }
        });
    }
    for number in 0..200 {
        taken_over(&b, number).await;
    }
}

#[tokio::test]
async fn a_wrong_key_or_a_missing_volume_is_refused() {
    let world = World::new();
    let mut settings = world.settings("a");
    settings.storage = world.folder.path().to_owned();
    assert!(matches!(ClusterHandle::start(settings).await, Err(StartError::Volume(_))));
    let mut settings = world.settings("a");
    fs::write(&settings.key, [7; 31]).unwrap();
    assert!(matches!(ClusterHandle::start(settings.clone()).await, Err(StartError::Key { .. })));
    fs::write(&settings.key, [7; 32]).unwrap();
    let first = ClusterHandle::start(settings.clone()).await.unwrap();
    settings.control = first.view().members[0].control;
    assert!(matches!(ClusterHandle::start(settings).await, Err(StartError::Listen(_))), "it is running already");
}

/// One member as a process of its own: owns account 1, and ends with code 75 when it is fenced.
#[tokio::test]
#[ignore = "the other process of the tests below"]
async fn member_process() {
    let Ok(folder) = std::env::var("LANIAKEA_TEST_FOLDER") else { return };
    let world = World { folder: tempfile::TempDir::with_prefix_in("unused", &folder).unwrap() };
    let mut settings = world.settings("z");
    (settings.storage, settings.key) = (Path::new(&folder).join("storage"), Path::new(&folder).join("key"));
    let handle = ClusterHandle::start(settings).await.unwrap();
    let _grant = handle.claim(account(1)).await.unwrap();
    handle.fenced().cancelled().await;
    assert_eq!(handle.validate().await, Err(Fenced));
    std::process::exit(75);
}

/// A child process, killed when the test ends.
struct Child(std::process::Child);

impl Child {
    async fn start(world: &World, fellow: &ClusterHandle) -> Self {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "drive::control::tests::member_process", "--ignored"])
            .env("LANIAKEA_TEST_FOLDER", world.folder.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let owns = |owners: &[(OwnableId, MemberName, Epoch)]| owners.iter().any(|(one, _, _)| *one == account(1));
        in_time(async {
            while !fellow.owners().await.is_ok_and(|owners| owns(&owners)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        Self(child)
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_process_that_is_killed_loses_its_accounts_at_once() {
    let world = World::new();
    let fellow = world.start("a").await;
    let child = Child::start(&world, &fellow).await;
    child.signal(rustix::process::Signal::KILL);
    let begun = std::time::Instant::now();
    taken_over(&fellow, 1).await;
    eprintln!("takeover from a killed process: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_process_that_is_frozen_finds_itself_fenced_when_it_wakes() {
    let world = World::new();
    let fellow = world.start("a").await;
    let mut child = Child::start(&world, &fellow).await;
    child.signal(rustix::process::Signal::STOP);
    let begun = std::time::Instant::now();
    taken_over(&fellow, 1).await;
    eprintln!("takeover from a frozen process: {:?}", begun.elapsed());
    child.signal(rustix::process::Signal::CONT);
    let status = in_time(async {
        loop {
            match child.0.try_wait().unwrap() {
                Some(status) => return status,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await;
    assert_eq!(status.code(), Some(75));
}

/// Prints what things cost here. `cargo test -p laniakea-backend --lib figures -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, and proves nothing"]
async fn figures() {
    let world = World::new();
    let (controller, others) = by_role(world.three().await);
    let [one, two] = &others[..] else { panic!() };

    print_figures("validate, idle", 200, async |_| {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let begun = std::time::Instant::now();
        one.validate().await.unwrap();
        begun.elapsed()
    })
    .await;
    for (what, handle, from) in [("claim at the controller", &controller, 10_000), ("claim over a link", one, 20_000)] {
        print_figures(what, 500, async |round| {
            let begun = std::time::Instant::now();
            granted(handle, from + round).await;
            begun.elapsed()
        })
        .await;
    }
    print_figures("takeover from a dead member", 10, async |round| {
        let victim = world.start(&format!("v{round}")).await;
        see(&victim, |view| view.members.len() == 4 && view.registered).await;
        granted(&victim, 5_000_000 + round).await;
        let begun = std::time::Instant::now();
        victim.abort();
        taken_over(two, 5_000_000 + round).await;
        begun.elapsed()
    })
    .await;
    granted(&controller, 3).await;
    let begun = std::time::Instant::now();
    controller.abort();
    granted(one, 4).await;
    println!("a new account after the controller died: {:?}", begun.elapsed());
    taken_over(two, 3).await;
    println!("the dead controller's account: {:?}", begun.elapsed());

    let world = World::new();
    let (controller, others) = by_role(world.three().await);
    let one = &others[0];
    for (what, handle, from) in [("at the controller", &controller, 1_000_000), ("over a link", one, 2_000_000)] {
        let begun = std::time::Instant::now();
        let claims = (0..256_u128).map(|task| {
            let handle = handle.clone();
            tokio::spawn(async move {
                for round in 0..100 {
                    granted(&handle, from + task * 1000 + round).await;
                }
            })
        });
        futures_util::future::join_all(claims.collect::<Vec<_>>()).await;
        println!("256 tasks claim {what}: {:.0}/s", 25_600.0 / begun.elapsed().as_secs_f64());
    }
}

async fn print_figures(what: &str, rounds: u128, measure: impl AsyncFn(u128) -> Duration) {
    let mut spans = Vec::new();
    for round in 0..rounds {
        spans.push(measure(round).await);
    }
    spans.sort_unstable();
    println!("{what}: median {:?}, worst {:?}", spans[spans.len() / 2], spans[spans.len() - 1]);
}

/// What a member of this name would probe with, before it joins.
fn prober_of(world: &World, member: &str) -> (Prober, Arc<FileArbiter>) {
    let settings = ControlSettings { probe: ProbePolicy::On, ..world.settings(member) };
    let address = "127.0.0.1:1".parse().unwrap();
    let newcomer = Newcomer { member: settings.member.clone(), control: address, handoff: address };
    let arbiter = Arc::new(FileArbiter::new(&settings.storage));
    (prober(&settings, &newcomer, &[7; 32], Examiner::new(settings.storage.clone())), arbiter)
}

#[tokio::test]
async fn a_member_probes_with_a_fellow_that_runs_and_alone_if_there_is_none() {
    let world = World::new();
    let (alone, arbiter) = prober_of(&world, "b");
    assert!(!in_time(alone.before_joining(arbiter)).await.unwrap(), "there is nobody to probe with");
    let fellow = world.start("a").await;
    let (with_fellow, arbiter) = prober_of(&world, "b");
    assert!(in_time(with_fellow.before_joining(arbiter)).await.unwrap());
    let (itself, arbiter) = prober_of(&world, "a");
    assert!(!in_time(itself.before_joining(arbiter)).await.unwrap(), "an earlier run of oneself is no fellow");
    fellow.abort();
}

#[tokio::test]
async fn a_member_that_found_nobody_probes_as_soon_as_somebody_is_there() {
    let world = World::new();
    let first = world.start("a").await;
    let (prober, _) = prober_of(&world, "a");
    let (tell, _unsound) = watch::channel(None);
    let later = tokio::spawn(prober.later(first.changes(), tell));
    let second = world.start("b").await;
    in_time(later).await.unwrap();
    see(&first, |view| view.members.len() == 2).await;
    second.abort();
}
