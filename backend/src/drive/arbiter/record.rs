//! The content of the arbiter's files: one line of JSON each, so that people can read them, with a nonce.

use std::{collections::BTreeSet, io};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use laniakea_directory::MemberName;

use crate::cluster::{Incarnation, Peer};

/// A record that can be told from another process's attempt at the same name.
pub(super) trait Record: Serialize {
    fn nonce(&self) -> u128;
}

/// `term/<n>`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TermFile {
    pub(super) controller: Incarnation,
    #[serde(with = "hexadecimal")]
    pub(super) nonce: u128,
}

/// `inc/<member>.<n>`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PeerRecord {
    pub(super) peer: Peer,
    #[serde(with = "hexadecimal")]
    pub(super) nonce: u128,
}

/// `term/<n>.drained.<k>`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DrainFile {
    pub(super) drained: BTreeSet<MemberName>,
    #[serde(with = "hexadecimal")]
    pub(super) nonce: u128,
}

/// `slot/<n>`
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SlotRecord {
    pub(super) member: MemberName,
    #[serde(with = "hexadecimal")]
    pub(super) nonce: u128,
}

impl Record for TermFile {
    fn nonce(&self) -> u128 {
        self.nonce
    }
}

impl Record for PeerRecord {
    fn nonce(&self) -> u128 {
        self.nonce
    }
}

impl Record for DrainFile {
    fn nonce(&self) -> u128 {
        self.nonce
    }
}

impl Record for SlotRecord {
    fn nonce(&self) -> u128 {
        self.nonce
    }
}

pub(super) fn encode(record: &impl Record) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

pub(super) fn decode<R: DeserializeOwned>(content: &[u8]) -> io::Result<R> {
    Ok(serde_json::from_slice(content)?)
}

/// The nonce of any record.
pub(super) fn nonce(content: &[u8]) -> io::Result<u128> {
    #[derive(Deserialize)]
    struct Nonce {
        #[serde(with = "hexadecimal")]
        nonce: u128,
    }
    Ok(decode::<Nonce>(content)?.nonce)
}

/// JSON has no integers of 128 bits.
pub(super) mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:032x}"))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}
