//! The front ends, each set up as its makers advise for many connections, on free ports.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use laniakea_config::{Config, Role};
use laniakea_directory::{Admin, ClusterName, ClusterRecord};
use laniakea_test_ports::free_address;
use rustix::process::{Resource, getrlimit};
use tempfile::TempDir;

use super::{FrontEnd, null::Ports, processes::Tree};
use crate::{
    peers::{Server, is_root},
    up::{Shape, Up},
};

/// Accounts that log in at each front end. Our router has twice as many: the first are at home in a cluster, as its own members
/// serve them, the others at a server of another kind.
pub(super) const ACCOUNTS: u32 = 20;
/// The cluster whose one member is the back end.
const CLUSTER: &str = "null";

/// Everything that runs.
pub(super) struct Fronts {
    pub(super) all: Vec<FrontEnd>,
    /// What signed the certificate of all of them.
    pub(super) authority: PathBuf,
    _up: Up,
    _servers: Vec<(Server, TempDir)>,
    _null: Null,
}

/// The back end's process.
struct Null(Child);

impl Drop for Null {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Fronts {
    /// Starts the back end and every front end that is installed.
    pub(super) async fn start(program: &Path) -> Result<Self> {
        let mut child =
            Command::new(program).arg("null").stdout(Stdio::piped()).spawn().context("start the back end")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let null = Null(child);
        let ports: Ports = serde_json::from_str(&line).context("the back end's ports")?;

        let shape = Shape { clusters: 1, members: 1, accounts: 2 * ACCOUNTS, ..Shape::default() };
        let mut up = Up::start_as(shape).await?;
        let tls = up.data().join("tls");
        let (certificate, key) = (tls.join("server.pem"), tls.join("server.key"));
        router(&mut up, ports).await?;
        let router = up.router()?;
        let (plain, processes) = (router.imap()?, Tree(u32::try_from(router.pid).ok()));
        let direct = ([127, 0, 0, 1], ports.imap).into();
        let mut all = vec![
            FrontEnd { name: "direct", plain: direct, tls: None, processes: Tree(None), first_account: 1 },
            FrontEnd { name: "laniakea", plain, tls: router.imaps, processes, first_account: 1 },
            FrontEnd { name: "elsewhere", plain, tls: router.imaps, processes, first_account: ACCOUNTS + 1 },
        ];
        let mut servers = Vec::new();
        for (name, start) in
            [("nginx", nginx as fn(&Path, &Site<'_>) -> Result<Command>), ("haproxy", haproxy), ("dovecot", dovecot)]
        {
            let folder = tempfile::Builder::new().prefix("laniakea-bench-").tempdir()?;
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
            let (plain, tls) = (free_address(), free_address());
            let site = Site { plain, tls, ports, certificate: &certificate, key: &key };
            let mut command = start(folder.path(), &site)?;
            let server = match Server::start(&mut command, folder.path(), &[site.plain, site.tls]) {
                Ok(server) => server,
                Err(error) => {
                    eprintln!("{name} is left out: {error:#}");
                    continue;
                }
            };
            let processes = Tree(Some(server.pid()));
            all.push(FrontEnd { name, plain: site.plain, tls: Some(site.tls), processes, first_account: 1 });
            servers.push((server, folder));
        }
        let authority = up.endpoints.ca_certificate.clone();
        Ok(Self { all, authority, _up: up, _servers: servers, _null: null })
    }
}

/// What a front end is told.
struct Site<'a> {
    plain: SocketAddr,
    tls: SocketAddr,
    ports: Ports,
    certificate: &'a Path,
    key: &'a Path,
}

/// Lets the accounts of our router live at the back end: half of them as at a member, half as at a server of another kind.
async fn router(up: &mut Up, ports: Ports) -> Result<()> {
    let Ports { imap, handoff, .. } = ports;
    let foreign = format!("\nforeign:\n  - hosts: [127.0.0.1]\n    imap: {imap}\n    tls: off\n");
    // All but the few descriptors that the process itself needs.
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or_default();
    let limits = format!("\nlimits:\n  connections_max: {}\n", files.saturating_sub(files / 100).max(1000));
    up.reconfigure(|text| text.replacen("\nlimits:\n", &limits, 1) + &foreign).await?;
    let config = Config::load_for(&up.config(), Role::Command)?;
    let admin = Admin::connect(&config.directory).await?;
    let record = ClusterRecord { name: ClusterName::new(CLUSTER), members: vec![format!("127.0.0.1:{handoff}")] };
    admin.put_cluster(&record).await?;
    for number in 1..=2 * ACCOUNTS {
        let home = if number <= ACCOUNTS { CLUSTER } else { "127.0.0.1" };
        up.say(&["account", "set", &up.account(number), "--cluster", home])?;
    }
    Ok(())
}

fn nginx(folder: &Path, site: &Site<'_>) -> Result<Command> {
    let path = folder.display();
    let user = if is_root() { "user nobody nogroup;\n" } else { "" };
    let (certificate, key) = (site.certificate.display(), site.key.display());
    let Site { plain, tls, ports: Ports { auth, .. }, .. } = site;
    let config = format!(
        "load_module /usr/lib/nginx/modules/ngx_mail_module.so;\n{user}daemon off;\nworker_processes 2;\n\
         pid {path}/pid;\nerror_log {path}/log warn;\n\
         events {{ worker_connections 32768; }}\n\
         mail {{\n  auth_http 127.0.0.1:{auth}/;\n  proxy_buffer 128k;\n  timeout 30m;\n  proxy_timeout 30m;\n\
           imap_capabilities IMAP4rev1;\n  ssl_certificate {certificate};\n  ssl_certificate_key {key};\n\
           ssl_session_cache off;\n  ssl_session_tickets off;\n\
           server {{ listen {plain}; protocol imap; }}\n  server {{ listen {tls} ssl; protocol imap; }}\n}}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(file).arg("-e").arg(folder.join("log"));
    Ok(command)
}

fn haproxy(folder: &Path, site: &Site<'_>) -> Result<Command> {
    // In a folder of its own: what a server wrote is shown when it does not start.
    let both = folder.join("tls").join("both.pem");
    fs::create_dir(folder.join("tls"))?;
    fs::write(&both, [fs::read(site.certificate)?, fs::read(site.key)?].concat())?;
    let Site { plain, tls, ports: Ports { imap, .. }, .. } = site;
    let config = format!(
        "global\n  maxconn 9920\n  maxpipes 50\n  nbthread 2\n  tune.ssl.cachesize 0\ndefaults\n  mode tcp\n  option splice-auto\n\
         timeout connect 5s\n  timeout client 30m\n  timeout server 30m\n\
         listen imap\n  bind {plain}\n  bind {tls} ssl crt {} no-tls-tickets\n  server null 127.0.0.1:{imap}\n",
        both.display()
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn dovecot(folder: &Path, site: &Site<'_>) -> Result<Command> {
    let path = folder.display();
    let Site { plain, tls, ports: Ports { imap, .. }, .. } = site;
    let config = format!(
        "base_dir = {path}/run\nstate_dir = {path}/state\nlog_path = {path}/log\nlisten = 127.0.0.1\nprotocols = imap\n\
         auth_mechanisms = plain login\ndisable_plaintext_auth = no\nssl = yes\nssl_cert = <{}\nssl_key = <{}\n\
         passdb {{\n  driver = static\n  args = nopassword=y proxy=y host=127.0.0.1 port={imap}\n}}\n\
         service auth {{\n  client_limit = 30000\n}}\nservice anvil {{\n  client_limit = 30000\n}}\n\
         service imap-login {{\n  service_count = 0\n  process_min_avail = 2\n  process_limit = 2\n  client_limit = 12000\n\
         vsz_limit = 2G\n  inet_listener imap {{\n    port = {}\n  }}\n  inet_listener imaps {{\n    port = {}\n    ssl = yes\n  }}\n}}\n",
        site.certificate.display(),
        site.key.display(),
        plain.port(),
        tls.port()
    );
    let file = folder.join("dovecot.conf");
    fs::write(&file, config)?;
    let mut command = Command::new("/usr/sbin/dovecot");
    command.arg("-F").arg("-c").arg(file);
    Ok(command)
}
