//! The cache of a process: shards of [`Cache`] behind locks, the clock, and the file that survives a restart.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read, Seek as _, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Instant,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::cache::{Ages, Cache, Digest, Hit};

/// Locks, so that threads seldom wait for one another.
const SHARDS: usize = 16;
/// First bytes of the file; the last one is its version.
const MAGIC: &[u8; 8] = b"LANIDIR\x01";
/// A longer answer in a file is damage.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// What a process remembers.
pub(crate) struct Remembered {
    shards: Vec<Mutex<Cache>>,
    key: ArcSwap<[u8; 32]>,
    start: Instant,
}

/// A typed [`Hit`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<T> {
    Fresh(Option<T>),
    Aging(T),
    Stale(T),
    Miss,
}

impl Remembered {
    pub(crate) fn new(ages: Ages, max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Cache::new(ages, max.div_ceil(SHARDS)))).collect(),
            key: ArcSwap::from_pointee(rand::random()),
            start: Instant::now(),
        }
    }

    /// Looks up what was answered to a question; the question is any text that no other question has.
    pub(crate) fn find<T: DeserializeOwned>(&self, question: &str) -> Found<T> {
        self.find_with(question, |bytes| postcard::from_bytes(&bytes).ok())
    }

    /// As [`Self::find`], for an answer that `read` knows how to read.
    pub(crate) fn find_with<T>(&self, question: &str, read: impl FnOnce(Box<[u8]>) -> Option<T>) -> Found<T> {
        let digest = self.digest(question);
        let hit = self.shard(&digest).map_or(Hit::Miss, |shard| shard.lock().find(&digest, self.start.elapsed()));
        match hit {
            Hit::Fresh(None) => Found::Fresh(None),
            Hit::Fresh(Some(bytes)) => read(bytes).map_or(Found::Miss, |answer| Found::Fresh(Some(answer))),
            Hit::Aging(bytes) => read(bytes).map_or(Found::Miss, Found::Aging),
            Hit::Stale(bytes) => read(bytes).map_or(Found::Miss, Found::Stale),
            Hit::Miss => Found::Miss,
        }
    }

    /// Remembers an answer given just now; `None` is "unknown".
    pub(crate) fn put<T: Serialize>(&self, question: &str, answer: Option<&T>) {
        let bytes = match answer.map(postcard::to_stdvec).transpose() {
            Ok(bytes) => bytes.map(Vec::into_boxed_slice),
            // What cannot be encoded is not remembered.
            Err(_) => return,
        };
        let digest = self.digest(question);
        if let Some(shard) = self.shard(&digest) {
            shard.lock().put(digest, bytes, Some(self.start.elapsed()));
        }
    }

    /// How many answers are remembered.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Writes every known answer to a file, which appears whole or not at all. May block.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("new");
        // It tells who has an account here: nobody else's business.
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let mut out = Sealed { file: io::BufWriter::new(file), sum: Sha256::new() };
        out.write(MAGIC)?;
        out.write(&**self.key.load())?;
        for shard in &self.shards {
            // The lock is held while copying, not while writing.
            let mut batch = Vec::new();
            shard.lock().for_each_known(|digest, answer| encode(&mut batch, digest, answer));
            out.write(&batch)?;
        }
        out.finish()?;
        fs::rename(&temporary, path)
    }

    /// Replaces what is remembered by a file's answers, all of them stale. May block. The file is read twice and never held
    /// in memory: a router of millions of accounts has no room for it.
    pub(crate) fn load(&self, path: &Path) -> io::Result<usize> {
        let mut file = File::open(path)?;
        let size = checked_size(&mut file)?;
        file.rewind()?;
        let mut answers = BufReader::with_capacity(BUFFER_BYTES, file.take(size));
        let mut magic = [0; MAGIC.len()];
        let mut key = [0; 32];
        answers.read_exact(&mut magic)?;
        answers.read_exact(&mut key)?;
        self.key.store(key.into());
        self.shards.iter().for_each(|shard| shard.lock().clear());
        let mut count = 0;
        while !answers.fill_buf()?.is_empty() {
            let (digest, answer) = decode(&mut answers)?;
            if let Some(shard) = self.shard(&digest) {
                shard.lock().put(digest, Some(answer), None);
            }
            count += 1;
        }
        Ok(count)
    }

    fn digest(&self, question: &str) -> Digest {
        let mut sum = Sha256::new();
        sum.update(**self.key.load());
        sum.update(question);
        let sum: [u8; 32] = sum.finalize().into();
        let mut digest = [0; 16];
        digest.iter_mut().zip(sum).for_each(|(to, from)| *to = from);
        digest
    }

    fn shard(&self, digest: &Digest) -> Option<&Mutex<Cache>> {
        let [.., last] = digest;
        self.shards.get(usize::from(*last) % SHARDS)
    }
}

/// A file that ends with the checksum of all before.
struct Sealed {
    file: io::BufWriter<File>,
    sum: Sha256,
}

impl Sealed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.file.write_all(bytes)
    }

    fn finish(mut self) -> io::Result<()> {
        self.file.write_all(&self.sum.finalize())?;
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }
}

/// The size of a file without its checksum, if that is right and the file is of our kind.
fn checked_size(file: &mut File) -> io::Result<u64> {
    let mut left = file.metadata()?.len().checked_sub(32).ok_or_else(damaged)?;
    let size = left;
    let (mut sum, mut piece, mut is_first) = (Sha256::new(), vec![0; BUFFER_BYTES], true);
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let Some(bytes) = piece.get_mut(..length) else { return Err(damaged()) };
        file.read_exact(bytes)?;
        if std::mem::take(&mut is_first) && !bytes.starts_with(MAGIC) {
            return Err(damaged());
        }
        sum.update(bytes);
        left -= length as u64;
    }
    let mut stored = [0; 32];
    file.read_exact(&mut stored)?;
    if is_first || <[u8; 32]>::from(sum.finalize()) != stored {
        return Err(damaged());
    }
    Ok(size)
}

fn encode(batch: &mut Vec<u8>, digest: &Digest, answer: &[u8]) {
    let Ok(length) = u32::try_from(answer.len()) else { return };
    batch.extend(digest);
    batch.extend(length.to_le_bytes());
    batch.extend(answer);
}

fn decode(from: &mut impl Read) -> io::Result<(Digest, Box<[u8]>)> {
    let (mut digest, mut length) = ([0; 16], [0; 4]);
    from.read_exact(&mut digest)?;
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).ok().filter(|length| *length <= ANSWER_BYTES_MAX);
    let mut answer = vec![0; length.ok_or_else(damaged)?];
    from.read_exact(&mut answer)?;
    Ok((digest, answer.into_boxed_slice()))
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the look-up cache's file is damaged")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn remembered() -> Remembered {
        Remembered::new(Ages { fresh: Duration::from_secs(60), unknown: Duration::from_secs(5) }, 1000)
    }

    #[test]
    fn what_is_saved_is_stale_in_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let first = remembered();
        first.put("a", Some(&"eve".to_owned()));
        first.put::<String>("b", None);
        first.save(&path).unwrap();
        let second = remembered();
        second.put("c", Some(&"adam".to_owned()));
        assert_eq!(second.load(&path).unwrap(), 1);
        assert_eq!(second.find("a"), Found::Stale("eve".to_owned()));
        assert_eq!(second.find::<String>("b"), Found::Miss);
        assert_eq!(second.find::<String>("c"), Found::Miss);
        second.put("a", Some(&"eva".to_owned()));
        assert_eq!(second.find("a"), Found::Fresh(Some("eva".to_owned())));
    }

    /// What this process holds in memory now, and at most, in bytes.
    fn resident() -> (u64, u64) {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let read = |field: &str| {
            let line = status.lines().find(|line| line.starts_with(field)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
        };
        (read("VmRSS:"), read("VmHWM:"))
    }

    #[test]
    #[ignore = "measures, and proves nothing"]
    fn figures() {
        const ROUTES: u32 = 5_000_000;
        let route = |number: u32| crate::record::AccountRecord {
            id: crate::AccountId(uuid::Uuid::from_u128(u128::from(number))),
            dn: format!("uid=firstname.lastname{number},ou=people,dc=example,dc=org"),
            login: format!("firstname.lastname{number}@example.org"),
            addresses: vec![format!("firstname.lastname{number}@example.org").parse().unwrap()],
            mail_host: "cluster-1".to_owned(),
            forward: None,
            status: crate::record::Status::Active,
            quota: None,
        };
        let ages = Ages { fresh: Duration::from_secs(60), unknown: Duration::from_secs(5) };
        // The shards are not filled quite evenly.
        let max = ROUTES as usize / 100 * 101;
        let remembered = Remembered::new(ages, max);
        let begin = Instant::now();
        for number in 0..ROUTES {
            remembered.put(&format!("afirstname.lastname{number}@example.org"), Some(&route(number)));
        }
        let (now, most) = resident();
        println!("{} routes in {:?}: {} MiB, {} MiB at most", remembered.len(), begin.elapsed(), now >> 20, most >> 20);
        let begin = Instant::now();
        for number in (0..ROUTES).step_by(50) {
            let found =
                remembered.find::<crate::record::AccountRecord>(&format!("afirstname.lastname{number}@example.org"));
            assert!(!matches!(found, Found::Miss), "{number}");
        }
        println!("a hit takes {:?}", begin.elapsed() / (ROUTES / 50));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let begin = Instant::now();
        remembered.save(&path).unwrap();
        println!("saved in {:?}: {} MiB", begin.elapsed(), fs::metadata(&path).unwrap().len() >> 20);
        drop(remembered);
        let begin = Instant::now();
        let again = Remembered::new(ages, max);
        again.load(&path).unwrap();
        let (now, most) = resident();
        println!("loaded in {:?}: {} MiB, {} MiB at most", begin.elapsed(), now >> 20, most >> 20);
    }

    #[test]
    fn a_damaged_file_is_refused_wherever_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let first = remembered();
        first.put("a", Some(&"eve".to_owned()));
        first.save(&path).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(remembered().load(&path).is_err(), "{at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(remembered().load(&path).is_err(), "{at}");
        }
    }
}
