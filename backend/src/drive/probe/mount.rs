//! What is mounted at a path, as the kernel tells it.

use std::{fs, io, os::unix::ffi::OsStrExt as _, path::Path};

use rustix::fs::{AtFlags, CWD, StatxFlags};

use crate::probe::{Filesystem, Kind};

/// The kernel's table of mounts, as this process sees them.
const TABLE: &str = "/proc/self/mountinfo";

/// Tells which filesystem holds `path`.
///
/// # Errors
/// When the path does not exist, or the filesystem does not answer.
pub fn filesystem_of(path: &Path) -> io::Result<Filesystem> {
    // The type of the field differs between machines; its 32 bits do not.
    #[expect(clippy::cast_sign_loss, reason = "only the bits count")]
    let magic = rustix::fs::statfs(path)?.f_type as u64 & 0xffff_ffff;
    // By number, not by path: a path may lead through links, or into what another process has mounted.
    let mount = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?.stx_mnt_id;
    let table = fs::read_to_string(TABLE).unwrap_or_default();
    let line = table.lines().filter_map(Line::parse).find(|line| line.number == mount);
    Ok(match line {
        Some(line) => Filesystem {
            kind: line.kind(magic),
            name: line.name.to_owned(),
            source: unescape(line.source).to_string_lossy().into_owned(),
            mount_point: unescape(line.mount_point).to_string_lossy().into_owned(),
            options: line.options.split(',').chain(line.more.split(',')).map(str::to_owned).collect(),
        },
        None => Filesystem {
            kind: Kind::of("", magic),
            name: format!("unknown ({magic:#x})"),
            source: "unknown".into(),
            mount_point: path.to_string_lossy().into_owned(),
            options: Vec::new(),
        },
    })
}

/// One line of the table.
struct Line<'a> {
    number: u64,
    mount_point: &'a str,
    options: &'a str,
    name: &'a str,
    source: &'a str,
    more: &'a str,
}

impl<'a> Line<'a> {
    /// Reads `36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/root rw,errors=continue`.
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let number = mount.split(' ').next()?.parse().ok()?;
        let mut mount = mount.split(' ').skip(4);
        let mut filesystem = filesystem.split(' ');
        Some(Self {
            number,
            mount_point: mount.next()?,
            options: mount.next()?,
            name: filesystem.next()?,
            source: filesystem.next()?,
            more: filesystem.next().unwrap_or_default(),
        })
    }

    /// Old kernels say `nfs` for every version, and `vers=4.x` among the options.
    fn kind(&self, magic: u64) -> Kind {
        match Kind::of(self.name, magic) {
            Kind::Nfs3 if self.more.split(',').any(|option| option.starts_with("vers=4")) => Kind::Nfs4,
            kind => kind,
        }
    }
}

/// Blanks and the like stand as octal numbers behind a backslash.
fn unescape(text: &str) -> std::ffi::OsString {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let octal = more.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = more.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    std::ffi::OsStr::from_bytes(&bytes).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_blanks_and_optional_fields() {
        let line = Line::parse(
            "36 35 0:44 / /srv/my\\040mail rw,relatime shared:7 master:1 - nfs4 10.0.0.1:/mail rw,vers=4.2,acdirmin=0",
        )
        .unwrap();
        assert_eq!((line.number, unescape(line.mount_point)), (36, "/srv/my mail".into()));
        assert_eq!((line.name, line.source, line.more), ("nfs4", "10.0.0.1:/mail", "rw,vers=4.2,acdirmin=0"));
        assert!(Line::parse("36 35 0:44 / /srv rw").is_none());
        let old = Line::parse("1 2 0:3 / /mnt rw - nfs server:/x rw,vers=4.1").unwrap();
        assert_eq!(old.kind(0x6969), Kind::Nfs4);
    }

    #[test]
    fn the_temporary_folder_of_this_machine_is_on_something() {
        let folder = tempfile::tempdir().unwrap();
        let filesystem = filesystem_of(folder.path()).unwrap();
        assert!(!filesystem.name.is_empty() && folder.path().starts_with(&filesystem.mount_point));
        assert!(filesystem_of(&folder.path().join("missing")).is_err());
    }
}
