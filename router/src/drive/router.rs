//! The whole router process: its listeners, what they share, and how it stops.

use std::{future::pending, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use laniakea_config::{Config, RouterSettings, Service};
use laniakea_directory::{Directory, SetupError};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Dialler, ForeignServers, HandoffTls, Handoffs, RouterContext, Routes, ServerTls,
    admin::RouterAdmin,
    auth_http::{Ways, serve_auth_http},
    client::serve_client,
    http::{WebFront, serve_web},
    listener::{Gate, accept_loop, bind},
    mail::{Budget, Smarthost},
    succession::{Inheritance, Testament},
    tls::TlsError,
    upkeep::{keep_cache, load_cache, reload, report, watch},
};
use crate::{
    handoff::CookieKey,
    observe::{Admin, AdminToken, install_metrics, serve_http},
};

/// How long what is left may take to end after the drain.
const LINGER: Duration = Duration::from_secs(1);
/// A client costs two descriptors: its own and the member's.
const DESCRIPTORS_PER_CLIENT: u32 = 2;

/// Why a router cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration describes no router of this name.
    #[error("find router {0} in the configuration")]
    NoSuchRouter(String),
    /// The directory's settings cannot be used.
    #[error("prepare the directory")]
    Directory(#[from] SetupError),
    /// The certificate cannot be used.
    #[error("prepare TLS")]
    Tls(#[from] TlsError),
    /// An address cannot be listened on.
    #[error("listen on {address} for {service:?}")]
    Listen {
        /// The service.
        service: Service,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The router that runs does not hand its listeners over.
    #[error("take over from the router at {}", path.display())]
    Replace {
        /// Its socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that every router needs cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a process is told while it runs.
pub struct Orders {
    /// Cancelled when it is to end.
    pub shutdown: CancellationToken,
    /// The configuration, as it was when the process began and whenever it was asked to read it again.
    pub configs: watch::Receiver<Arc<Config>>,
}

/// How a router comes by its listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// It opens them.
    Anew,
    /// It takes them over from the router of its name, if one runs.
    Replacing,
}

/// Runs the router called `name` until shutdown, or until another has taken its place and its last client has left.
///
/// # Errors
///
/// If it cannot begin; once it runs, nothing that clients, members or the directory do ends it.
pub async fn run(config: &Config, name: &str, begin: Begin, orders: Orders) -> Result<(), RunError> {
    let Orders { shutdown, configs } = orders;
    let settings = config.routers.iter().find(|router| router.name == name);
    let settings = settings.ok_or_else(|| RunError::NoSuchRouter(name.to_owned()))?;
    let context = prepare(config, settings, &shutdown)?;
    let token = AdminToken::load(&config.admin_token)
        .map_err(|source| RunError::Read { path: config.admin_token.clone(), source })?;
    let mut inheritance = inherit(settings, begin).await?;
    let listeners = listen(settings, inheritance.as_mut())?;
    let testament = Testament::of(name, &listeners);
    // Cancelled when no more clients are to be accepted; those that are here may stay.
    let accepting = shutdown.child_token();
    let metrics = install_metrics();
    let web = Arc::new(WebFront { context: context.clone(), cookies: CookieKey::derive(token.expose()) });
    let upkeep = TaskTracker::new();
    // Metrics and health are told to the end, when nobody is served any more.
    let over = CancellationToken::new();
    for (service, listener) in listeners {
        match service {
            Service::Metrics => {
                let running = accepting.clone();
                let ready = move || !running.is_cancelled();
                let admin = Admin { routes: Arc::new(RouterAdmin(context.clone())), token: token.clone() };
                upkeep.spawn(serve_http(listener, metrics.clone(), ready, Some(admin), over.clone()));
            }
            Service::AuthHttp => {
                let (shared, ways) = (context.clone(), Arc::new(Ways::of(config, name)));
                let serve = move |tcp, peer, admission| {
                    shared.tasks.spawn(serve_auth_http(tcp, peer, shared.clone(), ways.clone(), admission));
                };
                context.tasks.spawn(accept_loop(listener, context.gate.clone(), accepting.clone(), serve));
            }
            Service::Http | Service::Https => {
                let (tasks, front) = (context.tasks.clone(), web.clone());
                let serve = move |tcp, peer, admission| {
                    tasks.spawn(serve_web(tcp, peer, service, front.clone(), admission));
                };
                context.tasks.spawn(accept_loop(listener, context.gate.clone(), accepting.clone(), serve));
            }
            service => serve(service, listener, &context, &accepting),
        }
    }
    upkeep.spawn(report(context.clone()));
    tokio::spawn(reload(context.clone(), configs));
    upkeep.spawn(watch(context.clone()));
    if let Some(file) = settings.cache_file.clone() {
        load_cache(&context, &file).await;
        upkeep.spawn(keep_cache(context.clone(), file, accepting.clone()));
    }
    tracing::info!(name, "router ready");
    if let Some(inheritance) = inheritance
        && let Err(error) = inheritance.enter_upon().await
    {
        tracing::warn!(%error, "the router to be replaced is gone already");
    }
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = succeeded(settings, testament) => {
            tracing::info!(tasks = context.tasks.len(), "a successor accepts; the sessions here go on");
            accepting.cancel();
            over.cancel();
            context.tasks.close();
            let _: Option<()> = shutdown.run_until_cancelled(context.tasks.wait()).await;
            shutdown.cancel();
        }
    }
    drain(&context, settings.drain).await;
    over.cancel();
    upkeep.close();
    let _ = timeout(LINGER, upkeep.wait()).await;
    Ok(())
}

fn prepare(
    config: &Config,
    settings: &RouterSettings,
    shutdown: &CancellationToken,
) -> Result<Arc<RouterContext>, RunError> {
    let directory = Directory::connect(&config.directory)?;
    let limits = config.limits;
    let gate = Gate::new(limits.connections_max, DESCRIPTORS_PER_CLIENT, limits.connections_per_address_max);
    Ok(Arc::new(RouterContext {
        name: settings.name.clone(),
        domain: config.domain.clone(),
        routes: Routes::new(
            directory.clone(),
            Handoffs::new(Dialler::default(), HandoffTls::load(config, &settings.name)?),
        ),
        directory,
        foreign: ArcSwap::from_pointee(ForeignServers::load(&config.foreign)?),
        smarthost: ArcSwapOption::from_pointee(config.smarthost.as_ref().map(Smarthost::load).transpose()?),
        mechanisms: config.sasl.offered().into(),
        tls: ServerTls::load(&config.tls)?,
        memory: Budget::new(limits.memory_bytes_max),
        limits,
        gate,
        suspicion: parking_lot::Mutex::default(),
        proxy_from: settings.proxy_from.clone(),
        trust_from: settings.trust_from.clone(),
        shutdown: shutdown.clone(),
        drained: CancellationToken::new(),
        tasks: TaskTracker::new(),
    }))
}

/// Asks the router that runs for its listeners.
async fn inherit(settings: &RouterSettings, begin: Begin) -> Result<Option<Inheritance>, RunError> {
    let Some(path) = settings.replace_socket.as_deref().filter(|_| begin == Begin::Replacing) else { return Ok(None) };
    let asked = Inheritance::ask(path, &settings.name).await;
    asked.map_err(|source| RunError::Replace { path: path.to_owned(), source })
}

/// Ends when a successor has taken the listeners over.
async fn succeeded(settings: &RouterSettings, testament: io::Result<Testament>) {
    match (&settings.replace_socket, testament) {
        (Some(path), Ok(testament)) => testament.execute(path).await,
        (Some(_), Err(error)) => {
            tracing::error!(%error, "hold the listeners for a successor; this router cannot be replaced");
            pending().await
        }
        (None, _) => pending().await,
    }
}

/// Opens every listener before the first is served: a router that cannot have all of them does not begin.
fn listen(
    settings: &RouterSettings,
    mut inheritance: Option<&mut Inheritance>,
) -> Result<Vec<(Service, TcpListener)>, RunError> {
    let mut listeners = Vec::new();
    for (&service, &address) in &settings.listen {
        let inherited = inheritance.as_mut().and_then(|inheritance| inheritance.take(service, address));
        let listener = match inherited {
            Some(listener) => listener,
            None => bind(address).map_err(|source| RunError::Listen { service, address, source })?,
        };
        tracing::info!(?service, %address, "listening");
        listeners.push((service, listener));
    }
    Ok(listeners)
}

fn serve(service: Service, listener: TcpListener, context: &Arc<RouterContext>, accepting: &CancellationToken) {
    let shared = context.clone();
    let serve = move |tcp, peer, admission| {
        let task = serve_client(tcp, peer, service, shared.clone(), admission);
        shared.tasks.spawn(task);
    };
    context.tasks.spawn(accept_loop(listener, context.gate.clone(), accepting.clone(), serve));
}

/// Waits until everybody has left, or for `patience`; then ends the rest.
async fn drain(context: &RouterContext, patience: Duration) {
    context.tasks.close();
    tracing::info!(tasks = context.tasks.len(), "router drains");
    if timeout(patience, context.tasks.wait()).await.is_err() {
        context.drained.cancel();
        context.routes.let_go();
        let _ = timeout(LINGER, context.tasks.wait()).await;
    }
}

#[cfg(test)]
#[path = "router_test.rs"]
mod tests;
