//! The marker that tells a cluster's mounted volume from an empty mount point, from another cluster's volume, and from
//! one that a later program has written.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use laniakea_directory::ClusterName;

use super::{FileArbiter, volume_level};
use crate::store::{
    FEATURE_LEVEL,
    fs::{Fs, RealFs},
};

/// The name of the marker in the storage's root.
const MARKER: &str = "laniakea-volume";

/// What this program can read and write. A volume of another format is refused, never touched.
pub const VOLUME_FORMAT: u32 = 1;

/// The marker's content.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: u32,
    cluster: String,
}

/// Why a storage is not used.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// There is no marker: most likely the volume is not mounted.
    #[error(
        "{path} has no file {MARKER}: it is not mounted, or was never initialised. Mount it and start again; if this is \
         a new cluster: laniakea store init --cluster NAME {path}",
        path = .0.display()
    )]
    Missing(PathBuf),
    /// The marker is of another cluster, or of another format.
    #[error("{} is the volume of {found}", .path.display())]
    Foreign {
        /// The storage.
        path: PathBuf,
        /// What its marker says.
        found: String,
    },
    /// The volume was raised to a level that this program does not know.
    #[error(
        "{} is at feature level {level}, and this program knows {FEATURE_LEVEL}: it may hold what only later programs can \
         read. Start the program that its cluster was upgraded to",
        .path.display()
    )]
    Newer {
        /// The storage.
        path: PathBuf,
        /// Its level.
        level: u16,
    },
    /// A folder that has content but no marker is not made a volume.
    #[error("{} is not empty and no volume", .0.display())]
    NotEmpty(PathBuf),
    /// The filesystem failed.
    #[error("read or make the volume {}", .path.display())]
    Io {
        /// The storage.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// Makes `storage` the volume of a new cluster. Doing it again changes nothing.
///
/// # Errors
/// When the folder has other content, belongs to another cluster, or cannot be written.
pub fn initialise_storage(storage: &Path, cluster: &ClusterName) -> Result<(), VolumeError> {
    match check_storage(storage, cluster) {
        Err(VolumeError::Missing(_)) => {}
        decided => return decided,
    }
    let failed = |source| VolumeError::Io { path: storage.to_owned(), source };
    fs::create_dir_all(storage).map_err(failed)?;
    // Folders of a beginning that was interrupted are ours; anything else is somebody's data.
    for entry in fs::read_dir(storage).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != "cluster" && name != "lost+found" && !name.as_encoded_bytes().starts_with(b".") {
            return Err(VolumeError::NotEmpty(storage.to_owned()));
        }
    }
    make_folders(&RealFs::default(), storage).map_err(failed)?;
    write_marker(storage, cluster).map_err(failed)?;
    // Nobody older will ever have been a member of it.
    if volume_level(storage).map_err(failed)? < FEATURE_LEVEL {
        FileArbiter::new(storage).record_level(FEATURE_LEVEL).map_err(failed)?;
    }
    check_storage(storage, cluster)
}

/// Makes the folders that the arbiter works in, where they are missing.
pub(crate) fn make_folders(fs: &impl Fs, storage: &Path) -> io::Result<()> {
    let cluster = storage.join("cluster");
    let folders = ["term", "inc", "slot", "live", "cool", "tmp"].map(|folder| cluster.join(folder));
    for folder in std::iter::once(&cluster).chain(&folders) {
        fs.create_dir(folder).or_else(super::nothing_if_taken)?;
    }
    fs.sync_dir(&cluster)?;
    fs.sync_dir(storage)
}

/// Says whether `storage` is the mounted volume of this cluster, in a format and at a level this program knows.
///
/// # Errors
/// When it is not.
pub fn check_storage(storage: &Path, cluster: &ClusterName) -> Result<(), VolumeError> {
    let content = fs::read(storage.join(MARKER)).map_err(|source| match source.kind() {
        ErrorKind::NotFound => VolumeError::Missing(storage.to_owned()),
        _ => VolumeError::Io { path: storage.to_owned(), source },
    })?;
    let foreign = |found| VolumeError::Foreign { path: storage.to_owned(), found };
    let marker: Marker =
        serde_json::from_slice(&content).map_err(|_| foreign("a program whose marker is not understood".to_owned()))?;
    if marker.format != VOLUME_FORMAT {
        return Err(foreign(format!("format {}, where this program knows {VOLUME_FORMAT}", marker.format)));
    }
    if marker.cluster != cluster.as_str() {
        return Err(foreign(format!("cluster {}", marker.cluster)));
    }
    match volume_level(storage) {
        Ok(level) if level > FEATURE_LEVEL => Err(VolumeError::Newer { path: storage.to_owned(), level }),
        Ok(_) => Ok(()),
        Err(source) => Err(VolumeError::Io { path: storage.to_owned(), source }),
    }
}

/// The cluster whose volume `storage` is, as far as its marker can be read.
#[must_use]
pub fn cluster_of(storage: &Path) -> Option<String> {
    let content = fs::read(storage.join(MARKER)).ok()?;
    serde_json::from_slice::<Marker>(&content).ok().map(|marker| marker.cluster)
}

/// Links the marker into place, so that it exists only with its content.
fn write_marker(storage: &Path, cluster: &ClusterName) -> io::Result<()> {
    let marker = Marker { format: VOLUME_FORMAT, cluster: cluster.to_string() };
    let temporary = storage.join("cluster/tmp").join(format!("{MARKER}.{:032x}", rand::random::<u128>()));
    let mut file = File::create_new(&temporary)?;
    file.write_all(&serde_json::to_vec(&marker)?)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    let linked = fs::hard_link(&temporary, storage.join(MARKER));
    fs::remove_file(&temporary)?;
    match linked {
        // Somebody initialised it at the same time; the check that follows says for whom.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => File::open(storage)?.sync_all(),
    }
}
