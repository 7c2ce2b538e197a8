//! Opening and giving back, in a whole cluster of two on a scratch folder. Deadlines are generous: nothing here measures time.

use std::fs;

use laniakea_config::{Advertised, ClusterTiming, ProbePolicy};
use laniakea_directory::ClusterName;

use super::*;
use crate::drive::{arbiter::initialise_storage, control::ControlSettings};

const PATIENCE: Duration = Duration::from_secs(60);

/// Two members; the first one's registry opens one thing at a time.
struct World {
    folder: tempfile::TempDir,
    registry: Arc<Registry>,
    fellow: ClusterHandle,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        initialise_storage(&folder.path().join("storage"), &ClusterName::new("one")).unwrap();
        fs::write(folder.path().join("key"), [7; 32]).unwrap();
        let start = async |member: &str, port: u16| {
            let settings = ControlSettings {
                cluster: ClusterName::new("one"),
                member: MemberName::new(member),
                storage: folder.path().join("storage"),
                key: folder.path().join("key"),
                control: ([127, 0, 0, 1], 0).into(),
                advertise: Advertised { control: ([127, 0, 0, 1], 0).into(), handoff: ([127, 0, 0, 1], port).into() },
                probe: ProbePolicy::Off,
                timing: ClusterTiming::default(),
            };
            ClusterHandle::start(settings).await.unwrap()
        };
        let (one, fellow) = (start("a", 2001).await, start("b", 2002).await);
        for handle in [&one, &fellow] {
            let mut changes = handle.changes();
            let seen = changes.wait_for(|view| view.registered && view.members.len() == 2);
            timeout(PATIENCE, seen).await.unwrap().unwrap();
        }
        let timing = WorkerTiming { idle_release: PATIENCE, commit: PATIENCE, grace: Duration::from_secs(1) };
        let openings = Openings { at_once: 1, waiting_max: 10 };
        let registry =
            Arc::new(Registry::new(Storage::new(folder.path().join("storage"), 0), one, timing, PATIENCE, openings));
        Self { folder, registry, fellow }
    }

    /// Follows what the controller asks back, as a member does.
    fn follow_recalls(&self) {
        let (registry, mut recalls) = (Arc::clone(&self.registry), self.registry.cluster().recalls());
        tokio::spawn(async move {
            while let Some(what) = recalls.recv().await {
                registry.recall(what);
            }
        });
    }

    /// What the fellow is told when it claims, once the owner is as wanted.
    async fn fellow_claims(&self, what: OwnableId, wanted: impl Fn(&Claim) -> bool) {
        let claims = async {
            while !self.fellow.claim(what).await.is_ok_and(|claim| wanted(&claim)) {
                tokio::time::sleep(RETRY).await;
            }
        };
        timeout(PATIENCE, claims).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_recalled_while_it_is_being_opened_is_given_back() {
    let world = World::new().await;
    world.follow_recalls();
    let account = AccountId(uuid::Uuid::from_u128(1));
    // Something else is being opened, for as long as this lasts.
    let elsewhere = OwnableId::Queue(0);
    let admitted = world.registry.opener.admission.enter(elsewhere, Urgency::Awaited).await.unwrap();
    let registry = Arc::clone(&world.registry);
    let opening = tokio::spawn(async move { registry.account(account, None, Urgency::Awaited).await });
    // The grant is in hand, the opening stands in line.
    while world.registry.opener.admission.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let name = world.registry.cluster().view().member.clone();
    world.fellow.drain(&name, true).await.unwrap();
    world.fellow_claims(OwnableId::Account(account), |claim| matches!(claim, Claim::Granted(_))).await;
    // In order, not by a fence; and who wanted it is sent on.
    assert!(!world.registry.cluster().fenced().is_cancelled());
    let opened = timeout(PATIENCE, opening).await.unwrap().unwrap().unwrap();
    assert!(matches!(opened, Access::Elsewhere(owner) if owner.member.as_str() == "b"));
    drop(admitted);
    assert_eq!(world.registry.accounts_open(), 0);
    drop(world.folder);
}
