//! The throw-away cluster: its processes, its relays, and what is done to them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use indicatif::ProgressBar;
use laniakea_config::{Advertised, Config, MemberSettings, Role};
use rustix::process::Signal;

use super::{fault::Means, probe::client::open_inbox, relay::Relays, site::Site};
use crate::{
    account::random_password,
    exit::Failure,
    up::{
        self, RestartAfter,
        generate::generate,
        home::{self, Home},
        plan::Plan,
        ports::Ports,
        process::{Kind, processes},
        provision::{self, Password},
        supervise::Supervisor,
    },
};

const CLUSTER: &str = "cluster-1";

/// An account that nobody uses is given back after this long, so that each run begins anew.
const IDLE_RELEASE: Duration = Duration::from_secs(1);

/// How long the cluster may take to be whole again.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// The cluster. To be ended by [`World::end`]; if the drill dies, the processes die with it.
pub struct World {
    pub site: Arc<Site>,
    plan: Plan,
    supervisor: Supervisor,
    relays: Relays,
    /// Who is being drained, until all is healed.
    drained: Option<String>,
    /// Who is to be started again as soon as it has ended.
    restarting: Option<String>,
    _ports: Ports,
    _home: Home,
}

impl World {
    /// Writes a configuration for so many members and accounts into `folder`; nothing runs yet.
    pub fn prepare(folder: &Path, members: u16, accounts: u32, storage: Option<PathBuf>) -> Result<Self, Failure> {
        let home = Home::open(folder)?;
        let plan = Plan {
            domain: "example.org".into(),
            clusters: 1,
            members,
            routers: 2,
            accounts,
            base_port: 0,
            ldap: None,
            storage: storage.into_iter().map(|path| (CLUSTER.to_owned(), path)).collect(),
        };
        up::prepare(&home, &plan, None)?;
        let mut ports = Ports::new(plan.base_port);
        let mut config = generate(&home, &plan, &mut ports)?;
        let mut relays = Relays::new();
        for cluster in &mut config.clusters {
            cluster.timing.idle_release = IDLE_RELEASE;
            cluster.members.iter_mut().zip(1..).for_each(|(member, number)| stand_behind_relays(member, number));
            for member in &cluster.members {
                relays.open(member.advertise.control, member.control);
                relays.open(member.advertise.handoff, member.handoff);
            }
        }
        home::replace(&home.config(), config.render(home.path()).as_bytes())?;
        let config = Config::load_for(&home.config(), Role::All)?;
        let supervisor = Supervisor::new(processes(&home, &config), RestartAfter::Never);
        let site = Arc::new(Site::new(config, random_password())?);
        Ok(Self { site, plan, supervisor, relays, drained: None, restarting: None, _ports: ports, _home: home })
    }

    /// Starts everything.
    pub async fn start(&mut self) -> Result<(), Failure> {
        self.supervisor.start(&[Kind::Directory])?;
        self.supervisor.until_ready(&[Kind::Directory], |_, _| {}).await?;
        let password = Password { text: self.site.password.clone(), is_first: true, is_new: false };
        provision::provision(&self.site.config, &self.plan, &password, &ProgressBar::hidden()).await?;
        let site = Arc::get_mut(&mut self.site).context("the accounts are met once, at the start")?;
        site.meet_accounts(self.plan.accounts).await?;
        self.site.cluster()?.members.iter().for_each(|member| self.relays.started(member.control.ip()));
        self.supervisor.start(&[Kind::Member, Kind::Router])?;
        self.supervisor.until_ready(&[Kind::Member, Kind::Router], |_, _| {}).await
    }

    /// Does `work`; processes may end meanwhile.
    pub async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                ended = self.supervisor.ended() => {
                    self.note_end(ended);
                    self.restart(ended);
                }
            }
        }
    }

    /// A member that is gone refuses connections, and so must its relays.
    fn note_end(&self, index: usize) {
        let name = self.supervisor.processes.get(index).map(|process| process.name.as_str());
        if let Some(member) = name.and_then(|name| self.site.member(name)) {
            self.relays.ended(member.control.ip());
        }
    }

    /// Who was told to stop in order to be started again is. If that fails, it is tried anew when all is healed.
    fn restart(&mut self, index: usize) {
        let name = self.supervisor.processes.get(index).map(|process| process.name.as_str());
        if self.restarting.as_deref().is_some_and(|restarting| name == Some(restarting)) {
            self.restarting = None;
            let _ = self.start_one(index);
        }
    }

    /// Does it to the process of this name.
    ///
    /// # Errors
    /// If nobody in the cluster takes the command.
    pub async fn inject(&mut self, means: Means, victim: &str) -> anyhow::Result<()> {
        match means {
            Means::Kill => self.signal(victim, Signal::KILL),
            Means::Freeze => self.signal(victim, Signal::STOP),
            Means::Cut => self.relays.cut(self.site.member(victim).map(|member| member.control.ip())),
            Means::Drain => {
                self.drained = Some(victim.to_owned());
                let site = self.site.clone();
                self.meanwhile(site.drain(victim, true)).await.context("drain the member")?;
            }
            Means::Restart => {
                self.restarting = Some(victim.to_owned());
                self.signal(victim, Signal::TERM);
            }
        }
        Ok(())
    }

    fn signal(&self, name: &str, signal: Signal) {
        self.supervisor.processes.iter().filter(|process| process.name == name).for_each(|one| one.signal(signal));
    }

    /// Undoes what was done, and waits until the cluster is whole and nobody has an account open. Returns the controller.
    ///
    /// A member that was replaced while it slept, or was cut off, finds that out and ends; it is started again like one
    /// that was killed.
    pub async fn heal(&mut self) -> anyhow::Result<String> {
        self.relays.cut(None);
        self.supervisor.processes.iter().for_each(|process| process.signal(Signal::CONT));
        let begin = Instant::now();
        loop {
            self.start_what_ended()?;
            let (site, drained) = (self.site.clone(), self.drained.clone());
            let state = async {
                if let Some(member) = &drained {
                    site.drain(member, false).await?;
                }
                let controller = site.whole().await?;
                let open = site.owners().await?.len();
                anyhow::ensure!(open == 0, "{open} accounts are still open");
                Ok(controller)
            };
            match self.meanwhile(state).await {
                Ok(controller) => {
                    self.drained = None;
                    return Ok(controller);
                }
                Err(why) if begin.elapsed() > WHOLE_WITHIN => {
                    return Err(why.context(format!("the cluster is not whole after {} s", WHOLE_WITHIN.as_secs())));
                }
                Err(_) => self.meanwhile(tokio::time::sleep(ASK_EVERY)).await,
            }
        }
    }

    fn start_what_ended(&mut self) -> anyhow::Result<()> {
        for index in 0..self.supervisor.processes.len() {
            if self.supervisor.processes.get(index).is_some_and(|process| !process.is_running) {
                self.start_one(index)?;
            }
        }
        Ok(())
    }

    fn start_one(&mut self, index: usize) -> anyhow::Result<()> {
        let name = self.supervisor.processes.get(index).map(|process| process.name.as_str());
        if let Some(member) = name.and_then(|name| self.site.member(name)) {
            self.relays.started(member.control.ip());
        }
        self.supervisor.start_one(index)
    }

    /// Has each account opened by the member it is meant for; none may be open.
    pub async fn spread(&mut self, meant: &[(u32, MemberSettings)]) -> anyhow::Result<()> {
        let site = self.site.clone();
        let spreading = async {
            // Kept open until it is seen that all are in their places.
            let mut inboxes = Vec::new();
            for (number, member) in meant {
                let login = site.imap_at(*number, member);
                let opening = open_inbox(&login.addresses, &login.login, &login.password);
                let opened = opening.await.with_context(|| format!("open {} at {}", login.login, member.name));
                inboxes.push(opened?);
            }
            let owners = site.owners().await?;
            for (number, member) in meant {
                let owner = owners.get(number);
                let name = site.address(*number);
                anyhow::ensure!(
                    owner == Some(&member.name),
                    "{name} is not owned by {}, but by {owner:?}",
                    member.name
                );
            }
            drop(inboxes);
            Ok(())
        };
        self.meanwhile(spreading).await
    }

    /// Ends every process, whatever state it is in.
    pub async fn end(mut self) {
        self.relays.cut(None);
        self.supervisor.kill_all().await;
    }
}

/// Gives a member a loopback address of its own, and its relays the place where others look for it.
fn stand_behind_relays(member: &mut MemberSettings, number: u8) {
    member.advertise = Advertised { control: member.control, handoff: member.handoff };
    for address in [&mut member.control, &mut member.handoff] {
        *address = SocketAddr::new(Ipv4Addr::new(127, 0, 77, number).into(), address.port());
    }
}
