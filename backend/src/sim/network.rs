//! The simulated network: links between processes, in order or not at all, over paths that can be cut.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
};

use crate::cluster::{LinkId, Message, Moment};

use super::world::ProcessId;

/// The address of a member is the same in all its runs.
pub fn address(member: usize, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(member).unwrap()], port))
}

/// One end of a link: whose it is, and what it calls the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub process: ProcessId,
    /// The machine it runs on: paths are cut between machines.
    pub host: usize,
    pub link: LinkId,
    /// Nobody reads or writes here any more.
    pub closed: bool,
}

/// A link: `ends[0]` dialled.
#[derive(Debug)]
pub struct Connection {
    pub ends: [End; 2],
    /// What is on the way to each end.
    pub under_way: [VecDeque<Message>; 2],
    /// The end of the link is on the way to each end.
    pub ending: [bool; 2],
    /// Until then nothing arrives at each end, as when packets are lost and sent again.
    pub held: [Moment; 2],
}

/// All links, and which paths are cut.
#[derive(Debug, Default)]
pub struct Network {
    pub connections: BTreeMap<u64, Connection>,
    ends: BTreeMap<(ProcessId, LinkId), (u64, usize)>,
    cut: BTreeSet<(usize, usize)>,
    next: u64,
}

impl Network {
    /// Says whether nothing gets from one host to the other.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from, to))
    }

    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// What one end is sent on a link arrives from then on, not before.
    pub fn hold(&mut self, connection: u64, side: usize, until: Moment) {
        if let Some(one) = self.connections.get_mut(&connection) {
            one.held[side] = until.max(one.held[side]);
        }
    }

    /// Nothing is held up any more.
    pub fn release(&mut self) {
        self.connections.values_mut().for_each(|one| one.held = Default::default());
    }

    pub fn new_link(&mut self) -> LinkId {
        self.next += 1;
        LinkId(self.next)
    }

    /// Connects two processes.
    pub fn connect(&mut self, ends: [End; 2]) {
        self.next += 1;
        let connection = self.next;
        for (side, end) in ends.iter().enumerate() {
            self.ends.insert((end.process, end.link), (connection, side));
        }
        let connected =
            Connection { ends, under_way: Default::default(), ending: [false; 2], held: Default::default() };
        self.connections.insert(connection, connected);
    }

    /// The connection behind a process's link, and which end is its own.
    pub fn find(&self, process: ProcessId, link: LinkId) -> Option<(u64, usize)> {
        self.ends.get(&(process, link)).copied()
    }

    /// One end closes; returns the other if it has still to learn of it.
    pub fn close(&mut self, connection: u64, side: usize) -> Option<End> {
        let link = self.connections.get_mut(&connection)?;
        let end = &mut link.ends[side];
        self.ends.remove(&(end.process, end.link));
        end.closed = true;
        link.under_way[side].clear();
        let other = link.ends[1 - side];
        link.ending[1 - side] = true;
        if other.closed {
            self.connections.remove(&connection);
            return None;
        }
        Some(other)
    }

    /// The connections a process has an end of.
    pub fn of(&self, process: ProcessId) -> Vec<(u64, usize)> {
        self.ends.iter().filter(|((owner, _), _)| *owner == process).map(|(_, place)| *place).collect()
    }
}
