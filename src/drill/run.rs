//! One run: accounts in their places, probes, the fault, and the way back.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use laniakea_config::MemberSettings;
use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{
    fault::{Fault, Role},
    ledger::{Balance, Ledger},
    probe::{Kind, Probes, Whose},
    report::Figures,
    world::World,
};

/// So many accounts more are only opened anew while a controller is replaced: each is closed again before its next turn.
pub const OPENED: u32 = 100;

/// Probes must succeed before anything is done to anybody.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A fault may take this long to be over.
const OVER_WITHIN: Duration = Duration::from_secs(120);

/// A fault comes at any moment between two pings and two ticks.
const JITTER: Duration = Duration::from_millis(500);

/// The process of the directory, and that of the router that is asked first.
const DIRECTORY: &str = "directory";
const ROUTER: &str = "router-1";

/// The runs of a drill.
pub struct Drilling<'a> {
    pub world: &'a mut World,
    /// How many accounts are probed.
    pub accounts: u32,
    pub random: StdRng,
    pub ledger: Ledger,
    /// Counts the runs of all faults.
    pub run: u32,
}

impl Drilling<'_> {
    /// Does one fault once; returns whom it hit, and the worst outage.
    pub async fn once(&mut self, figures: &mut Figures, show: impl Fn(&str)) -> anyhow::Result<(String, Duration)> {
        self.run += 1;
        let fault = figures.fault;
        show("waiting until the cluster is whole");
        let controller = self.world.heal().await?;
        let members = self.world.site.cluster()?.members.clone();
        let victim = self.choose(fault, &controller, &members)?;
        let places: Vec<(u32, MemberSettings)> = (1..=self.accounts).zip(members.into_iter().cycle()).collect();
        self.world.spread(&places).await.context("spread the accounts over the members")?;

        let mut probes = self.probes(fault, &victim, &places);
        let begin = Instant::now();
        self.until_calm(&mut probes, begin, READY_WITHIN).await.context("probe before the fault")?;
        let jitter = self.random.random_range(Duration::ZERO..JITTER);
        self.until_calm(&mut probes, begin + jitter, READY_WITHIN).await.context("probe before the fault")?;

        show(&format!("{victim} is hit"));
        let moment = Instant::now();
        self.world.inject(fault.means(), &victim).await?;
        let over = self.until_calm(&mut probes, moment, OVER_WITHIN).await;
        let ended = probes.end().await;
        let worst = figures.add_run(ended.outages(moment));
        self.ledger.note(ended.accepted);
        over.map(|()| (victim, worst))
    }

    /// Heals the cluster and counts what was delivered.
    pub async fn balance(&mut self) -> anyhow::Result<Balance> {
        self.world.heal().await?;
        let site = self.world.site.clone();
        self.world.meanwhile(self.ledger.balance(&site, self.accounts)).await
    }

    /// Whom it hits.
    fn choose(&mut self, fault: Fault, controller: &str, members: &[MemberSettings]) -> anyhow::Result<String> {
        match fault.role() {
            Role::Controller => Ok(controller.to_owned()),
            Role::Router => Ok(ROUTER.to_owned()),
            Role::Directory => Ok(DIRECTORY.to_owned()),
            Role::Member => {
                let others: Vec<&MemberSettings> = members.iter().filter(|member| member.name != controller).collect();
                let victim = others.choose(&mut self.random).context("there is no member but the controller")?;
                Ok(victim.name.clone())
            }
        }
    }

    /// Begins all probes of a run.
    fn probes(&self, fault: Fault, victim: &str, places: &[(u32, MemberSettings)]) -> Probes {
        let site = &self.world.site;
        let mut probes = Probes::new();
        let (owned, others): (Vec<_>, Vec<_>) = places.iter().partition(|(_, member)| member.name == victim);
        let numbers = |places: Vec<&(u32, MemberSettings)>| places.iter().map(|(number, _)| *number).collect();
        let (hit, bystanders): (Vec<u32>, Vec<u32>) = match fault.role() {
            Role::Member => (numbers(owned), numbers(others)),
            // What a controller owns goes the way of any member's accounts; here it is about what it decides.
            Role::Controller => (Vec::new(), numbers(others)),
            Role::Router | Role::Directory => (numbers(others), Vec::new()),
        };
        hit.iter().for_each(|number| probes.keep(Whose::Victims, site.imap(*number)));
        bystanders.iter().for_each(|number| probes.keep(Whose::Others, site.imap(*number)));
        if fault.role() == Role::Controller {
            let opened = self.accounts + 1..=self.accounts + OPENED;
            probes.log_in(Whose::Victims, Kind::Open, opened.map(|number| site.imap(number)).collect());
        } else {
            probes.log_in(Whose::Victims, Kind::Login, hit.iter().map(|number| site.imap(*number)).collect());
        }
        let (whose, mailboxes) = if hit.is_empty() { (Whose::Others, bystanders) } else { (Whose::Victims, hit) };
        let mailboxes = mailboxes.into_iter().map(|number| site.lmtp(number)).collect();
        probes.deliver(whose, mailboxes, format!("run-{}", self.run));
        probes
    }

    async fn until_calm(&mut self, probes: &mut Probes, since: Instant, within: Duration) -> anyhow::Result<()> {
        let calm = tokio::time::timeout(within, probes.until_calm_since(since));
        let calm = self.world.meanwhile(calm).await;
        calm.with_context(|| format!("clients had no second of full service within {} s", within.as_secs()))
    }
}
