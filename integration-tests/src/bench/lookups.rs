//! Look-ups: the embedded directory beside OpenLDAP, both with the same entries, on the same disk, asked by the same client.
//!
//! Both are filled the fastest way they have, stopped: ours by `laniakea account import --offline`, OpenLDAP by `slapadd -q`.

use std::{
    fs,
    io::{BufWriter, Write as _},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use ldap3::{Ldap, LdapConnAsync, Scope};
use rand::RngExt as _;
use serde::Serialize;
use tokio::task::JoinSet;

use super::{ProcessCpu, Spread, progress};
use crate::up::{Shape, Up};

/// Under what the accounts stand.
const BASE: &str = "dc=example,dc=org";
/// What our router asks for.
const ATTRIBUTES: [&str; 7] =
    ["entryUUID", "uid", "mail", "mailLocalAddress", "mailHost", "mailRoutingAddress", "laniakeaStatus"];
/// The administrator of the OpenLDAP server of this benchmark, on loopback, for its time.
const ADMIN: (&str, &str) = ("cn=admin,dc=example,dc=org", "bench");
/// How long a server may take to listen.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Lookups {
    /// Accounts in each directory.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub entries: u32,
    /// Connections of the client.
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Look-ups under way on each connection.
    #[arg(long, default_value_t = 16)]
    pub at_once: usize,
    /// Seconds for each server in each round.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Both are asked so often, in turn.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
}

/// What one server did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Side {
    /// Seconds it took to be filled.
    pub fill_s: f64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes resident after the look-ups.
    pub resident_bytes: u64,
    /// Look-ups per second, the median of the rounds.
    pub per_second: f64,
    /// Processor time of the server for each look-up, in microseconds, over all rounds.
    pub cpu_us: f64,
    /// Of the last round.
    pub spread: Option<Spread>,
}

/// Both, with the same entries.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The embedded directory.
    pub ours: Side,
    /// OpenLDAP with its `mdb` database.
    pub openldap: Side,
}

/// A server that is filled, and who may ask it.
struct Server {
    address: SocketAddr,
    pid: i32,
    admin: (String, String),
    data: PathBuf,
}

/// Fills both and asks them in turn.
///
/// # Errors
/// If a server cannot be started or filled, or a look-up does not find its account.
pub async fn measure(what: &Lookups) -> Result<Report> {
    let folder = tempfile::Builder::new().prefix("laniakea-bench-").tempdir()?;
    let ldif = folder.path().join("accounts.ldif");
    write_ldif(&ldif, what.entries)?;

    let mut up = Up::start_as(Shape { clusters: 1, members: 1, accounts: 1, ..Shape::default() }).await?;
    ensure!(up.endpoints.directory.base == BASE, "another base");
    up.stop()?;
    let begin = Instant::now();
    // Shows its own progress.
    up.say(&["account", "import", "--offline", &ldif.display().to_string()])?;
    let mut report = Report { ours: Side::default(), openldap: Side::default() };
    report.ours.fill_s = begin.elapsed().as_secs_f64();
    up.start_again().await?;
    let directory = &up.endpoints.directory;
    let ours = Server {
        address: directory.ldap,
        pid: directory.pid.context("a directory of our own")?,
        admin: (directory.admin_dn.clone(), directory.admin_password.clone()),
        data: up.data().join("directory"),
    };

    let mut slapd = Slapd::prepare(folder.path())?;
    let begin = Instant::now();
    slapd.fill(&ldif)?;
    report.openldap.fill_s = begin.elapsed().as_secs_f64();
    let openldap = slapd.start().await?;

    let bar = progress(2 * what.rounds as u64, "look-ups");
    let mut rates = [Vec::new(), Vec::new()];
    let mut used = [(Duration::ZERO, 0); 2];
    for _ in 0..what.rounds {
        for (index, (server, side)) in
            [(&ours, &mut report.ours), (&openldap, &mut report.openldap)].into_iter().enumerate()
        {
            let before = ProcessCpu::of(server.pid)?.whole;
            let times = ask(server, what).await?;
            used[index].0 += ProcessCpu::of(server.pid)?.whole.saturating_sub(before);
            used[index].1 += times.len();
            rates[index].push(times.len() as f64 / what.seconds);
            side.spread = Some(Spread::of(times));
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    for (index, (server, side)) in
        [(&ours, &mut report.ours), (&openldap, &mut report.openldap)].into_iter().enumerate()
    {
        rates[index].sort_by(f64::total_cmp);
        side.per_second = rates[index].get(rates[index].len() / 2).copied().unwrap_or_default();
        side.cpu_us = used[index].0.as_secs_f64() * 1e6 / used[index].1.max(1) as f64;
        side.disk_bytes = disk_bytes(&server.data)?;
        side.resident_bytes = resident_bytes(server.pid)?;
    }
    Ok(report)
}

fn address_of(number: u32) -> String {
    format!("firstname.lastname{number}@example.org")
}

fn write_ldif(path: &Path, entries: u32) -> Result<()> {
    let mut out = BufWriter::new(fs::File::create(path)?);
    writeln!(out, "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: example\n")?;
    writeln!(out, "dn: ou=bench,{BASE}\nobjectClass: organizationalUnit\nou: bench\n")?;
    let bar = progress(entries.into(), "entries written");
    for number in 0..entries {
        let address = address_of(number);
        writeln!(
            out,
            "dn: uid=firstname.lastname{number},ou=bench,{BASE}
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
uid: firstname.lastname{number}
cn: Firstname Lastname{number}
sn: Lastname{number}
mail: {address}
mailLocalAddress: {address}
mailHost: cluster-1
userPassword: {{SSHA}}df1uRQ0vdE0c0DZ2vF9MWzYPHqZzYWx0eThieQ==
"
        )?;
        if number.is_multiple_of(4096) {
            bar.set_position(number.into());
        }
    }
    bar.finish_and_clear();
    Ok(out.flush()?)
}

/// Random look-ups for the given time; how long each took.
async fn ask(server: &Server, what: &Lookups) -> Result<Vec<Duration>> {
    let over = Instant::now() + Duration::from_secs_f64(what.seconds);
    let entries = what.entries;
    let mut tasks = JoinSet::new();
    for _ in 0..what.connections {
        let (connection, mut ldap) = LdapConnAsync::new(&format!("ldap://{}", server.address)).await?;
        ldap3::drive!(connection);
        ldap.simple_bind(&server.admin.0, &server.admin.1).await?.success()?;
        for _ in 0..what.at_once {
            let ldap = ldap.clone();
            tasks.spawn(async move {
                let mut times = Vec::new();
                while Instant::now() < over {
                    let number = rand::rng().random_range(0..entries);
                    let begin = Instant::now();
                    look_up(ldap.clone(), number).await?;
                    times.push(begin.elapsed());
                }
                anyhow::Ok(times)
            });
        }
    }
    let mut times = Vec::new();
    while let Some(task) = tasks.join_next().await {
        times.extend(task??);
    }
    Ok(times)
}

async fn look_up(mut ldap: Ldap, number: u32) -> Result<()> {
    let address = address_of(number);
    let filter = format!("(|(mailLocalAddress={address})(mail={address}))");
    let (entries, _) = ldap.search(BASE, Scope::Subtree, &filter, ATTRIBUTES).await?.success()?;
    ensure!(entries.len() == 1, "{} entries for {address}", entries.len());
    Ok(())
}

/// OpenLDAP in a folder of its own, on a free port of loopback.
struct Slapd {
    folder: PathBuf,
    child: Option<Child>,
}

impl Slapd {
    fn prepare(folder: &Path) -> Result<Self> {
        let folder = folder.join("slapd");
        fs::create_dir_all(folder.join("data"))?;
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("directory").join("schema");
        ensure!(schema.exists(), "{} is missing", schema.display());
        let (data, (admin, password)) = (folder.join("data"), ADMIN);
        let configuration = format!(
            "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/misc.schema
modulepath /usr/lib/ldap
moduleload back_mdb
threads 8
database mdb
maxsize 34359738368
suffix {BASE}
rootdn {admin}
rootpw {password}
index objectClass,uid,mail,mailLocalAddress,mailHost,entryUUID eq
directory {}
",
            data.display()
        );
        fs::write(folder.join("slapd.conf"), configuration)?;
        Ok(Self { folder, child: None })
    }

    fn fill(&self, ldif: &Path) -> Result<()> {
        let mut command = Command::new("/usr/sbin/slapadd");
        command.arg("-q").arg("-f").arg(self.folder.join("slapd.conf")).arg("-l").arg(ldif).stdin(Stdio::null());
        let output = command.output().context("start slapadd (Debian package slapd)")?;
        ensure!(output.status.success(), "slapadd: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    async fn start(&mut self) -> Result<Server> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("/usr/sbin/slapd");
        command.args(["-d", "0", "-h", &format!("ldap://127.0.0.1:{port}"), "-f"]).arg(self.folder.join("slapd.conf"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let pid = i32::try_from(child.id())?;
        self.child = Some(child);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let begin = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            ensure!(begin.elapsed() < START_DEADLINE, "slapd does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let admin = (ADMIN.0.to_owned(), ADMIN.1.to_owned());
        Ok(Server { address, pid, admin, data: self.folder.join("data") })
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What the files of a folder take, holes left out.
fn disk_bytes(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        bytes +=
            if entry.file_type()?.is_dir() { disk_bytes(&entry.path())? } else { entry.metadata()?.blocks() * 512 };
    }
    Ok(bytes)
}

fn resident_bytes(pid: i32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib << 10)
}
