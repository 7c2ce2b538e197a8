//! The only IO of the crate: reads the file, and looks whether the files it names are there.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use crate::{
    check::check,
    fault::{Fault, Faults, Place},
    raw::Node,
    settings::Config,
};

/// Environment variable that names the configuration file.
pub const ENVIRONMENT: &str = "LANIAKEA_CONFIG";

/// Where `up` keeps everything unless told otherwise, and where the commands look for it.
pub const DATA_DEFAULT: &str = "laniakea-data";

/// Name of the file inside that folder.
pub const FILE_NAME: &str = "laniakea.yaml";

/// Largest configuration file that is read. A file of this size describes tens of thousands of members.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A cluster's key has exactly this many bytes.
pub const KEY_BYTES: u64 = 32;

/// Which process reads the file: it needs only some of the secrets the file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role<'a> {
    /// Everything must be there, as on one machine.
    All,
    /// The embedded directory.
    Directory,
    /// A router.
    Router,
    /// The member of this name.
    Member(&'a str),
    /// A command of the operator, which reads each secret only when it needs it.
    Command,
}

impl Config {
    /// Reads and checks the file at `path`, and that every file it names is there.
    ///
    /// # Errors
    /// Every fault of the file, with its line.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        Self::load_for(path, Role::All)
    }

    /// Reads and checks the file at `path`, and that every file `role` needs is there.
    ///
    /// # Errors
    /// Every fault of the file, with its line.
    pub fn load_for(path: &Path, role: Role<'_>) -> Result<Self, Faults> {
        let text = read(path).map_err(|fault| Faults::new(path.to_owned(), String::new(), vec![fault]))?;
        let fail = |faults| Faults::new(path.to_owned(), text.clone(), faults);
        let folder = folder_of(path).map_err(|fault| fail(vec![fault]))?;
        let (config, mut faults) = match Self::read(&text, &folder) {
            Ok(config) => (Some(config), Vec::new()),
            Err(faults) => (None, faults),
        };
        if let Ok(root) = Node::parse(&text) {
            check_files(&root, &folder, role, &mut faults);
        }
        config.filter(|_| faults.is_empty()).ok_or_else(|| fail(faults))
    }

    /// Checks `text` alone; relative paths begin at `folder`. No file is looked at.
    ///
    /// # Errors
    /// Every fault found.
    pub fn read(text: &str, folder: &Path) -> Result<Self, Vec<Fault>> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Err(vec![
                Fault::of_file("the file is empty")
                    .suggest("`laniakea up` writes a complete one; `laniakea config schema` describes every key"),
            ]);
        }
        let root = Node::parse(text).map_err(|fault| vec![fault])?;
        check(&root, folder, open_files())
    }
}

/// Which configuration file a command uses: what it was told, the environment's, or that of `up` in this folder.
#[must_use]
pub fn find(told: Option<&Path>) -> PathBuf {
    match (told, env::var_os(ENVIRONMENT)) {
        (Some(path), _) => path.to_owned(),
        (None, Some(path)) if !path.is_empty() => path.into(),
        (None, _) => Path::new(DATA_DEFAULT).join(FILE_NAME),
    }
}

fn read(path: &Path) -> Result<String, Fault> {
    let length = fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if length > FILE_BYTES_MAX {
        return Err(
            Fault::of_file(format!("the file has {length} bytes")).expected(format!("at most {FILE_BYTES_MAX}"))
        );
    }
    let bytes = fs::read(path).map_err(|error| unreadable(&error))?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Fault::at(Place { line, column: 1, length: 1 }, "this line is not UTF-8").suggest("save the file as UTF-8")
    })
}

fn unreadable(error: &io::Error) -> Fault {
    let fault = Fault::of_file(format!("the configuration cannot be read: {error}"));
    if error.kind() == io::ErrorKind::NotFound {
        fault.suggest(format!(
            "name the file with --config or ${ENVIRONMENT}, or run `laniakea up`, which writes {DATA_DEFAULT}/{FILE_NAME}"
        ))
    } else {
        fault
    }
}

fn folder_of(path: &Path) -> Result<PathBuf, Fault> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::canonicalize(folder).map_err(|error| unreadable(&error))
}

fn open_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20)
}

/// What must be true of a file that the configuration names.
#[derive(Clone, Copy)]
enum Content {
    Something,
    Key,
}

fn check_files(root: &Node, folder: &Path, role: Role<'_>, faults: &mut Vec<Fault>) {
    let mut need = |node: Option<&Node>, content: Content| {
        if let Some(node) = node
            && let Some(text) = node.text()
            && let Some(fault) = check_file(&folder.join(text), content, node.place)
        {
            faults.push(fault);
        }
    };
    let at = |path: &[&str]| path.iter().try_fold(root, |node, key| node.get(key));
    let all = role == Role::All;
    let serves = matches!(role, Role::All | Role::Directory | Role::Router | Role::Member(_));
    if serves {
        need(at(&["tls", "certificate_file"]), Content::Something);
        need(at(&["tls", "key_file"]), Content::Something);
        for other in at(&["tls", "others"]).map_or(&[][..], Node::elements) {
            need(other.get("certificate_file"), Content::Something);
            need(other.get("key_file"), Content::Something);
        }
    }
    if matches!(role, Role::All | Role::Router | Role::Member(_)) {
        need(at(&["admin", "token_file"]), Content::Something);
        need(at(&["directory", "bind_password_file"]), Content::Something);
        need(at(&["directory", "ca_file"]), Content::Something);
    }
    if all || role == Role::Directory {
        need(at(&["directory", "embedded", "admin_password_file"]), Content::Something);
    }
    for cluster in root.get("clusters").map_or(&[][..], Node::elements) {
        let is_mine = |name: &str| {
            let members = cluster.get("members").map_or(&[][..], Node::elements);
            members.iter().any(|member| member.get("name").and_then(Node::text) == Some(name))
        };
        if all || matches!(role, Role::Member(name) if is_mine(name)) {
            need(cluster.get("key_file"), Content::Key);
        }
        if matches!(role, Role::All | Role::Router | Role::Member(_)) {
            for file in ["certificate_file", "key_file", "ca_file"] {
                need(cluster.get("handoff_tls").and_then(|tls| tls.get(file)), Content::Something);
            }
        }
    }
}

fn check_file(path: &Path, content: Content, place: Place) -> Option<Fault> {
    let shown = path.display();
    let length = match fs::File::open(path).and_then(|file| file.metadata()) {
        Ok(about) if about.is_dir() => {
            return Some(Fault::at(place, format!("{shown} is a folder")).expected("a file"));
        }
        Ok(about) => about.len(),
        Err(error) => {
            let fault = Fault::at(place, format!("{shown} cannot be read: {error}"));
            return Some(match (error.kind(), content) {
                (io::ErrorKind::NotFound, Content::Key) => fault
                    .expected("a file of 32 random bytes, the same on every member")
                    .suggest(format!("head -c 32 /dev/urandom > {shown}; chmod 600 {shown}")),
                (io::ErrorKind::PermissionDenied, _) => fault.suggest("run as the user the file belongs to"),
                _ => fault,
            });
        }
    };
    match content {
        Content::Key if length != KEY_BYTES => Some(
            Fault::at(place, format!("{shown} has {length} bytes"))
                .expected("exactly 32 random bytes")
                .suggest(format!("head -c 32 /dev/urandom > {shown}")),
        ),
        Content::Something if length == 0 => Some(Fault::at(place, format!("{shown} is empty"))),
        Content::Key | Content::Something => None,
    }
}

#[cfg(test)]
#[path = "load_test.rs"]
mod tests;
