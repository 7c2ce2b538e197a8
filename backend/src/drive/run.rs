//! The whole process of a member: how it joins, what it listens on, how it leaves.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use laniakea_config::{ClusterSettings, Config, MemberSettings, Service};
use laniakea_directory::{ClusterName, Directory, SetupError};
use laniakea_router::{
    drive::{
        Dialler, ForeignServers, HandoffTls, Handoffs, Orders, RouterContext, Routes, ServerTls,
        listener::{Gate, bind},
        mail::Budget,
        mail::Smarthost,
        reload,
        tls::TlsError,
        watch,
    },
    handoff::{TicketError, TicketKey},
    observe::{Admin, AdminToken, install_metrics, serve_http},
};
use tokio::{net::TcpListener, sync::watch as watched, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::drive::{
    accept::{accept_clients, accept_handoffs},
    admin::MemberAdmin,
    arbiter::{VolumeError, check_storage},
    control::{ClusterHandle, ControlSettings, StartError},
    mail::{MailService, MailSettings},
    member::Member,
    probe::Report,
    registry::Registry,
    storage::Storage,
};
use crate::{
    proof::{KeysError, Tokens},
    worker::WorkerTiming,
};

/// How long a look for the reason of the end may keep it up.
const LOOK: Duration = Duration::from_millis(200);
/// A client costs two descriptors at most: its own and the owner's.
const DESCRIPTORS_PER_CLIENT: u32 = 2;

/// Why a member ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration describes no member of this name.
    #[error("find member {0} in the configuration")]
    NoSuchMember(String),
    /// The directory's settings cannot be used.
    #[error("prepare the directory")]
    Directory(#[from] SetupError),
    /// The certificate cannot be used.
    #[error("prepare TLS")]
    Tls(#[from] TlsError),
    /// The cluster's key cannot be used for tickets.
    #[error("prepare tickets")]
    Ticket(#[from] TicketError),
    /// The admin token cannot be read.
    #[error("read the admin token from {path}")]
    AdminToken {
        /// Its file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The keys of whoever makes tokens cannot be used.
    #[error("use the keys of tokens in {path}")]
    TokenKeys {
        /// Their file.
        path: String,
        /// Why.
        source: KeysError,
    },
    /// An address cannot be listened on.
    #[error("listen on {address} for {service}")]
    Listen {
        /// For what.
        service: String,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The cluster could not be joined.
    #[error("join the cluster")]
    Join(#[from] StartError),
    /// A fellow came, and with it the proof that the storage breaks what a cluster relies on.
    #[error("{0}")]
    Unsound(Arc<Report>),
    /// The volume is not mounted any more. What was acknowledged is on it, and nothing was acknowledged since.
    #[error("the volume went away under this member, which therefore stopped")]
    Unmounted(#[source] VolumeError),
    /// The cluster went on without this member, which must drop everything and start anew: exit code 75.
    #[error("this member was fenced: the cluster went on without it; start it again")]
    Fenced,
}

impl RunError {
    /// Says whether trying again cannot help before a person has changed something.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::NoSuchMember(_) | Self::Unsound(_) | Self::Unmounted(_) => true,
            Self::Join(error) => error.is_configuration(),
            Self::TokenKeys { .. }
            | Self::Directory(_)
            | Self::Tls(_)
            | Self::Ticket(_)
            | Self::AdminToken { .. }
            | Self::Listen { .. }
            | Self::Fenced => false,
        }
    }
}

/// Runs the member called `name` until shutdown.
///
/// # Errors
/// If it cannot begin, or was fenced.
pub async fn run(config: &Config, name: &str, orders: Orders) -> Result<(), RunError> {
    let Orders { shutdown, configs } = orders;
    let (cluster, settings) = find(config, name)?;
    let metrics = install_metrics();
    // Every listener before anything else: a member that cannot have all of them does not join.
    let clients = listen_for_clients(settings)?;
    let handoff = listen("handoff", settings.handoff)?;
    let front = prepare(config, cluster, settings, &shutdown)?;
    let token = AdminToken::load(&config.admin_token)
        .map_err(|source| RunError::AdminToken { path: config.admin_token.display().to_string(), source })?;
    let ticket_key = TicketKey::load(&cluster.key)?;
    let tokens = load_tokens(config)?;

    let seat = ClusterHandle::start(ControlSettings::new(cluster, settings)).await?;
    let fenced = seat.fenced();
    let timing = cluster.timing;
    let worker = WorkerTiming { idle_release: timing.idle_release, commit: timing.commit, grace: timing.release / 2 };
    let storage = Storage::new(cluster.storage.clone(), cluster.reserve_bytes);
    tokio::spawn(storage.clone().watch());
    let member = Arc::new(Member {
        cluster_name: ClusterName::new(&cluster.name),
        registry: Registry::new(storage, seat.clone(), worker, timing.claim, cluster.openings),
        front: front.clone(),
        tokens: ArcSwapOption::from_pointee(tokens),
        ticket_key,
        sessions: AtomicUsize::new(0),
    });
    let mail =
        MailService::new(member.clone(), MailSettings { host: config.domain.clone(), handoff: settings.handoff });
    tokio::spawn(reload_tokens(member.clone(), configs.clone()));
    tokio::spawn(reload(front.clone(), configs));
    front.tasks.spawn({
        let mail = mail.clone();
        async move { mail.run().await }
    });
    // Until the end: what others want of this member is given back first, also while it leaves.
    tokio::spawn(follow_recalls(member.clone()));
    front.tasks.spawn(follow_roster(member.clone()));
    front.tasks.spawn(watch(front.clone()));
    front.tasks.spawn(accept_handoffs(handoff, cluster.handoff_from.clone(), member.clone(), mail.clone()));
    for (service, listener) in clients {
        if service == Service::Metrics {
            let view = seat.changes();
            let ready = move || view.borrow().registered;
            let names = cluster.members.iter().map(|one| one.name.clone()).collect();
            let admin = Admin { routes: Arc::new(MemberAdmin { member: member.clone(), names }), token: token.clone() };
            // Not one of those that a member waits for when it leaves: it answers until the end.
            tokio::spawn(serve_http(listener, metrics.clone(), ready, Some(admin), fenced.clone()));
        } else {
            front.tasks.spawn(accept_clients(listener, service, member.clone(), mail.clone()));
        }
    }
    tracing::info!(member = name, cluster = %cluster.name, "member ready");
    tokio::select! {
        () = shutdown.cancelled() => {
            leave(&member, seat, timing.stop).await;
            Ok(())
        }
        report = seat.unsound() => {
            leave(&member, seat, timing.stop).await;
            Err(RunError::Unsound(report))
        }
        // Nothing more may be said to anybody: the process ends as it is.
        () = fenced.cancelled() => Err(why_fenced(cluster).await),
    }
}

fn find<'a>(config: &'a Config, name: &str) -> Result<(&'a ClusterSettings, &'a MemberSettings), RunError> {
    config
        .clusters
        .iter()
        .find_map(|cluster| cluster.members.iter().find(|member| member.name == name).map(|member| (cluster, member)))
        .ok_or_else(|| RunError::NoSuchMember(name.to_owned()))
}

fn listen(service: &str, address: SocketAddr) -> Result<TcpListener, RunError> {
    bind(address).map_err(|source| RunError::Listen { service: service.to_owned(), address, source })
}

fn listen_for_clients(settings: &MemberSettings) -> Result<Vec<(Service, TcpListener)>, RunError> {
    let mut listeners = Vec::new();
    for (&service, &address) in &settings.listen {
        match service {
            Service::Https | Service::AuthHttp => {
                tracing::warn!(?service, %address, "members do not serve this yet");
            }
            _ => listeners.push((service, listen(&format!("{service:?}").to_lowercase(), address)?)),
        }
    }
    Ok(listeners)
}

/// Reads the keys of whoever makes tokens, if tokens count.
fn load_tokens(config: &Config) -> Result<Option<Tokens>, RunError> {
    let Some(settings) = &config.sasl.tokens else { return Ok(None) };
    let unread = |source| RunError::TokenKeys { path: settings.keys.display().to_string(), source };
    let set = std::fs::read(&settings.keys).map_err(|error| unread(KeysError::File(error)))?;
    Tokens::new(settings, &set).map(Some).map_err(unread)
}

/// Issuers change their keys: they are read again whenever the configuration is.
async fn reload_tokens(member: Arc<Member>, mut configs: watched::Receiver<Arc<Config>>) {
    while configs.changed().await.is_ok() {
        let config = configs.borrow_and_update().clone();
        match load_tokens(&config) {
            Ok(tokens) => member.tokens.store(tokens.map(Arc::new)),
            Err(error) => {
                tracing::error!(%error, cause = ?std::error::Error::source(&error), "reload the keys of tokens; the old ones stay")
            }
        }
    }
}

fn prepare(
    config: &Config,
    cluster: &ClusterSettings,
    settings: &MemberSettings,
    shutdown: &CancellationToken,
) -> Result<Arc<RouterContext>, RunError> {
    let directory = Directory::connect(&config.directory)?;
    let limits = config.limits;
    Ok(Arc::new(RouterContext {
        name: settings.name.clone(),
        domain: config.domain.clone(),
        routes: Routes::new(
            directory.clone(),
            Handoffs::new(Dialler::from_listener(settings.handoff), HandoffTls::load(config, &settings.name)?),
        ),
        directory,
        foreign: ArcSwap::from_pointee(ForeignServers::load(&config.foreign)?),
        smarthost: ArcSwapOption::from_pointee(config.smarthost.as_ref().map(Smarthost::load).transpose()?),
        mechanisms: config.sasl.offered().into(),
        tls: ServerTls::load(&config.tls)?,
        memory: Budget::new(limits.memory_bytes_max),
        limits,
        gate: Gate::new(limits.connections_max, DESCRIPTORS_PER_CLIENT, limits.connections_per_address_max),
        suspicion: Default::default(),
        proxy_from: cluster.proxy_from.clone(),
        trust_from: cluster.trust_from.clone(),
        shutdown: shutdown.clone(),
        drained: CancellationToken::new(),
        tasks: TaskTracker::new(),
    }))
}

/// A member whose volume is unmounted finds its place among the living gone, like one that was fenced.
async fn why_fenced(cluster: &ClusterSettings) -> RunError {
    let (storage, name) = (cluster.storage.clone(), ClusterName::new(&cluster.name));
    let looking = tokio::task::spawn_blocking(move || check_storage(&storage, &name));
    match tokio::time::timeout(LOOK, looking).await {
        Ok(Ok(Err(error @ VolumeError::Missing(_)))) => RunError::Unmounted(error),
        _ => RunError::Fenced,
    }
}

/// Gives back what the controller asks for.
async fn follow_recalls(member: Arc<Member>) {
    let mut recalls = member.registry.cluster().recalls();
    while let Some(what) = recalls.recv().await {
        member.registry.recall(what);
    }
}

/// While this member is drained, gives back what nobody uses; the rest is asked back by the controller.
async fn follow_roster(member: Arc<Member>) {
    let mut changes = member.registry.cluster().changes();
    while !member.front.shutdown.is_cancelled() {
        let stays_away = !changes.borrow_and_update().is_taker();
        if stays_away {
            let seen = changes.clone();
            member.registry.release_unused(|| seen.borrow().is_taker()).await;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = member.front.shutdown.cancelled() => return,
        }
    }
}

/// Drains itself, lets sessions end, gives everything back, leaves the cluster. Nothing new comes in, and the fellows are
/// told at once: what this member still has in hand it passes on to them.
async fn leave(member: &Member, seat: ClusterHandle, patience: Duration) {
    tracing::info!("member leaves");
    let deadline = Instant::now() + patience;
    seat.retire();
    member.front.tasks.close();
    let sessions = async {
        if tokio::time::timeout(patience / 2, member.front.tasks.wait()).await.is_err() {
            member.front.drained.cancel();
        }
    };
    let unused = tokio::time::timeout_at(deadline, member.registry.release_unused(|| false));
    let _ = tokio::join!(sessions, unused);
    member.registry.close_all(deadline).await;
    seat.shutdown().await;
}
