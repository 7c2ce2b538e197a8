//! The house rules that no compiler sees: who may know whom, what nothing may be called, and that every limit and every
//! dependency says why it is there. No process is started.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

/// What the code below a folder never names, and why.
struct Never {
    here: &'static [&'static str],
    names: &'static [&'static str],
    /// Paths that are allowed all the same.
    but: &'static [&'static str],
    because: &'static str,
}

const RULES: &[Never] = &[
    Never {
        here: &["config/src"],
        names: &["laniakea_directory", "laniakea_router", "laniakea_backend"],
        but: &[],
        because: "it is the bottom",
    },
    Never {
        here: &["directory/src"],
        names: &["laniakea_router", "laniakea_backend"],
        but: &[],
        because: "identity outlives protocols",
    },
    Never {
        here: &["router/src"],
        names: &["laniakea_backend", "laniakea_directory::ldap"],
        but: &[],
        because: "it is stateless, and the directory is a trait",
    },
    Never {
        here: &["router/src/wire", "backend/src/wire"],
        names: &["crate::session", "crate::drive", "crate::store", "std::fs", "std::net::Tcp", "tokio", "Instant::now"],
        but: &[],
        because: "it is syntax only",
    },
    Never {
        here: &["router/src/session", "backend/src/session"],
        names: &["crate::drive", "crate::store", "std::fs", "std::net::Tcp", "tokio", "Instant::now", "rand::"],
        // A value that names bytes; it opens nothing.
        but: &["crate::store::BodyRef"],
        because: "it turns values into decisions, without IO and without a clock",
    },
    Never {
        here: &["backend/src/cluster"],
        names: &["crate::store", "crate::session", "crate::drive", "std::fs", "std::net::Tcp", "tokio", "Instant::now"],
        but: &[],
        because: "it decides, and drive/control acts",
    },
    Never {
        here: &["backend/src/store"],
        names: &["crate::session", "crate::wire", "crate::mailbox", "crate::drive", "crate::cluster", "tokio"],
        but: &[],
        because: "it knows bytes and epochs, no mail",
    },
    Never {
        here: &["backend/src/store"],
        names: &["Instant::now", "SystemTime"],
        but: &[],
        because: "no bytes on disk depend on a clock",
    },
    Never {
        here: &["backend/src/mailbox"],
        names: &["crate::wire", "crate::session", "crate::drive", "std::fs", "tokio", "Instant::now"],
        but: &[],
        because: "the model of mail knows no protocol",
    },
    Never {
        here: &["backend/src/worker", "backend/src/queue", "backend/src/deliver"],
        names: &["crate::drive", "crate::session", "std::fs", "std::net::Tcp", "tokio", "Instant::now"],
        but: &[],
        because: "it decides, and drive acts",
    },
    Never {
        here: &["router/src/route", "router/src/handoff", "router/src/observe"],
        names: &["crate::drive"],
        but: &[],
        because: "drive is the top",
    },
    Never {
        here: &["backend/src/sim"],
        names: &["crate::drive"],
        // The arbiter runs on any filesystem, and here on the simulated one.
        but: &["crate::drive::arbiter"],
        because: "it takes the place of the drivers",
    },
    Never {
        here: &["config/src", "directory/src", "router/src", "backend/src"],
        names: &["process::Command"],
        but: &[],
        because: "only `up` and tests start processes",
    },
];

/// They become heaps.
const HEAPS: [&str; 10] =
    ["utils", "util", "common", "helpers", "helper", "misc", "types", "manager", "managers", "lib_utils"];

#[test]
fn nobody_names_what_it_must_not_know() {
    let mut offences = Vec::new();
    for rule in RULES {
        for folder in rule.here {
            for file in files_below(folder, "rs").iter().filter(|file| !is_test(file)) {
                let named = names(&read(file));
                let is_offence = |name: &&String| {
                    rule.names.iter().any(|never| begins_with(name, never))
                        && !rule.but.iter().any(|but| begins_with(name, but))
                };
                let told = |name: &String| format!("{} names {name}; but {}", file.display(), rule.because);
                offences.extend(named.iter().filter(is_offence).map(told));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn every_rule_is_about_something() {
    for folder in RULES.iter().flat_map(|rule| rule.here) {
        assert!(!files_below(folder, "rs").is_empty(), "{folder} is empty");
    }
}

#[test]
fn no_module_is_a_heap() {
    let is_heap = |file: &PathBuf| {
        HEAPS.iter().any(|heap| {
            file.components().any(|part| {
                let part = part.as_os_str().to_string_lossy();
                part == *heap || part == format!("{heap}.rs")
            })
        })
    };
    let heaps: Vec<_> = files_below("", "rs").into_iter().filter(is_heap).collect();
    assert!(heaps.is_empty(), "{heaps:?}");
}

/// A limit without a reason is a guess. One comment may stand above several lines.
#[test]
fn every_limit_has_a_reason() {
    let mut offences = Vec::new();
    for file in files_below("", "rs").iter().filter(|file| !is_test(file)) {
        let text = read(file);
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| is_limit(line)) {
            let before = lines.get(..number).unwrap_or_default().iter().rev();
            let above = before.map(|line| line.trim()).find(|line| !line.starts_with("#[") && !is_limit(line));
            if !line.contains("//") && !above.is_some_and(|line| line.starts_with("//") || line.contains("//")) {
                offences.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(offences.is_empty(), "limits without a reason:\n{}", offences.join("\n"));
}

fn is_limit(line: &str) -> bool {
    line.split_once("const ").and_then(|(_, rest)| rest.split_once(':')).is_some_and(|(name, _)| name.ends_with("_MAX"))
}

#[test]
fn every_dependency_has_a_reason_and_stands_in_one_place() {
    let manifest = read(Path::new("Cargo.toml"));
    let (_, rest) = manifest.split_once("[workspace.dependencies]").unwrap();
    let table = rest.split("\n[").next().unwrap();
    let mut unused = Vec::new();
    let manifests: Vec<_> = files_below("", "toml").into_iter().filter(|file| file.ends_with("Cargo.toml")).collect();
    for line in table.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')) {
        let name = line.split(' ').next().unwrap();
        let is_ours = line.contains("path = ");
        assert!(is_ours || line.contains(" # "), "{name} is there without a reason");
        let wanted = format!("{name}.workspace = true");
        let inherits = |file: &&PathBuf| {
            read(file)
                .lines()
                .any(|line| line.starts_with(&wanted) || line.starts_with(&format!("{name} = {{ workspace = true")))
        };
        if !manifests.iter().any(|file| inherits(&file)) {
            unused.push(name.to_owned());
        }
    }
    assert!(unused.is_empty(), "nobody uses {unused:?}");
    for file in manifests {
        let text = read(&file);
        let of_its_own = text.split("\n[").filter(|section| {
            ["dependencies]", "dev-dependencies]", "build-dependencies]"].iter().any(|name| section.starts_with(name))
        });
        for line in of_its_own.flat_map(str::lines).filter(|line| line.contains(" = ") || line.contains(".workspace")) {
            assert!(
                line.contains("workspace = true"),
                "{}: {line}: it belongs into the workspace's table",
                file.display()
            );
        }
    }
}

/// The tree makes sense on any machine, and names none.
#[test]
fn nothing_names_a_place_on_somebodys_machine() {
    let mut offences = Vec::new();
    let texts = ["rs", "md", "toml", "yaml", "txt", "ldif", "sh"].iter().flat_map(|kind| files_below("", kind));
    for file in texts.chain(["integration-tests/run".into(), ".ci/run".into()]) {
        for (number, line) in read(&file).lines().enumerate() {
            if ["/home/", "/root/", "/Users/", "/work/"].iter().any(|place| names_place(line, place))
                && !is_this_test(&file)
            {
                offences.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

/// Whether a path that begins like this stands in a line: nothing but a quote, a space or a bracket is before it.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place)
        .any(|(at, _)| !line[..at].ends_with(|before: char| before.is_alphanumeric() || "/.)}>_-*".contains(before)))
}

fn is_this_test(file: &Path) -> bool {
    file.ends_with("tests/tidy.rs")
}

/// Tests may name what they like.
fn is_test(file: &Path) -> bool {
    let is_test_name =
        |name: &str| name.ends_with("_test") || name == "tests" || name == "tests.rs" || name.ends_with("_test.rs");
    file.components().any(|part| is_test_name(&part.as_os_str().to_string_lossy()))
}

/// `crate::store` begins `crate::store::Log`, but not `crate::stores`; `std::net::Tcp` begins `std::net::TcpStream`.
fn begins_with(name: &str, never: &str) -> bool {
    name.strip_prefix(never)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(':') || never.ends_with(':') || never.ends_with("Tcp"))
}

/// All paths that the code names, tests at its end left out, `use` trees taken apart.
fn names(source: &str) -> Vec<String> {
    let code: String = source.lines().map(without_comment).collect();
    let code = code.split("#[cfg(test)] mod tests ").next().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        if !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            let tree = code[at + 4..].split(';').next().unwrap_or_default();
            expand(String::new(), tree, &mut found);
        }
    }
    let is_path = |part: char| part.is_alphanumeric() || part == '_' || part == ':';
    found.extend(code.split(|part: char| !is_path(part)).filter(|word| word.contains("::")).map(str::to_owned));
    // A path is also named by its end: `std::time::Instant::now` and, behind a `use`, `Instant::now`.
    let ends = found.clone().into_iter().filter_map(|path| {
        let parts: Vec<&str> = path.split("::").collect();
        (parts.len() > 2).then(|| parts[parts.len() - 2..].join("::"))
    });
    found.extend(ends.collect::<Vec<_>>());
    found
}

fn without_comment(line: &str) -> String {
    let code = if line.trim_start().starts_with("//") { "" } else { line.split(" // ").next().unwrap_or_default() };
    format!("{} ", code.trim())
}

/// Takes `a::{b, c::{d, e}}` apart.
fn expand(prefix: String, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return found.push(format!("{prefix}{path}"));
    };
    let prefix = format!("{prefix}{}", head.trim());
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut begin) = (0_i32, 0);
    for (at, part) in inner.char_indices() {
        match part {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(prefix.clone(), &inner[begin..at], found);
                begin = at + 1;
            }
            _ => {}
        }
    }
    if !inner[begin..].trim().is_empty() {
        expand(prefix, &inner[begin..], found);
    }
}

#[test]
fn use_trees_are_taken_apart() {
    let source =
        "use std::{\n    fs, // files\n    net::{IpAddr, TcpStream as Stream},\n};\nlet a = crate::drive::run();";
    let found = names(source);
    for name in ["std::fs", "std::net::IpAddr", "std::net::TcpStream", "crate::drive::run"] {
        assert!(found.iter().any(|one| one == name), "{name} is not in {found:?}");
    }
    assert!(names("//! [`crate::drive`]\n").is_empty());
    assert!(begins_with("crate::store::Log", "crate::store") && !begins_with("crate::stores", "crate::store"));
    assert!(names("let now = std::time::Instant::now();").iter().any(|name| begins_with(name, "Instant::now")));
}

#[test]
fn places_are_told_from_parts_of_paths() {
    assert!(names_place("see /home/me/x", "/home/") && names_place("\"/work/x\"", "/work/"));
    assert!(!names_place("cluster/work/x", "/work/") && !names_place("http://a/root/x", "/root/"));
}

/// The files of a kind below a folder of the repository, whatever is built left out.
fn files_below(folder: &str, kind: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(root().join(&folder)).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries.map(Result::unwrap) {
            let path = folder.join(entry.file_name());
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            if entry.file_type().unwrap().is_dir() {
                if !is_hidden && entry.file_name() != "target" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == kind) {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    found
}

fn read(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn what_keeps_bad_input_out_exists() {
    let text = read(&root().join("CONTRIBUTING.md"));
    let tables = text.lines().filter(|line| line.starts_with('|'));
    let named: Vec<&str> = tables.flat_map(|line| line.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 50, "the tables name {} things", named.len());
    let sources: Vec<String> = ["config", "directory", "router", "backend", "src", "integration-tests"]
        .iter()
        .flat_map(|folder| files_below(folder, "rs"))
        .map(|file| read(&file))
        .collect();
    for name in named {
        let exists = match name.ends_with(".txt") {
            true => root().join("integration-tests/dialogues").join(name).is_file(),
            false => {
                let (test, target) = (format!("fn {name}("), format!("name: \"{name}\""));
                sources.iter().any(|source| source.contains(&test) || source.contains(&target))
            }
        };
        assert!(exists, "CONTRIBUTING.md names {name}, which does not exist");
    }
}
