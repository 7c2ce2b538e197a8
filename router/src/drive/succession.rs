//! One router takes the listening sockets over from another, so that a restart refuses nobody.
//!
//! ```text
//! successor    connects to the Unix socket `replace_socket`
//! predecessor  sends one message: its name and those of its services, and for each service a socket (SCM_RIGHTS)
//! successor    accepts from them, beside its predecessor, and sends one byte
//! predecessor  stops accepting, and serves the connections it has until they end
//! ```
//!
//! Both hold the same sockets, so what waits in their queues is never lost: not if the successor dies before it has said its
//! byte, and not if a client arrives while the two change places. Nobody but the router's own user is answered.

use std::{
    fs,
    future::pending,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};

use laniakea_config::Service;
use rustix::{
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
    process::geteuid,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{TcpListener, UnixListener, UnixStream},
    time::timeout,
};

/// How long a successor may take from its first word until it accepts.
const PATIENCE: Duration = Duration::from_secs(30);
/// After a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);
/// More than all services there are.
const LISTENERS_MAX: usize = 32;
/// Longest list of services.
const NAMES_BYTES_MAX: usize = 1024;
/// Says that the successor accepts.
const ACCEPTING: u8 = b'+';

/// What a predecessor handed over.
#[derive(Debug)]
pub(super) struct Inheritance {
    listeners: Vec<(Service, TcpListener)>,
    predecessor: UnixStream,
}

impl Inheritance {
    /// Asks the router called `name` at `path` for its listeners; `None` if none runs there.
    ///
    /// # Errors
    ///
    /// If one runs and does not give them, belongs to somebody else, or has another name.
    pub(super) async fn ask(path: &Path, name: &str) -> io::Result<Option<Self>> {
        let predecessor = match UnixStream::connect(path).await {
            Ok(predecessor) => predecessor,
            // It ended without a successor, or never ran.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        check_user(&predecessor)?;
        let (other, listeners) = timeout(PATIENCE, receive(&predecessor)).await??;
        if other != name {
            return Err(io::Error::other(format!("the router there is {other}")));
        }
        Ok(Some(Self { listeners, predecessor }))
    }

    /// Takes the listener of a service, if there is one at this address.
    pub(super) fn take(&mut self, service: Service, address: SocketAddr) -> Option<TcpListener> {
        let is_it = |(other, listener): &(Service, TcpListener)| {
            *other == service && listener.local_addr().is_ok_and(|own| own == address)
        };
        let index = self.listeners.iter().position(is_it)?;
        Some(self.listeners.swap_remove(index).1)
    }

    /// Tells the predecessor that it may stop accepting. What was not taken is closed.
    ///
    /// # Errors
    ///
    /// If it is gone; then there is nobody left who accepts.
    pub(super) async fn enter_upon(mut self) -> io::Result<()> {
        self.predecessor.write_u8(ACCEPTING).await
    }
}

/// A router's listeners, for whoever may take them over.
#[derive(Debug)]
pub(super) struct Testament {
    name: String,
    listeners: Vec<(Service, OwnedFd)>,
}

impl Testament {
    /// Keeps a second hold on the listeners of the router called `name`.
    ///
    /// # Errors
    ///
    /// If there are no descriptors left.
    pub(super) fn of(name: &str, listeners: &[(Service, TcpListener)]) -> io::Result<Self> {
        let second =
            |(service, listener): &(Service, TcpListener)| Ok((*service, listener.as_fd().try_clone_to_owned()?));
        let listeners = listeners.iter().map(second).collect::<io::Result<_>>()?;
        Ok(Self { name: name.to_owned(), listeners })
    }

    /// Waits at `path` until a successor accepts in our place. Without a socket there, for ever.
    pub(super) async fn execute(self, path: &Path) {
        match open(path) {
            Ok(socket) => self.wait_at(&socket).await,
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "open the replace_socket; this router cannot be replaced");
                pending().await
            }
        }
    }

    async fn wait_at(&self, socket: &UnixListener) {
        loop {
            let offered = match socket.accept().await {
                Ok((successor, _)) => {
                    timeout(PATIENCE, self.offer(successor)).await.unwrap_or_else(|late| Err(late.into()))
                }
                Err(error) => Err(error),
            };
            match offered {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, "a successor did not take over; this router goes on");
                    // If it is our own socket that fails.
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn offer(&self, mut successor: UnixStream) -> io::Result<()> {
        check_user(&successor)?;
        let services = self.listeners.iter().map(|(service, _)| service.name());
        let names: Vec<&str> = [self.name.as_str()].into_iter().chain(services).collect();
        let sockets: Vec<BorrowedFd<'_>> = self.listeners.iter().map(|(_, socket)| socket.as_fd()).collect();
        send(&successor, names.join(" ").as_bytes(), &sockets).await?;
        match successor.read_u8().await? {
            ACCEPTING => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Opens a socket in the place of whatever is there.
fn open(path: &Path) -> io::Result<UnixListener> {
    let beside = path.with_added_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = UnixListener::bind(&beside)?;
    fs::rename(&beside, path)?;
    Ok(socket)
}

fn check_user(peer: &UnixStream) -> io::Result<()> {
    match peer.peer_cred()?.uid() {
        uid if uid == geteuid().as_raw() => Ok(()),
        uid => Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {uid} is at the other end"))),
    }
}

async fn send(to: &UnixStream, names: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    to.writable().await?;
    to.try_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(io::Error::other("more listeners than one message holds"));
        }
        let sent = sendmsg(to, &[IoSlice::new(names)], &mut control, SendFlags::empty())?;
        // Nothing else was ever sent on this connection, so there is room.
        if sent == names.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    })
}

async fn receive(from: &UnixStream) -> io::Result<(String, Vec<(Service, TcpListener)>)> {
    loop {
        from.readable().await?;
        match from.try_io(Interest::READABLE, || receive_now(from)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

fn receive_now(from: &UnixStream) -> io::Result<(String, Vec<(Service, TcpListener)>)> {
    let mut names = [0; NAMES_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = recvmsg(from, &mut [IoSliceMut::new(&mut names)], &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let sockets = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    let sockets: Vec<OwnedFd> = sockets.flatten().collect();
    let mut names = str::from_utf8(names.get(..length).unwrap_or_default()).unwrap_or_default().split_whitespace();
    let name = names.next().unwrap_or_default().to_owned();
    let services: Option<Vec<Service>> = names.map(Service::from_name).collect();
    let services = services.filter(|services| services.len() == sockets.len() && !services.is_empty());
    let services = services.ok_or(io::ErrorKind::InvalidData)?;
    let listener = |socket| TcpListener::from_std(std::net::TcpListener::from(socket));
    let listeners = services.into_iter().zip(sockets).map(|(service, socket)| Ok((service, listener(socket)?)));
    Ok((name, listeners.collect::<io::Result<_>>()?))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    async fn listener() -> (SocketAddr, Vec<(Service, TcpListener)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap(), vec![(Service::Imap, listener)])
    }

    /// A router called `router-1` that waits for its successor.
    fn predecessor(path: &Path, listeners: Vec<(Service, TcpListener)>) -> tokio::task::JoinHandle<()> {
        let testament = Testament::of("router-1", &listeners).unwrap();
        let socket = open(path).unwrap();
        tokio::spawn(async move {
            testament.wait_at(&socket).await;
            drop(listeners);
        })
    }

    #[tokio::test]
    async fn what_waits_in_the_queue_is_inherited() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("router.sock");
        let (address, listeners) = listener().await;
        let predecessor = predecessor(&path, listeners);
        let early = TcpStream::connect(address).await.unwrap();
        let mut inheritance = Inheritance::ask(&path, "router-1").await.unwrap().unwrap();
        assert!(inheritance.take(Service::Pop3, address).is_none());
        let taken = inheritance.take(Service::Imap, address).unwrap();
        inheritance.enter_upon().await.unwrap();
        predecessor.await.unwrap();
        let (_, peer) = taken.accept().await.unwrap();
        assert_eq!(peer, early.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_successor_that_dies_or_is_a_stranger_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("router.sock");
        let (address, listeners) = listener().await;
        let predecessor = predecessor(&path, listeners);
        assert!(Inheritance::ask(&path, "router-2").await.is_err());
        drop(Inheritance::ask(&path, "router-1").await.unwrap().unwrap());
        let mut last = Inheritance::ask(&path, "router-1").await.unwrap().unwrap();
        assert!(!predecessor.is_finished());
        assert!(last.take(Service::Imap, address).is_some());
        last.enter_upon().await.unwrap();
        predecessor.await.unwrap();
    }

    #[tokio::test]
    async fn where_no_router_runs_there_is_nothing_to_take() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("router.sock");
        assert!(Inheritance::ask(&path, "router-1").await.unwrap().is_none());
        // One that was killed leaves its socket behind.
        drop(open(&path).unwrap());
        assert!(path.exists());
        assert!(Inheritance::ask(&path, "router-1").await.unwrap().is_none());
        assert!(open(&path).is_ok());
    }
}
