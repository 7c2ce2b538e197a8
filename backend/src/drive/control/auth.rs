//! Members prove to one another that they hold the cluster's key, then seal every frame with it.
//!
//! ```text
//! dialler  → acceptor   magic version nonce                    magic: "LNKC" for a link, "LNKP" for a probe
//! acceptor → dialler    magic version nonce length peer tag
//! dialler  → acceptor   length peer tag
//! then, both ways       length payload tag
//! ```
//!
//! A tag is HMAC-SHA256 under the cluster's key over a label that says who speaks, the cluster's name, both nonces and all
//! that was said so far; so nothing can be replayed, reflected, or moved to another cluster. Frames are sealed under two
//! keys derived from the nonces, one for each direction, over their number and payload; a lost, repeated or altered frame
//! ends the link. Nothing is encrypted: account ids and addresses may be read on the wire, mail never travels here.

use std::io;

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::cluster::{PROTOCOL_VERSION, Peer};

/// What a connection is for. Whatever is proved for one purpose proves nothing for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::drive) enum Purpose {
    /// The cluster's protocol, between members.
    Link,
    /// An examination of the filesystem that both ends have mounted.
    Probe,
}

impl Purpose {
    /// First bytes of every connection.
    const fn magic(self) -> &'static [u8; 4] {
        match self {
            Self::Link => b"LNKC",
            Self::Probe => b"LNKP",
        }
    }

    /// What dialler and acceptor are called in proofs.
    const fn labels(self) -> [&'static str; 2] {
        match self {
            Self::Link => ["dialler", "acceptor"],
            Self::Probe => ["prober", "examiner"],
        }
    }

    /// What the frames of dialler and acceptor are called in proofs.
    const fn speakers(self) -> [&'static str; 2] {
        match self {
            Self::Link => ["dialler speaks", "acceptor speaks"],
            Self::Probe => ["prober speaks", "examiner speaks"],
        }
    }
}

/// Length of a nonce.
const NONCE: usize = 32;

/// Length of a tag.
pub(in crate::drive) const TAG: usize = 32;

/// Longest description of a peer.
const PEER_BYTES_MAX: usize = 1024;

/// What proves membership: the cluster's key and name.
#[derive(Clone)]
pub(in crate::drive) struct Credentials {
    key: Key,
    cluster: Vec<u8>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

/// Seals the frames of one direction, in order.
#[derive(Debug)]
pub(in crate::drive) struct Sealer {
    key: Key,
    number: u64,
}

/// What a handshake yields.
#[derive(Debug)]
pub(in crate::drive) struct Proven {
    /// What the connection is for.
    pub(in crate::drive) purpose: Purpose,
    /// The other end.
    pub(in crate::drive) peer: Peer,
    /// For what we send.
    pub(in crate::drive) sealer: Sealer,
    /// For what we receive.
    pub(in crate::drive) opener: Sealer,
}

impl Credentials {
    pub(in crate::drive) fn new(key: &[u8; 32], cluster: &str) -> Self {
        Self { key: Key::new(HMAC_SHA256, key), cluster: cluster.as_bytes().to_vec() }
    }

    /// Everything both ends must agree on, with a label for what is proved.
    fn context(&self, label: &str, nonces: &[[u8; NONCE]; 2], said: &[&[u8]]) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.key);
        let lengths = [label.len() as u64, self.cluster.len() as u64].map(u64::to_be_bytes);
        for part in [&lengths[0][..], label.as_bytes(), &lengths[1][..], &self.cluster, &nonces[0], &nonces[1]] {
            context.update(part);
        }
        for part in said {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context
    }

    fn tag(&self, label: &str, nonces: &[[u8; NONCE]; 2], said: &[&[u8]]) -> hmac::Tag {
        self.context(label, nonces, said).sign()
    }

    fn check(&self, label: &str, nonces: &[[u8; NONCE]; 2], said: &[&[u8]], tag: &[u8]) -> io::Result<()> {
        let expected = self.tag(label, nonces, said);
        // The comparison takes the same time wherever the difference is.
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), tag)
            .map_err(|_| refuse("the other end does not hold the cluster's key"))
    }

    fn sealer(&self, label: &str, nonces: &[[u8; NONCE]; 2]) -> Sealer {
        Sealer { key: Key::new(HMAC_SHA256, self.tag(label, nonces, &[]).as_ref()), number: 0 }
    }

    /// Proves who dials, and learns who answers.
    pub(in crate::drive) async fn dial<S>(&self, stream: &mut S, me: &Peer, purpose: Purpose) -> io::Result<Proven>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ours: [u8; NONCE] = rand::random();
        stream.write_all(&greeting(purpose, &ours)).await?;
        let (answered, theirs) = read_greeting(stream).await?;
        if answered != purpose {
            return Err(refuse("the other end answers something else than it was asked for"));
        }
        let nonces = [ours, theirs];
        let [dialling, accepting] = purpose.labels();
        let (acceptor, tag) = read_proof(stream).await?;
        self.check(accepting, &nonces, &[&acceptor], &tag)?;
        let me = encode(me)?;
        let tag = self.tag(dialling, &nonces, &[&acceptor, &me]);
        stream.write_all(&proof(&me, &tag)).await?;
        let [sealer, opener] = purpose.speakers();
        Ok(Proven {
            purpose,
            peer: decode(&acceptor)?,
            sealer: self.sealer(sealer, &nonces),
            opener: self.sealer(opener, &nonces),
        })
    }

    /// Proves who answers, and learns who dialled.
    pub(in crate::drive) async fn accept<S>(&self, stream: &mut S, me: &Peer) -> io::Result<Proven>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (purpose, theirs) = read_greeting(stream).await?;
        let ours: [u8; NONCE] = rand::random();
        let nonces = [theirs, ours];
        let [dialling, accepting] = purpose.labels();
        let me = encode(me)?;
        let mut answer = greeting(purpose, &ours);
        answer.extend(proof(&me, &self.tag(accepting, &nonces, &[&me])));
        stream.write_all(&answer).await?;
        let (dialler, tag) = read_proof(stream).await?;
        self.check(dialling, &nonces, &[&me, &dialler], &tag)?;
        let [opener, sealer] = purpose.speakers();
        Ok(Proven {
            purpose,
            peer: decode(&dialler)?,
            sealer: self.sealer(sealer, &nonces),
            opener: self.sealer(opener, &nonces),
        })
    }
}

impl Sealer {
    /// The tag of the next frame.
    pub(in crate::drive) fn seal(&mut self, payload: &[u8]) -> [u8; TAG] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&self.number.to_be_bytes());
        context.update(payload);
        self.number += 1;
        let mut tag = [0; TAG];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    /// Checks the next frame.
    pub(in crate::drive) fn open(&mut self, payload: &[u8], tag: &[u8]) -> io::Result<()> {
        let expected = self.seal(payload);
        aws_lc_rs::constant_time::verify_slices_are_equal(&expected, tag)
            .map_err(|_| refuse("a frame was lost, repeated or altered"))
    }
}

fn greeting(purpose: Purpose, nonce: &[u8; NONCE]) -> Vec<u8> {
    let mut bytes = purpose.magic().to_vec();
    bytes.push(PROTOCOL_VERSION);
    bytes.extend(nonce);
    bytes
}

async fn read_greeting<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(Purpose, [u8; NONCE])> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let purpose = [Purpose::Link, Purpose::Probe].into_iter().find(|purpose| head[..4] == purpose.magic()[..]);
    let purpose = purpose.ok_or_else(|| refuse("the other end speaks another protocol"))?;
    if head[4] != PROTOCOL_VERSION {
        return Err(refuse("the other end speaks another version of the cluster's protocol"));
    }
    let mut nonce = [0; NONCE];
    stream.read_exact(&mut nonce).await?;
    Ok((purpose, nonce))
}

fn proof(peer: &[u8], tag: &hmac::Tag) -> Vec<u8> {
    let length = u16::try_from(peer.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(peer);
    bytes.extend(tag.as_ref());
    bytes
}

async fn read_proof<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(Vec<u8>, [u8; TAG])> {
    let length = usize::from(stream.read_u16().await?);
    if length > PEER_BYTES_MAX {
        return Err(refuse("the other end describes itself too long"));
    }
    let mut peer = vec![0; length];
    stream.read_exact(&mut peer).await?;
    let mut tag = [0; TAG];
    stream.read_exact(&mut tag).await?;
    Ok((peer, tag))
}

fn encode(peer: &Peer) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(peer).map_err(io::Error::other)
}

fn decode(bytes: &[u8]) -> io::Result<Peer> {
    postcard::from_bytes(bytes).map_err(|_| refuse("the other end does not say who it is"))
}

fn refuse(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use laniakea_directory::MemberName;

    use super::*;
    use crate::cluster::Incarnation;

    fn peer(name: &str) -> Peer {
        Peer {
            incarnation: Incarnation { member: MemberName::new(name), number: 1 },
            slot: 0,
            control: "127.0.0.1:1".parse().unwrap(),
            handoff: "127.0.0.1:2".parse().unwrap(),
        }
    }

    async fn meet(one: Credentials, other: Credentials) -> (io::Result<Proven>, io::Result<Proven>) {
        let (mut near, mut far) = tokio::io::duplex(4096);
        let dial = async {
            let result = one.dial(&mut near, &peer("a"), Purpose::Link).await;
            drop(near);
            result
        };
        let accept = async {
            let result = other.accept(&mut far, &peer("b")).await;
            drop(far);
            result
        };
        tokio::join!(dial, accept)
    }

    #[tokio::test]
    async fn members_of_one_cluster_prove_themselves_and_seal_frames() {
        let credentials = Credentials::new(&[7; 32], "one");
        let (dialled, accepted) = meet(credentials.clone(), credentials).await;
        let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
        assert_eq!((&dialled.peer, &accepted.peer), (&peer("b"), &peer("a")));
        let tags = [dialled.sealer.seal(b"first"), dialled.sealer.seal(b"second")];
        assert!(accepted.opener.open(b"second", &tags[1]).is_err(), "out of order");
        let mut again = accepted.opener;
        again.number = 0;
        again.open(b"first", &tags[0]).unwrap();
        again.open(b"second", &tags[1]).unwrap();
        assert!(dialled.opener.open(b"first", &tags[0]).is_err(), "sent back to its sender");
    }

    #[tokio::test]
    async fn another_key_or_another_cluster_is_refused_by_both_ends() {
        let ours = Credentials::new(&[7; 32], "one");
        for stranger in [Credentials::new(&[8; 32], "one"), Credentials::new(&[7; 32], "two")] {
            let (dialled, accepted) = meet(ours.clone(), stranger).await;
            assert!(dialled.is_err() && accepted.is_err());
        }
    }
}
