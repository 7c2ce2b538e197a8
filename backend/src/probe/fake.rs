//! Filesystems that lie, each in one way that was seen on a real one.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::*;

/// How a filesystem lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    None,
    /// `stat` of what was looked at before is answered from memory.
    Stat,
    /// `open` of what was read before succeeds after it was removed.
    Open,
    /// A name that was missed stays missed.
    Negative,
    /// What was read before is read again, without what came to it.
    Bytes,
    /// A new file shows what it had when it was made.
    FreshBytes,
    /// Both who link a name are told that they have it.
    TwoLinks,
    /// Both links fail, although one was made.
    LostAnswer,
    /// Both who create a name have it.
    TwoCreators,
    /// The tick goes on in a folder that is gone.
    RemovedFolder,
    /// A listing is the first one for ever.
    Listing,
    NoLinks,
    NoFolderSync,
    Full,
}

#[derive(Debug, Clone)]
enum Node {
    Folder,
    File(usize),
}

/// One filesystem with two mounts.
struct Fake {
    lie: Lie,
    nodes: BTreeMap<String, Node>,
    files: Vec<Vec<u64>>,
    /// What each mount remembers.
    remembered: HashMap<(Side, Operation), Answer>,
}

impl Fake {
    fn new(lie: Lie) -> Self {
        Self { lie, nodes: BTreeMap::new(), files: Vec::new(), remembered: HashMap::new() }
    }

    fn perform(&mut self, side: Side, operation: Operation) -> Answer {
        let truth = self.truth(operation);
        let before = self.remembered.get(&(side, operation)).cloned();
        let name = match operation {
            Operation::Stat(place) | Operation::Read(place) | Operation::List(place) => Some(place.name),
            _ => None,
        };
        let answer = match (self.lie, operation, &before) {
            (Lie::Stat, Operation::Stat(_), Some(before)) if *before != Answer::Missing => before.clone(),
            (Lie::Open, Operation::Read(_), Some(before)) if truth == Answer::Missing => before.clone(),
            (Lie::Negative, Operation::Read(_), Some(Answer::Missing)) => Answer::Missing,
            (Lie::Bytes, Operation::Read(_), Some(before))
                if *before != Answer::Missing && truth != Answer::Missing =>
            {
                before.clone()
            }
            (Lie::FreshBytes, Operation::Read(_), _) if name == Some(Name::Fresh) => match truth {
                Answer::Tokens(tokens) => Answer::Tokens(tokens[..1].to_vec()),
                other => other,
            },
            (Lie::TwoLinks, Operation::Link { .. }, _) if truth == Answer::Taken => Answer::Done,
            (Lie::LostAnswer, Operation::Link { .. }, _) => Answer::Failed(5),
            (Lie::TwoCreators, Operation::Make { .. }, _) if truth == Answer::Taken => Answer::Done,
            (Lie::RemovedFolder, Operation::Rename { .. }, _) => Answer::Done,
            (Lie::Listing, Operation::List(_), Some(before)) => before.clone(),
            (Lie::NoLinks, Operation::Link { .. }, _) => Answer::Unsupported,
            (Lie::NoFolderSync, Operation::SyncFolder(_), _) => Answer::Unsupported,
            (Lie::Full, Operation::Extend { .. }, _) => Answer::Failed(28),
            _ => truth,
        };
        self.remembered.insert((side, operation), answer.clone());
        answer
    }

    fn truth(&mut self, operation: Operation) -> Answer {
        match operation {
            Operation::MakeFolder(place) => self.insert(place, Node::Folder),
            Operation::Make { place, token } => {
                self.files.push(vec![token]);
                self.insert(place, Node::File(self.files.len() - 1))
            }
            Operation::Extend { place, token } => match self.file(place) {
                Some(file) => {
                    self.files[file].push(token);
                    Answer::Done
                }
                None => Answer::Missing,
            },
            Operation::Link { from, to } => match self.file(from) {
                Some(file) => self.insert(to, Node::File(file)),
                None => Answer::Missing,
            },
            Operation::Rename { from, to } => match self.nodes.remove(&from.to_string()) {
                Some(node) => {
                    self.nodes.insert(to.to_string(), node);
                    Answer::Done
                }
                None => Answer::Missing,
            },
            Operation::Remove(place) => match self.nodes.remove(&place.to_string()) {
                Some(_) => Answer::Done,
                None => Answer::Missing,
            },
            Operation::Sweep(place) => {
                let folder = place.to_string();
                self.nodes.retain(|path, _| *path != folder && !path.starts_with(&format!("{folder}/")));
                Answer::Done
            }
            Operation::SyncFolder(_) => Answer::Done,
            Operation::Stat(place) => {
                self.file(place).map_or(Answer::Missing, |file| Answer::Length(8 * self.files[file].len() as u64))
            }
            Operation::Read(place) => {
                self.file(place).map_or(Answer::Missing, |file| Answer::Tokens(self.files[file].clone()))
            }
            Operation::List(place) => {
                let folder = format!("{place}/");
                let below = self.nodes.keys().filter_map(|path| path.strip_prefix(&folder));
                Answer::Names(below.filter_map(Name::parse).collect())
            }
        }
    }

    fn insert(&mut self, place: Place, node: Node) -> Answer {
        let path = place.to_string();
        let parent = path.rsplit_once('/').map(|(parent, _)| parent);
        if parent.is_some_and(|parent| !self.nodes.contains_key(parent)) {
            return Answer::Missing;
        }
        if self.nodes.contains_key(&path) {
            return Answer::Taken;
        }
        self.nodes.insert(path, node);
        Answer::Done
    }

    fn file(&self, place: Place) -> Option<usize> {
        match self.nodes.get(&place.to_string()) {
            Some(Node::File(file)) => Some(*file),
            Some(Node::Folder) | None => None,
        }
    }
}

fn examine(lie: Lie) -> Findings {
    let mut fake = Fake::new(lie);
    let mut examination = Examination::new(Extent::LOCAL, 77);
    while let Step::Ask { here, there } = examination.next(Duration::ZERO) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        // Both at the same time: in turns.
        for index in 0..here.len().max(there.len()) {
            ours.extend(here.get(index).map(|operation| fake.perform(Side::Here, *operation)));
            theirs.extend(there.get(index).map(|operation| fake.perform(Side::There, *operation)));
        }
        examination.answer(ours, theirs);
    }
    examination.into_findings()
}

fn wrong(findings: &Findings) -> Vec<Check> {
    Check::ALL.into_iter().filter(|check| findings.of(*check).wrong > 0).collect()
}

#[test]
fn an_honest_filesystem_is_sound_in_every_round() {
    let findings = examine(Lie::None);
    assert_eq!((findings.verdict(), findings.rounds), (Verdict::Sound, 4));
    for check in Check::ALL {
        let tally = findings.of(check);
        assert!(tally.tried >= 4 && tally.wrong == 0, "{check:?} {tally:?}");
    }
}

#[test]
fn every_lie_is_found_and_called_by_its_name() {
    let lies: [(Lie, &[Check]); 11] = [
        (Lie::Stat, &[Check::StaleStat]),
        (Lie::Open, &[Check::StaleOpen]),
        (Lie::Negative, &[Check::MissedName]),
        (Lie::Bytes, &[Check::KnownBytes]),
        (Lie::FreshBytes, &[Check::FreshBytes]),
        (Lie::TwoLinks, &[Check::OneLink]),
        (Lie::TwoCreators, &[Check::OneCreate]),
        (Lie::RemovedFolder, &[Check::RemovedFolder]),
        (Lie::Listing, &[Check::OwnListing, Check::PeersListing]),
        (Lie::NoLinks, &[Check::OneLink]),
        (Lie::NoFolderSync, &[Check::Sync]),
    ];
    for (lie, expected) in lies {
        let findings = examine(lie);
        assert_eq!(findings.verdict(), Verdict::Broken, "{lie:?}");
        assert_eq!(wrong(&findings), expected, "{lie:?}");
    }
}

#[test]
fn a_lie_of_one_mount_is_put_down_to_that_mount() {
    let mut findings = Findings::default();
    findings.count(Check::StaleStat, Side::There, false);
    findings.count(Check::StaleStat, Side::Here, true);
    let broken: Vec<_> = findings.broken().collect();
    assert_eq!(broken, [(Check::StaleStat, Side::There, Tally { tried: 1, wrong: 1 })]);
}

#[test]
fn an_answer_that_was_lost_is_no_lie_as_long_as_the_content_decides() {
    assert_eq!(examine(Lie::LostAnswer).verdict(), Verdict::Sound);
}

#[test]
fn a_full_filesystem_is_neither_sound_nor_broken() {
    let findings = examine(Lie::Full);
    assert_eq!(findings.verdict(), Verdict::Unfinished);
    let trouble = findings.trouble.unwrap();
    assert_eq!((trouble.errno, matches!(trouble.operation, Operation::Extend { .. })), (28, true));
}

#[test]
fn a_peer_that_answers_too_little_has_failed() {
    let mut examination = Examination::new(Extent::SHARED, 1);
    let Step::Ask { there, .. } = examination.next(Duration::ZERO) else { panic!("nothing to ask") };
    assert!(!there.is_empty(), "the peer begins");
    examination.answer(Vec::new(), vec![Answer::Done]);
    assert_eq!(examination.next(Duration::ZERO), Step::Finished);
    assert_eq!(examination.into_findings().verdict(), Verdict::Unfinished);
}

#[test]
fn a_slow_filesystem_gets_fewer_rounds_and_an_endless_one_no_verdict() {
    let play = |seconds: u64| {
        let mut fake = Fake::new(Lie::None);
        let mut examination = Examination::new(Extent::SHARED, 77);
        let mut now = Duration::ZERO;
        while let Step::Ask { here, there } = examination.next(now) {
            let ours = here.iter().map(|operation| fake.perform(Side::Here, *operation)).collect();
            let theirs = there.iter().map(|operation| fake.perform(Side::There, *operation)).collect();
            examination.answer(ours, theirs);
            now += Duration::from_secs(seconds);
        }
        examination.into_findings()
    };
    assert_eq!(play(0).rounds, 100);
    assert_eq!((play(1).rounds, play(1).verdict()), (4, Verdict::Sound), "seven phases of a second each");
    assert_eq!((play(5).rounds, play(5).verdict()), (1, Verdict::Unfinished), "over after 60 s");
}
