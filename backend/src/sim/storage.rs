//! The simulated shared filesystem: the arbiter's directory, and one log per ownable.
//!
//! Every call takes effect at one moment; the world puts delays before and after it, so that calls of several processes
//! interleave in all orders. The logs are as simple as fencing needs: a new owner seals what it finds, and what its
//! predecessor appends later is in no chain.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::Mutex,
};

use laniakea_directory::MemberName;

use crate::cluster::{
    Arbiter, DrainRecord, Epoch, FenceOutcome, Incarnation, LiveEntry, Newcomer, OwnableId, Peer, Slots, Survey,
    TermRecord, TickError, TickName,
};

/// What is on the shared filesystem.
#[derive(Debug, Default)]
pub struct Storage {
    directory: Mutex<Directory>,
    logs: BTreeMap<OwnableId, Log>,
    /// A deliberate mistake, to see that it is found: fences report success and do nothing.
    pub lies_about_fences: bool,
}

#[derive(Debug, Default)]
struct Directory {
    terms: BTreeMap<u64, Incarnation>,
    numbers: BTreeMap<MemberName, u64>,
    slots: Vec<MemberName>,
    peers: BTreeMap<Incarnation, Peer>,
    live: BTreeMap<Incarnation, TickName>,
    cooling: BTreeSet<Incarnation>,
    drains: BTreeMap<(u64, u64), BTreeSet<MemberName>>,
}

impl Directory {
    fn highest(&self) -> Option<TermRecord> {
        self.terms.last_key_value().map(|(term, controller)| TermRecord { term: *term, controller: controller.clone() })
    }
}

/// One ownable's log.
#[derive(Debug, Default)]
struct Log {
    epoch: Option<Epoch>,
    chain: BTreeSet<u64>,
}

impl Storage {
    /// Says whether an incarnation may still promise anything.
    pub fn is_alive(&self, incarnation: &Incarnation) -> bool {
        self.directory.lock().unwrap().live.contains_key(incarnation)
    }

    /// A new owner seals what is there and begins its own segment; a stale one is told so.
    pub fn open(&mut self, ownable: OwnableId, epoch: Epoch) -> bool {
        let log = self.logs.entry(ownable).or_default();
        let is_newer = log.epoch.is_none_or(|other| other < epoch);
        if is_newer {
            log.epoch = Some(epoch);
        }
        is_newer
    }

    /// A write becomes durable; but below a seal it is garbage.
    pub fn append(&mut self, ownable: OwnableId, epoch: Epoch, write: u64) {
        let log = self.logs.entry(ownable).or_default();
        if log.epoch == Some(epoch) {
            log.chain.insert(write);
        }
    }

    /// Says whether a write will be found by every later owner.
    pub fn has_kept(&self, ownable: OwnableId, write: u64) -> bool {
        self.logs.get(&ownable).is_some_and(|log| log.chain.contains(&write))
    }
}

/// The address of a member is the same in all its runs.
pub fn address(member: usize, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(member).unwrap()], port))
}

impl Arbiter for Storage {
    fn enlist(&self, newcomer: &Newcomer) -> io::Result<Peer> {
        let mut directory = self.directory.lock().unwrap();
        let number = directory.numbers.entry(newcomer.member.clone()).or_default();
        *number += 1;
        let incarnation = Incarnation { member: newcomer.member.clone(), number: *number };
        let known = directory.slots.iter().position(|member| *member == newcomer.member);
        let slot = known.unwrap_or_else(|| {
            directory.slots.push(newcomer.member.clone());
            directory.slots.len() - 1
        });
        let slot = u8::try_from(slot).unwrap();
        let peer =
            Peer { incarnation: incarnation.clone(), slot, control: newcomer.control, handoff: newcomer.handoff };
        directory.peers.insert(incarnation, peer.clone());
        Ok(peer)
    }

    fn appear(&self, incarnation: &Incarnation) -> io::Result<()> {
        self.directory.lock().unwrap().live.insert(incarnation.clone(), TickName::default());
        Ok(())
    }

    fn survey(&self) -> io::Result<Survey> {
        let directory = self.directory.lock().unwrap();
        let entry = |(incarnation, tick): (&Incarnation, &TickName)| LiveEntry {
            peer: directory.peers[incarnation].clone(),
            tick: Some(tick.clone()),
        };
        let cooling = directory.cooling.iter().cloned().collect();
        let drained = directory.drains.last_key_value().map(|(_, drained)| drained.clone()).unwrap_or_default();
        Ok(Survey { term: directory.highest(), live: directory.live.iter().map(entry).collect(), cooling, drained })
    }

    fn win_term(&self, term: u64, candidate: &Incarnation) -> io::Result<TermRecord> {
        let mut directory = self.directory.lock().unwrap();
        directory.terms.entry(term).or_insert_with(|| candidate.clone());
        Ok(directory.highest().unwrap())
    }

    fn fence(&self, incarnation: &Incarnation, under: u64, lease_left: bool) -> io::Result<FenceOutcome> {
        let mut directory = self.directory.lock().unwrap();
        if let Some(higher) = directory.highest().filter(|highest| highest.term > under) {
            return Ok(FenceOutcome::Superseded(higher));
        }
        if lease_left {
            directory.cooling.insert(incarnation.clone());
        }
        if !self.lies_about_fences {
            directory.live.remove(incarnation);
        }
        Ok(FenceOutcome::Fenced)
    }

    fn cooled(&self, incarnation: &Incarnation) -> io::Result<()> {
        self.directory.lock().unwrap().cooling.remove(incarnation);
        Ok(())
    }

    fn record_drains(&self, record: &DrainRecord) -> io::Result<Option<TermRecord>> {
        let mut directory = self.directory.lock().unwrap();
        directory.drains.insert((record.term, record.number), record.drained.clone());
        Ok(directory.highest().filter(|highest| highest.term > record.term))
    }

    fn depart(&self, incarnation: &Incarnation) -> io::Result<()> {
        self.directory.lock().unwrap().live.remove(incarnation);
        Ok(())
    }

    fn tick(&self, incarnation: &Incarnation, name: &mut TickName, sees: Slots) -> Result<(), TickError> {
        let mut directory = self.directory.lock().unwrap();
        let entry = directory.live.get_mut(incarnation).ok_or(TickError::Fenced)?;
        *entry = TickName { counter: entry.counter + 1, sees };
        *name = entry.clone();
        Ok(())
    }
}
