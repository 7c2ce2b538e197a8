//! Opens the database and the listeners, and starts a task for each connection.

use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use laniakea_config::EmbeddedDirectory;
use metrics::{counter, gauge};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    ServeError,
    certificate::ServerCertificate,
    change::Change,
    connection::Connection,
    entry::{Attribute, Stamp},
    operation::Context,
    store::{Abandoned, Load, LoadError, Loading, Store},
    stream::{Stream, accept_tls},
};
use crate::{dn::Dn, ldif::LdifEntry, name::Secret, password::Checker, provision::UNITS};

/// Connections at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 10_000;
/// How long open connections may take to end.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// The database inside the data folder.
const DATABASE_FILE: &str = "directory.redb";

/// A server whose database and listeners are open.
pub struct Server {
    context: Arc<Context>,
    certificate: Option<ServerCertificate>,
    plain: TcpListener,
    tls: Option<TcpListener>,
}

impl Server {
    /// Opens everything; makes the database and the base entry on the first start.
    ///
    /// # Errors
    ///
    /// If the database, a secret, a certificate or a listener cannot be opened.
    pub async fn open(settings: &EmbeddedDirectory) -> Result<Self, ServeError> {
        let certificate = ServerCertificate::load(settings)?;
        let context = Arc::new(open_context(settings, certificate.is_some())?);
        make_base(&context).await?;
        let plain = TcpListener::bind(settings.listen).await.map_err(ServeError::Listen)?;
        let tls = match settings.listen_tls {
            Some(address) => Some(TcpListener::bind(address).await.map_err(ServeError::Listen)?),
            None => None,
        };
        tracing::info!(listen = %settings.listen, base = %context.base, "the directory serves");
        Ok(Self { context, certificate, plain, tls })
    }

    /// Returns where LDAP is spoken, which differs from the settings if they say port 0.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.plain.local_addr()
    }

    /// Returns where LDAPS is spoken, if anywhere.
    #[must_use]
    pub fn local_tls_addr(&self) -> Option<SocketAddr> {
        self.tls.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Returns what can be asked to read its files again, if there is a certificate.
    #[must_use]
    pub fn certificate(&self) -> Option<ServerCertificate> {
        self.certificate.clone()
    }

    /// Serves until `shutdown` is cancelled and the open connections have ended.
    pub async fn run(self, shutdown: CancellationToken) {
        let connections = Connections {
            context: self.context,
            certificate: self.certificate,
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            tasks: TaskTracker::new(),
            shutdown,
        };
        let tls = async {
            match &self.tls {
                Some(listener) => connections.accept(listener, Kind::Tls).await,
                None => connections.shutdown.cancelled().await,
            }
        };
        tokio::join!(connections.accept(&self.plain, Kind::Plain), tls);
        connections.tasks.close();
        if timeout(DRAIN_MAX, connections.tasks.wait()).await.is_err() {
            tracing::warn!("LDAP connections did not end in time");
        }
    }
}

/// How a listener's connections begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Tls,
}

/// What it takes to start connections.
struct Connections {
    context: Arc<Context>,
    certificate: Option<ServerCertificate>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Connections {
    async fn accept(&self, listener: &TcpListener, kind: Kind) {
        loop {
            let accepted = tokio::select! {
                () = self.shutdown.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, _)) => self.start(socket, kind),
                Err(error) => {
                    // Out of descriptors, most likely: those that are open must end first.
                    tracing::warn!(%error, "accept an LDAP connection");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn start(&self, socket: TcpStream, kind: Kind) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            counter!("laniakea_directory_server_refused_connections_total").increment(1);
            return;
        };
        let (context, certificate) = (Arc::clone(&self.context), self.certificate.clone());
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            let _counted = Counted::new(place);
            // Answers are small and somebody waits for each.
            let _ = socket.set_nodelay(true);
            let stream = match (kind, &certificate) {
                (Kind::Plain, _) => Ok(Stream::Plain(socket)),
                (Kind::Tls, Some(certificate)) => accept_tls(&certificate.acceptor(), socket).await,
                (Kind::Tls, None) => return,
            };
            match stream {
                Ok(stream) => Connection::new(context, certificate, stream).run(shutdown).await,
                Err(error) => tracing::debug!(%error, "an LDAPS handshake failed"),
            }
        });
    }
}

/// A place among the connections, counted while it is held.
struct Counted {
    _place: OwnedSemaphorePermit,
}

impl Counted {
    fn new(place: OwnedSemaphorePermit) -> Self {
        counter!("laniakea_directory_server_connections_total").increment(1);
        gauge!("laniakea_directory_server_connections").increment(1);
        Self { _place: place }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        gauge!("laniakea_directory_server_connections").decrement(1);
    }
}

fn open_context(settings: &EmbeddedDirectory, start_tls: bool) -> Result<Context, ServeError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| ServeError::File { path, source }
    };
    let password = fs::read(&settings.admin_password).map_err(file(&settings.admin_password))?;
    let admin_password = Secret::new(password.trim_ascii_end().to_vec());
    if admin_password.is_empty() {
        return Err(ServeError::NoPassword);
    }
    fs::create_dir_all(&settings.data).map_err(file(&settings.data))?;
    Ok(Context {
        store: Store::open(&settings.data.join(DATABASE_FILE))?,
        checker: Checker::new(),
        base: Dn::parse(&settings.base)?,
        admin: Dn::parse(&settings.admin_dn)?,
        admin_password,
        new_passwords: settings.new_passwords,
        start_tls,
    })
}

/// Makes the base entry of a new database.
async fn make_base(context: &Context) -> Result<(), ServeError> {
    let there = context.store.reader()?.find(&context.base).map_err(|refusal| ServeError::Base(refusal.text))?;
    if there.is_some() {
        return Ok(());
    }
    let change = base_entry(&context.base).ok_or_else(|| ServeError::Base("the base is empty".into()))?;
    let answer = context.store.write(change, context.admin.to_string()).await;
    match answer.map_err(|gone| ServeError::Base(gone.to_string()))?.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(refusal)) => Err(ServeError::Base(refusal.text)),
        Err(_) => Err(ServeError::Base("the writer has ended".into())),
    }
}

/// Describes the entry of a new database, by the kind of its name; none of an empty one.
fn base_entry(base: &Dn) -> Option<Change> {
    let (name, value) = base.rdn().and_then(|rdn| rdn.values().next())?;
    let mut classes: Vec<Vec<u8>> = match name.to_ascii_lowercase().as_str() {
        "dc" => vec!["dcObject".into(), "organization".into()],
        "o" => vec!["organization".into()],
        "ou" => vec!["organizationalUnit".into()],
        _ => vec!["organizationalRole".into()],
    };
    classes.insert(0, "top".into());
    let mut attributes = vec![Attribute { name: "objectClass".into(), values: classes }];
    match name.to_ascii_lowercase().as_str() {
        "dc" => attributes.push(Attribute { name: "o".into(), values: vec![value.into()] }),
        "o" | "ou" | "cn" => {}
        _ => attributes.push(Attribute { name: "cn".into(), values: vec![value.into()] }),
    }
    Some(Change::Add { dn: base.clone(), attributes })
}

/// Fills the database of a server that does not run: much faster than through it, all or nothing. Entries of a name that
/// exists are left as they are, and what cannot be added is told and left out. The `entryUUID` of an entry is kept.
///
/// # Errors
///
/// See [`LoadError`]; nothing has changed then.
pub fn load(
    settings: &EmbeddedDirectory,
    entries: impl Iterator<Item = Result<LdifEntry, Abandoned>>,
    told: &mut dyn FnMut(Loading),
) -> Result<(), LoadError> {
    let base = Dn::parse(&settings.base)?;
    let mut frame = vec![base_entry(&base).ok_or_else(|| LoadError::Refused("the base is empty".into()))?];
    frame.extend(UNITS.map(|name| {
        let attribute = |name: &str, value: &str| Attribute { name: name.into(), values: vec![value.into()] };
        let attributes = vec![attribute("objectClass", "organizationalUnit"), attribute("ou", name)];
        Change::Add { dn: base.child("ou", name), attributes }
    }));
    fs::create_dir_all(&settings.data).map_err(LoadError::Sort)?;
    let unix_seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let stamp = Stamp { unix_seconds, who: settings.admin_dn.clone() };
    let database = settings.data.join(DATABASE_FILE);
    let new_passwords = settings.new_passwords;
    Load { data: &settings.data, database: &database, base: &base, frame, stamp, new_passwords }.run(entries, told)
}
