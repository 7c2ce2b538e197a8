//! Relays in front of the members, which can be made to go silent: how a member is cut off without any privilege.
//!
//! Each member listens on a loopback address of its own, dials from it, and advertises the relay's. So a relay knows both
//! ends of every connection: whose listener it is by itself, and who dialled by the address. While a member is cut off,
//! nothing passes to or from it: no byte, no end of stream, no reset; who dials it gets no answer at all. Connections
//! outlive a short cut, as they do on a real network.
//!
//! A relay refuses when its member's process is gone, as the kernel would.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Connections a relay lets wait before it takes them.
const BACKLOG: u32 = 1024;

/// How long a member that was just started may take to listen.
const STARTING_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether it does.
const STARTING_EVERY: Duration = Duration::from_millis(10);

/// A connection that nobody answers within this time hangs.
const HANGS_AFTER: Duration = Duration::from_millis(50);

/// How long what a dead member has said may take to pass.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What passes at once.
const BUFFER_BYTES: usize = 32 * 1024;

/// The relays of a cluster. Dropping them closes all connections.
pub struct Relays {
    /// The address of the member that is cut off.
    cut: watch::Sender<Option<IpAddr>>,
    /// For each member's address, whether its process runs, and how often it was started.
    running: Vec<(IpAddr, watch::Sender<Running>)>,
    tasks: JoinSet<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Running {
    starts: u32,
    is_running: bool,
}

impl Relays {
    pub fn new() -> Self {
        Self { cut: watch::Sender::new(None), running: Vec::new(), tasks: JoinSet::new() }
    }

    /// Opens a relay at `advertised` for the member that listens at `listener`.
    pub fn open(&mut self, advertised: SocketAddr, listener: SocketAddr) {
        let running = match self.running.iter().find(|(ip, _)| *ip == listener.ip()) {
            Some((_, running)) => running.subscribe(),
            None => {
                let (sender, running) = watch::channel(Running::default());
                self.running.push((listener.ip(), sender));
                running
            }
        };
        let relay = Relay { advertised, listener, cut: self.cut.subscribe(), running };
        self.tasks.spawn(relay.run());
    }

    /// The member's process is about to be started.
    pub fn started(&self, member: IpAddr) {
        self.note(member, |running| Running { starts: running.starts + 1, is_running: true });
    }

    /// The member's process has ended.
    pub fn ended(&self, member: IpAddr) {
        self.note(member, |running| Running { is_running: false, ..running });
    }

    fn note(&self, member: IpAddr, change: impl Fn(Running) -> Running) {
        for (_, running) in self.running.iter().filter(|(ip, _)| *ip == member) {
            running.send_modify(|running| *running = change(*running));
        }
    }

    /// Cuts this member off, or nobody.
    pub fn cut(&self, member: Option<IpAddr>) {
        self.cut.send_replace(member);
    }
}

/// One relay.
#[derive(Clone)]
struct Relay {
    advertised: SocketAddr,
    listener: SocketAddr,
    cut: watch::Receiver<Option<IpAddr>>,
    running: watch::Receiver<Running>,
}

impl Relay {
    async fn run(mut self) {
        // An error means that the drill has ended.
        while let Ok(running) = self.running.wait_for(|running| running.is_running).await.map(|running| *running) {
            match listen(self.advertised) {
                Ok(listener) => self.serve(listener, running).await,
                Err(_) => sleep(STARTING_EVERY).await,
            }
            // Not listening: who dials is refused, until the member is started again.
            if self.running.wait_for(|now| *now != running || !now.is_running).await.is_err() {
                return;
            }
        }
    }

    /// Accepts until the member's process is gone.
    async fn serve(&mut self, listener: TcpListener, started: Running) {
        let is_up = Arc::new(AtomicBool::new(false));
        let refused = Arc::new(Notify::new());
        let mut connections = JoinSet::new();
        loop {
            if *self.cut.borrow_and_update() == Some(self.listener.ip()) {
                self.hang(&listener).await;
                continue;
            }
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((near, from)) = accepted else { continue };
                    let (relay, is_up, refused) = (self.clone(), is_up.clone(), refused.clone());
                    connections.spawn(async move { relay.carry(near, from.ip(), &is_up, &refused).await });
                }
                _ = self.cut.changed() => {}
                () = refused.notified() => break,
                _ = self.running.changed() => if *self.running.borrow() != started { break },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        // Whoever dials from now on is refused.
        drop(listener);
        // Its last words are still passed on.
        let _ = timeout(LAST_WORDS, async { while connections.join_next().await.is_some() {} }).await;
    }

    /// Answers nobody who dials until the cut is over: with a full queue, the kernel drops whoever knocks.
    async fn hang(&mut self, listener: &TcpListener) {
        // Linux lets the queue of a listener be changed; the shortest holds one connection.
        let _ = SockRef::from(listener).listen(0);
        let mut fillers = Vec::new();
        while let Ok(Ok(filler)) = timeout(HANGS_AFTER, TcpStream::connect(self.advertised)).await {
            fillers.push(filler);
        }
        let me = self.listener.ip();
        let _ = self.cut.wait_for(|cut| *cut != Some(me)).await;
        let _ = SockRef::from(listener).listen(BACKLOG.cast_signed());
    }

    async fn carry(self, near: TcpStream, from: IpAddr, is_up: &AtomicBool, refused: &Notify) {
        let _ = near.set_nodelay(true);
        let far = match self.reach(from, is_up).await {
            Ok(far) => far,
            Err(error) => {
                if error.kind() == io::ErrorKind::ConnectionRefused {
                    refused.notify_one();
                }
                return reset(&near);
            }
        };
        let _ = far.set_nodelay(true);
        let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
        let (there, back) = (self.clone(), self);
        let there = there.copy(from, near_read, far_write);
        let back = back.copy(from, far_read, near_write);
        // An error on one side ends both; an orderly end only its direction.
        let _ = tokio::try_join!(there, back);
    }

    /// Connects to the member, waiting for it if it was just started.
    async fn reach(&self, from: IpAddr, is_up: &AtomicBool) -> io::Result<TcpStream> {
        self.clone().open_way(from).await;
        let begin = tokio::time::Instant::now();
        loop {
            match TcpStream::connect(self.listener).await {
                Ok(far) => {
                    is_up.store(true, Ordering::Relaxed);
                    return Ok(far);
                }
                Err(error) if is_up.load(Ordering::Relaxed) || begin.elapsed() > STARTING_MAX => return Err(error),
                Err(_) if !self.running.borrow().is_running => return Err(io::ErrorKind::ConnectionAborted.into()),
                Err(_) => sleep(STARTING_EVERY).await,
            }
        }
    }

    /// Waits until neither end is cut off.
    async fn open_way(mut self, from: IpAddr) {
        let me = self.listener.ip();
        let _ = self.cut.wait_for(|cut| *cut != Some(me) && *cut != Some(from)).await;
    }

    async fn copy(self, from: IpAddr, mut reader: OwnedReadHalf, mut writer: OwnedWriteHalf) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = reader.read(&mut buffer).await;
            self.clone().open_way(from).await;
            let length = match read {
                Ok(0) => return writer.shutdown().await,
                Ok(length) => length,
                Err(error) => {
                    reset(writer.as_ref());
                    return Err(error);
                }
            };
            if let Err(error) = writer.write_all(buffer.get(..length).unwrap_or_default()).await {
                reset(reader.as_ref());
                return Err(error);
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Lets the peer see a reset when the connection is dropped.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A member that echoes, behind a relay.
    struct Echo {
        relays: Relays,
        advertised: SocketAddr,
        member: IpAddr,
        process: tokio::task::JoinHandle<()>,
    }

    impl Echo {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.77.1:0").await.unwrap();
            let member = listener.local_addr().unwrap();
            let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let advertised = free.local_addr().unwrap();
            drop(free);
            let process = tokio::spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((mut stream, _)) = listener.accept().await {
                    connections.spawn(async move {
                        let (mut reader, mut writer) = stream.split();
                        let _ = tokio::io::copy(&mut reader, &mut writer).await;
                    });
                }
            });
            let mut relays = Relays::new();
            relays.open(advertised, member);
            relays.started(member.ip());
            Self { relays, advertised, member: member.ip(), process }
        }

        /// Dials until somebody listens.
        async fn dial(&self) -> TcpStream {
            timeout(PATIENCE, async {
                loop {
                    match TcpStream::connect(self.advertised).await {
                        Ok(stream) => return stream,
                        Err(_) => sleep(STARTING_EVERY).await,
                    }
                }
            })
            .await
            .unwrap()
        }
    }

    async fn echo(stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(b"ping").await?;
        let mut answer = [0; 4];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await??;
        assert_eq!(&answer, b"ping");
        Ok(())
    }

    #[tokio::test]
    async fn a_cut_is_silence_on_old_connections_and_on_new_ones_and_passes() {
        let echoing = Echo::start().await;
        let mut old = echoing.dial().await;
        echo(&mut old).await.unwrap();

        echoing.relays.cut(Some(echoing.member));
        old.write_all(b"late").await.unwrap();
        assert!(timeout(HANGS_AFTER * 4, old.read_u8()).await.is_err(), "a byte came through the cut");
        // The relay needs a moment to fill its queue; from then on nobody gets in.
        let mut early = Vec::new();
        while let Ok(Ok(stream)) = timeout(HANGS_AFTER * 4, TcpStream::connect(echoing.advertised)).await {
            early.push(stream);
        }
        assert!(early.len() < 100, "new connections do not hang");

        echoing.relays.cut(None);
        let mut answer = [0; 4];
        timeout(PATIENCE, old.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"late");
        echo(&mut echoing.dial().await).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_dials_from_the_cut_address_is_cut_as_well() {
        let echoing = Echo::start().await;
        echoing.dial().await;
        echoing.relays.cut(Some("127.0.77.2".parse().unwrap()));
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.77.2:0".parse().unwrap()).unwrap();
        let mut from_there = socket.connect(echoing.advertised).await.unwrap();
        from_there.write_all(b"ping").await.unwrap();
        assert!(timeout(HANGS_AFTER * 4, from_there.read_u8()).await.is_err());
        echo(&mut echoing.dial().await).await.unwrap();
    }

    #[tokio::test]
    async fn a_dead_member_refuses_and_its_connections_end() {
        let echoing = Echo::start().await;
        let mut stream = echoing.dial().await;
        echo(&mut stream).await.unwrap();
        echoing.process.abort();
        let ended = timeout(PATIENCE, stream.read(&mut [0; 4])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)));
        let refused = timeout(PATIENCE, async {
            loop {
                match TcpStream::connect(echoing.advertised).await {
                    Err(error) => return error.kind(),
                    Ok(_) => sleep(STARTING_EVERY).await,
                }
            }
        });
        assert_eq!(refused.await.unwrap(), io::ErrorKind::ConnectionRefused);
    }
}
