//! Which filesystem it is, and therefore what to change.

use serde::{Deserialize, Serialize};

use super::finding::Findings;

/// What is mounted at a path, as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    /// Which one.
    pub kind: Kind,
    /// Its name in the kernel's table of mounts, such as `nfs4` or `fuse.glusterfs`.
    pub name: String,
    /// What is mounted: a device, or host and volume.
    pub source: String,
    /// Where.
    pub mount_point: String,
    /// Options of the mount and of the filesystem.
    pub options: Vec<String>,
}

/// Filesystems whose options are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// NFS version 3 or older.
    Nfs3,
    /// NFS version 4.
    Nfs4,
    /// GlusterFS through FUSE.
    Gluster,
    /// CephFS through the kernel.
    CephKernel,
    /// CephFS through FUSE.
    CephFuse,
    /// GFS2 or OCFS2: a shared disk with a lock manager.
    SharedDisk,
    /// MooseFS or LizardFS through FUSE.
    Moose,
    /// A filesystem of one machine.
    Local,
    /// Any other.
    Other,
}

/// What NFS needs so that no member answers from a cache.
const NFS_OPTIONS: [&str; 4] = ["hard", "acdirmin=0", "acdirmax=0", "lookupcache=none"];

/// Parts of GlusterFS that answer from a cache or delay writes.
const GLUSTER_TRANSLATORS: [&str; 7] =
    ["quick-read", "io-cache", "stat-prefetch", "read-ahead", "readdir-ahead", "open-behind", "write-behind"];

/// The caches of GlusterFS's FUSE mount.
const GLUSTER_MOUNT: &str = "attribute-timeout=0,entry-timeout=0,negative-timeout=0,direct-io-mode=enable";

impl Kind {
    /// Tells a filesystem by its name in the table of mounts and its number in `statfs`.
    #[must_use]
    pub fn of(name: &str, magic: u64) -> Self {
        match (name, magic) {
            ("nfs", _) => Self::Nfs3,
            ("nfs4", _) => Self::Nfs4,
            ("fuse.glusterfs", _) => Self::Gluster,
            ("fuse.ceph" | "fuse.ceph-fuse", _) => Self::CephFuse,
            ("fuse.mfs" | "fuse.mfsmount" | "fuse.moosefs" | "fuse.lizardfs", _) => Self::Moose,
            ("ceph", _) => Self::CephKernel,
            ("gfs2" | "ocfs2", _) => Self::SharedDisk,
            (
                "ext2" | "ext3" | "ext4" | "xfs" | "btrfs" | "zfs" | "f2fs" | "bcachefs" | "tmpfs" | "ramfs"
                | "overlay",
                _,
            ) => Self::Local,
            // The name may be hidden, as in some containers; the number is not.
            (_, 0x6969) => Self::Nfs3,
            (_, 0x00c3_6400) => Self::CephKernel,
            (_, 0x0116_1970 | 0x7461_636f) => Self::SharedDisk,
            (_, 0xef53 | 0x5846_5342 | 0x9123_683e | 0x0102_1994 | 0x794c_7630 | 0x8584_58f6) => Self::Local,
            _ => Self::Other,
        }
    }
}

impl Filesystem {
    /// Says whether only one machine can have it mounted.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.kind == Kind::Local
    }

    /// What to change so that the findings go away; one step a line.
    #[must_use]
    pub fn advice(&self, findings: &Findings) -> Vec<String> {
        if findings.broken().next().is_none() {
            return Vec::new();
        }
        match self.kind {
            Kind::Nfs3 => vec![self.nfs(&["nolock"])],
            Kind::Nfs4 => vec![self.nfs(&[])],
            Kind::Gluster => self.gluster(),
            Kind::CephKernel if self.has("nowsync") => {
                vec![format!("mount {} with `wsync`: with `nowsync` folders change on the client first", self.mount_point)]
            }
            Kind::CephKernel => vec!["no option of the kernel's CephFS is known to cause this; try another kernel, and report it".into()],
            Kind::CephFuse => vec![
                "in ceph.conf of every member set `fuse_disable_pagecache = true` and `client_oc = false`, then mount again".into(),
            ],
            Kind::SharedDisk if self.has("lockproto=lock_nolock") || self.has("localflocks") => {
                vec![format!(
                    "mount {} with the cluster's lock manager (`lockproto=lock_dlm`): as it is, each machine is alone",
                    self.mount_point
                )]
            }
            Kind::SharedDisk => {
                vec!["check that the lock manager runs on every member, and that all of them mount one device".into()]
            }
            Kind::Moose => vec![
                "mount with `-o mfscachemode=DIRECT,mfsattrcacheto=0,mfsentrycacheto=0,mfsdirentrycacheto=0,mfsnegentrycacheto=0`"
                    .into(),
                "set `HDD_FSYNC_BEFORE_CLOSE = 1` on the chunk servers and `CHANGELOG_SAVE_MODE = 2` on the master".into(),
            ],
            Kind::Local => vec![format!(
                "{} ({}) is a filesystem of one machine: do all members run on it, on the same folder?",
                self.mount_point, self.name
            )],
            Kind::Other => vec![format!(
                "{} is not known: switch off whatever `{}` calls caches of attributes, names and missing names, and delayed writes",
                self.name, self.source
            )],
        }
    }

    /// What a probe cannot see on this filesystem, and what to set for it.
    #[must_use]
    pub fn beyond(&self) -> Vec<String> {
        let mut lines = vec![
            "whether bytes survive a power cut after fsync: the server's export must be `sync`, disks must not lie"
                .into(),
        ];
        match self.kind {
            Kind::Nfs3 => {}
            Kind::Nfs4 => lines.push(
                "a dead member's delegations stop the others for the lease time: switch delegations off on the server \
                 (`sysctl fs.leases-enable=0`), lease and grace at most 15 s"
                    .into(),
            ),
            Kind::Gluster => lines.push(format!(
                "a server that dies stops everybody for network.ping-timeout, 42 s if not set: `gluster volume set {} \
                 network.ping-timeout 5`; keep cluster.quorum-type auto",
                self.gluster_volume()
            )),
            Kind::CephKernel | Kind::CephFuse => lines.push(
                "files of a dead member wait for its session to end, up to 300 s: `ceph fs set NAME session_autoclose 30`, \
                 or evict it when it is fenced"
                    .into(),
            ),
            Kind::SharedDisk => lines.push(
                "all members stand still until a dead machine is fenced: takeover is as fast as the cluster's fence agent".into(),
            ),
            Kind::Moose => {
                lines.push("by default fsync reaches the servers' memory only: see HDD_FSYNC_BEFORE_CLOSE".into());
            }
            Kind::Local | Kind::Other => {}
        }
        lines
    }

    fn nfs(&self, more: &[&str]) -> String {
        let wanted: Vec<&str> = NFS_OPTIONS.iter().chain(more).copied().collect();
        let missing: Vec<&str> = wanted.iter().copied().filter(|option| !self.has(option)).collect();
        if missing.is_empty() {
            return format!(
                "{} has the options that are needed ({}): the server {} caches or delays what it answers",
                self.mount_point,
                wanted.join(","),
                self.source
            );
        }
        format!("mount {} on every member also with `-o {}`", self.mount_point, missing.join(","))
    }

    /// Both are needed: with either alone nearly every answer stays wrong.
    fn gluster(&self) -> Vec<String> {
        let volume = self.gluster_volume();
        let mut lines: Vec<String> = GLUSTER_TRANSLATORS
            .iter()
            .map(|translator| format!("gluster volume set {volume} performance.{translator} off"))
            .collect();
        lines.push(format!("gluster volume set {volume} cluster.eager-lock off"));
        lines.push(format!("mount {} on every member with `-o {GLUSTER_MOUNT}`", self.mount_point));
        lines
    }

    fn gluster_volume(&self) -> &str {
        let name = self.source.rsplit_once(':').map_or(self.source.as_str(), |(_, volume)| volume);
        let name = name.trim_start_matches('/');
        if name.is_empty() { "VOLUME" } else { name }
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|one| one == option)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Check, Side};

    fn filesystem(name: &str, source: &str, options: &str) -> Filesystem {
        Filesystem {
            kind: Kind::of(name, 0),
            name: name.into(),
            source: source.into(),
            mount_point: "/srv/mail".into(),
            options: options.split(',').map(str::to_owned).collect(),
        }
    }

    fn broken() -> Findings {
        let mut findings = Findings::default();
        findings.count(Check::StaleStat, Side::Here, false);
        findings
    }

    #[test]
    fn only_the_options_that_are_missing_are_named() {
        let nfs = filesystem("nfs4", "server:/export", "rw,hard,acdirmin=0");
        let advice = nfs.advice(&broken()).join("\n");
        assert!(advice.contains("acdirmax=0,lookupcache=none"), "{advice}");
        assert!(!advice.contains("hard") && !advice.contains("acdirmin"), "{advice}");
        let complete = filesystem("nfs", "server:/export", "rw,hard,acdirmin=0,acdirmax=0,lookupcache=none,nolock");
        assert!(complete.advice(&broken())[0].contains("server:/export"));
    }

    #[test]
    fn gluster_is_told_of_its_volume_and_of_its_mount() {
        let advice = filesystem("fuse.glusterfs", "10.0.0.1:/mail", "rw").advice(&broken()).join("\n");
        for needed in ["set mail performance.quick-read off", "performance.write-behind off", "entry-timeout=0"] {
            assert!(advice.contains(needed), "{advice}");
        }
    }

    #[test]
    fn what_is_sound_needs_no_advice_and_every_kind_has_some() {
        for name in ["nfs", "nfs4", "fuse.glusterfs", "ceph", "fuse.ceph-fuse", "gfs2", "fuse.mfs", "ext4", "vfat"] {
            let filesystem = filesystem(name, "source", "rw");
            assert!(filesystem.advice(&Findings::default()).is_empty());
            assert!(!filesystem.advice(&broken()).is_empty() && !filesystem.beyond().is_empty(), "{name}");
        }
    }

    #[test]
    fn a_hidden_name_is_replaced_by_the_number() {
        assert_eq!(Kind::of("", 0x6969), Kind::Nfs3);
        assert_eq!(Kind::of("", 0xef53), Kind::Local);
        assert_eq!(Kind::of("fuse.glusterfs", 0x6573_5546), Kind::Gluster);
        assert_eq!(Kind::of("fuse.something", 0x6573_5546), Kind::Other);
    }
}
