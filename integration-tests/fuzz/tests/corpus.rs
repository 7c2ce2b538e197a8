//! Every target over its corpus, over what the clients of the dialogues say, and over mutations of both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, panic, path::Path};

use laniakea_fuzz::{TARGETS, Target};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Mutations of each target, the same ones in every run; `LANIAKEA_MUTATIONS` asks for more.
const MUTATIONS: usize = 2_000;
/// Longest input; what is longer says no more.
const BYTES_MAX: usize = 4096;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What is in the corpus's folder, and in the dialogues.
fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let folder = here().join("corpus").join(target.name);
    let mut seeds: Vec<Vec<u8>> =
        fs::read_dir(&folder).into_iter().flatten().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    for folder in target.dialogues {
        let folder = here().join("../dialogues").join(folder);
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            seeds.push(said_in(&fs::read_to_string(entry.path()).unwrap()));
        }
    }
    seeds.sort();
    assert!(!seeds.is_empty(), "{} has no corpus", target.name);
    seeds
}

/// What the client says in a dialogue, as one stream.
fn said_in(dialogue: &str) -> Vec<u8> {
    let lines = dialogue.lines().filter_map(|line| line.strip_prefix("C: "));
    let said: String = lines.flat_map(|line| line.split(" | ")).map(|part| format!("{part}\r\n")).collect();
    // One packet; mutations change that.
    [b"\xff".as_slice(), said.as_bytes()].concat()
}

/// Changes an input a little: bytes, pieces, or its company.
fn mutate(random: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.random_range(0..seeds.len())].clone();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..6) {
            0 => bytes.insert(at, random.random()),
            1 => bytes.truncate(at),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            3 => drop(bytes.drain(at..(at + random.random_range(0..9)).min(bytes.len()))),
            4 => {
                let odd: &[&[u8]] =
                    &[b"\r\n", b"\n", b"\r", b"\0", b".\r\n", b"{5}\r\n", b"(", b"\"", b"\\", b"\xff\xfe"];
                bytes.splice(at..at, odd[random.random_range(0..odd.len())].iter().copied());
            }
            _ => {
                let other = &seeds[random.random_range(0..seeds.len())];
                let from = random.random_range(0..=other.len());
                bytes.splice(at..at, other[from..].iter().copied());
            }
        }
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

fn run(target: &Target, bytes: &[u8]) {
    if let Err(cause) = panic::catch_unwind(|| (target.run)(bytes)) {
        eprintln!("{} with \"{}\"", target.name, bytes.escape_ascii());
        panic::resume_unwind(cause);
    }
}

#[test]
fn no_input_known_or_mutated_does_harm() {
    let mutations = std::env::var("LANIAKEA_MUTATIONS").map_or(MUTATIONS, |count| count.parse().unwrap());
    std::thread::scope(|scope| {
        for target in TARGETS {
            scope.spawn(move || {
                let seeds = seeds(target);
                seeds.iter().for_each(|seed| run(target, seed));
                let mut random = StdRng::seed_from_u64(7);
                (0..mutations).for_each(|_| run(target, &mutate(&mut random, &seeds)));
            });
        }
    });
}

#[test]
fn every_folder_of_the_corpus_belongs_to_a_target() {
    for entry in fs::read_dir(here().join("corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|target| target.name == name), "{name} belongs to no target");
    }
}
