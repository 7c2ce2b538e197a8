//! Other people's programs, run by tests.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

/// Set by `integration-tests/run`, which installs everything: then a missing program is a failure, not a skip.
const REQUIRED: &str = "LANIAKEA_TOOLS_REQUIRED";

/// Where a program is, if it is installed. Says so if it is not.
///
/// # Errors
/// If it is missing although all programs should be there.
pub fn find(name: &str, package: &str) -> Result<Option<PathBuf>> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        missing(name, package)?;
    }
    Ok(found)
}

/// Whether perl has a module that a program in perl can do without. Says so if it has not.
///
/// # Errors
/// If it is missing although all programs should be there.
pub fn perl_has(module: &str, package: &str) -> Result<bool> {
    let tried = Command::new("perl").arg(format!("-M{module}")).args(["-e", "1"]).stderr(Stdio::null()).status();
    let has = tried.is_ok_and(|status| status.success());
    if !has {
        missing(module, package)?;
    }
    Ok(has)
}

fn missing(name: &str, package: &str) -> Result<()> {
    skip(&format!("{name} is not installed (apt-get install {package})"))
}

/// Where a shared library of a package is, in the folder of this name among the system's libraries. Says so if it is not.
///
/// # Errors
/// If it is missing although all programs should be there.
pub fn library(name: &str, folder: &str, package: &str) -> Result<Option<String>> {
    let systems = fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path());
    let found = systems.map(|system| system.join(folder).join(name)).find(|path| path.is_file());
    if found.is_none() {
        missing(name, package)?;
    }
    Ok(found.map(|path| path.display().to_string()))
}

/// Says why a test is skipped.
///
/// # Errors
/// If none may be, because everything should be there.
pub fn skip(reason: &str) -> Result<()> {
    if env::var_os(REQUIRED).is_some() {
        bail!("{reason}");
    }
    eprintln!("SKIPPED: {reason}");
    Ok(())
}

/// Runs a program to its end and returns what it printed. Whatever it needs lies in `home`.
///
/// # Errors
/// If it does not end with success; the message holds everything it said.
pub fn run(program: &Path, arguments: &[&str], home: &Path, input: &[u8]) -> Result<String> {
    let mut child = Command::new("timeout")
        .arg("60")
        .arg(program)
        .args(arguments)
        .current_dir(home)
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input closes it.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{} {}: {}\n{said}{errors}",
        program.display(),
        arguments.join(" "),
        output.status
    );
    Ok(said)
}

/// Runs one of the scripts in `clients/`.
///
/// # Errors
/// If it finds something that is not as it should be.
pub fn python(script: &str, arguments: &[&str], home: &Path) -> Result<()> {
    let Some(python) = find("python3", "python3")? else { return Ok(()) };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    let script = script.to_str().context("the path of the script")?;
    let said = run(&python, &[&[script], arguments].concat(), home, b"")?;
    print!("{said}");
    Ok(())
}

/// Writes a file that a program reads, for its owner alone.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}
