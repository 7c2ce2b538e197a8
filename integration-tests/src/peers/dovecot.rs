//! Dovecot 2.3, as a server with accounts of its own, and as a proxy in front of others.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use laniakea_test_ports::free_address;
use tempfile::TempDir;

use super::{Server, is_root, read, said};
use crate::tool;

const PROGRAM: &str = "/usr/sbin/dovecot";
/// Who owns the mail if the test runs as root: Dovecot opens no mailbox as root.
const MAIL_USER: (&str, &str, u32, u32) = ("nobody", "nogroup", 65_534, 65_534);

/// A Dovecot that serves accounts, with its Maildirs.
pub struct Dovecot {
    /// IMAP, with STARTTLS if it has a certificate.
    pub imap: SocketAddr,
    /// POP3, with STLS if it has a certificate.
    pub pop3: SocketAddr,
    /// LMTP.
    pub lmtp: SocketAddr,
    /// ManageSieve.
    pub sieve: SocketAddr,
    folder: TempDir,
    _server: Server,
}

/// A Dovecot that passes everybody on to one server, which checks the password.
pub struct DovecotProxy {
    /// IMAP.
    pub imap: SocketAddr,
    /// POP3.
    pub pop3: SocketAddr,
    folder: TempDir,
    _server: Server,
}

impl Dovecot {
    /// Starts one with these accounts, all with one password; `None` if it is not installed. With a certificate and its key
    /// it refuses passwords outside TLS.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(accounts: &[&str], password: &str, tls: Option<(&Path, &Path)>) -> Result<Option<Self>> {
        if !is_installed()? {
            return Ok(None);
        }
        let folder = folder()?;
        let path = |name: &str| folder.path().join(name);
        let users: String = accounts.iter().map(|name| format!("{name}:{{PLAIN}}{password}\n")).collect();
        fs::write(path("users"), users)?;
        fs::create_dir(path("mail"))?;
        let [imap, pop3, lmtp, sieve] = [free_address(), free_address(), free_address(), free_address()];
        let mut config = base(folder.path());
        let (user, group) = mail_user(&path("mail"))?;
        write!(
            config,
            "protocols = imap pop3 lmtp sieve\n\
             auth_mechanisms = plain login scram-sha-256\n\
             mail_location = maildir:~/Maildir\n\
             login_trusted_networks = 127.0.0.0/8\n\
             login_log_format_elements = user=<%u> rip=%r rport=%a session=<%{{session}}>\n\
             passdb {{\n  driver = passwd-file\n  args = username_format=%u {users}\n}}\n\
             userdb {{\n  driver = static\n  args = uid={user} gid={group} home={mail}/%u\n}}\n\
             protocol lmtp {{\n  postmaster_address = postmaster@example.org\n}}\n\
             namespace inbox {{\n  inbox = yes\n}}\n",
            users = path("users").display(),
            mail = path("mail").display(),
        )?;
        config += &match tls {
            Some((certificate, key)) => {
                format!("ssl = required\nssl_cert = <{}\nssl_key = <{}\n", certificate.display(), key.display())
            }
            None => "ssl = no\ndisable_plaintext_auth = no\n".to_owned(),
        };
        config += &services(&[
            ("imap-login", "imap", imap.port()),
            ("pop3-login", "pop3", pop3.port()),
            ("lmtp", "lmtp", lmtp.port()),
            ("managesieve-login", "sieve", sieve.port()),
        ])?;
        let server = start(folder.path(), &config, &[imap, pop3, lmtp, sieve])?;
        Ok(Some(Self { imap, pop3, lmtp, sieve, folder, _server: server }))
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        read(&self.folder.path().join("log"))
    }

    /// Everything it wrote, for messages.
    #[must_use]
    pub fn said(&self) -> String {
        said(self.folder.path())
    }
}

impl DovecotProxy {
    /// Starts one in front of these listeners of one host; `None` if it is not installed.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(imap_behind: SocketAddr, pop3_behind: SocketAddr) -> Result<Option<Self>> {
        if !is_installed()? {
            return Ok(None);
        }
        let folder = folder()?;
        let [imap, pop3] = [free_address(), free_address()];
        let mut config = base(folder.path());
        writeln!(
            config,
            "protocols = imap pop3\nssl = no\ndisable_plaintext_auth = no\n\
             passdb {{\n  driver = static\n  args = nopassword=y proxy=y host={} port=%{{if;%s;eq;imap;{};{}}}\n}}",
            imap_behind.ip(),
            imap_behind.port(),
            pop3_behind.port(),
        )?;
        config += &services(&[("imap-login", "imap", imap.port()), ("pop3-login", "pop3", pop3.port())])?;
        let server = start(folder.path(), &config, &[imap, pop3])?;
        Ok(Some(Self { imap, pop3, folder, _server: server }))
    }

    /// Everything it wrote, for messages.
    #[must_use]
    pub fn said(&self) -> String {
        said(self.folder.path())
    }
}

fn is_installed() -> Result<bool> {
    let is_there = Path::new(PROGRAM).exists() && Path::new("/usr/lib/dovecot/managesieve-login").exists();
    if !is_there {
        tool::skip(
            "dovecot is not installed (apt-get install dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-managesieved)",
        )?;
    }
    Ok(is_there)
}

/// A folder that Dovecot's own users may pass through.
fn folder() -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("laniakea-dovecot-").tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn base(folder: &Path) -> String {
    let folder = folder.display();
    let mut config = format!(
        "base_dir = {folder}/run\nstate_dir = {folder}/state\nlog_path = {folder}/log\nlisten = 127.0.0.1\n\
         auth_mechanisms = plain login\nauth_failure_delay = 0\n"
    );
    if !is_root() {
        let user = user_name();
        let _ = write!(
            config,
            "default_internal_user = {user}\ndefault_login_user = {user}\ndefault_internal_group = {}\n",
            group_name()
        );
    }
    config
}

/// Services on these ports alone.
fn services(list: &[(&str, &str, u16)]) -> Result<String> {
    let mut config = String::new();
    for (service, listener, port) in list {
        let extra = match *listener {
            "imap" => "  inet_listener imaps {\n    port = 0\n  }\n",
            "pop3" => "  inet_listener pop3s {\n    port = 0\n  }\n",
            "sieve" => "  inet_listener sieve_deprecated {\n    port = 0\n  }\n",
            _ => "",
        };
        write!(
            config,
            "service {service} {{\n  chroot =\n  inet_listener {listener} {{\n    port = {port}\n  }}\n{extra}}}\n"
        )?;
    }
    // Without root nothing can be shut in.
    config += "service anvil {\n  chroot =\n}\nservice stats {\n  chroot =\n}\n";
    Ok(config)
}

/// Who owns the mail.
fn mail_user(mail: &Path) -> Result<(String, String)> {
    if !is_root() {
        return Ok((user_name(), group_name()));
    }
    let (user, group, uid, gid) = MAIL_USER;
    chown(mail, Some(uid), Some(gid))?;
    Ok((user.to_owned(), group.to_owned()))
}

fn user_name() -> String {
    id("-un")
}

fn group_name() -> String {
    id("-gn")
}

fn id(flag: &str) -> String {
    let output = Command::new("id").arg(flag).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn start(folder: &Path, config: &str, listeners: &[SocketAddr]) -> Result<Server> {
    let file: PathBuf = folder.join("dovecot.conf");
    fs::write(&file, config)?;
    let checked = Command::new("doveconf").arg("-c").arg(&file).arg("-n").output().context("run doveconf")?;
    if !checked.status.success() {
        bail!("{}\n{config}", String::from_utf8_lossy(&checked.stderr));
    }
    Server::start(Command::new(PROGRAM).arg("-F").arg("-c").arg(&file), folder, listeners)
}
