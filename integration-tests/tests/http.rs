//! HTTP through a router: curl in both versions, cookies, members that die, a directory that is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use integration_tests::{
    client::http,
    tool,
    up::{Endpoint, Shape, Up},
};

const SESSION: &str = "/.well-known/jmap";

/// What curl printed: the answer's body, and behind it its status and version.
struct Curl {
    program: PathBuf,
    folder: PathBuf,
}

impl Curl {
    fn find(up: &Up) -> Result<Option<Self>> {
        Ok(tool::find("curl", "curl")?.map(|program| Self { program, folder: up.data() }))
    }

    fn ask(&self, arguments: &[&str], url: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(["-sS", "--noproxy", "*", "--max-time", "60", "-w", " %{http_code}/%{http_version}", "--cacert"]);
        let output = command.arg(self.folder.join("ca.pem")).args(arguments).arg(url).output()?;
        ensure!(output.status.success(), "{arguments:?} {url}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Logins that a member has seen by HTTP.
async fn logins(member: &Endpoint) -> Result<u64> {
    let metrics = http::get(member.metrics, "/metrics").await?.body;
    let lines = metrics.lines().filter(|line| {
        line.starts_with("laniakea_member_logins_total") && line.contains("\"http\"") && line.contains("\"here\"")
    });
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}

async fn all_logins(members: &[Endpoint]) -> Result<u64> {
    let mut sum = 0;
    for member in members {
        sum += logins(member).await?;
    }
    Ok(sum)
}

fn session_of(answer: &str, account: &str) -> Result<()> {
    let (json, _) = answer.rsplit_once(' ').context("an answer without a status")?;
    let session: serde_json::Value = serde_json::from_str(json).with_context(|| answer.to_owned())?;
    ensure!(session["username"] == account, "{session}");
    ensure!(session["capabilities"]["urn:ietf:params:jmap:core"].is_object(), "{session}");
    Ok(())
}

#[tokio::test]
async fn curl_reaches_the_members_of_each_account_in_every_version_of_http() -> Result<()> {
    let up = Up::start_as(Shape { clusters: 2, members: 2, accounts: 2, ..Shape::default() }).await?;
    let Some(curl) = Curl::find(&up)? else { return Ok(()) };
    let router = up.router()?;
    let (plain, tls) = (router.http.context("no http")?, router.https.context("no https")?.port());
    let (plain, tls) = (format!("http://{plain}"), format!("https://localhost:{tls}"));
    for number in [1, 2] {
        let account = up.account(number);
        let user = format!("{account}:{}", up.password());
        let (home, away) = (up.members(usize::try_from(number)?)?, up.members(3 - usize::try_from(number)?)?);
        let elsewhere = all_logins(away).await?;
        for (arguments, base, version) in [
            (["-u", &user, "--http1.1"], &plain, "200/1.1"),
            (["-u", &user, "--http2-prior-knowledge"], &plain, "200/2"),
            (["-u", &user, "--http1.1"], &tls, "200/1.1"),
            (["-u", &user, "--http2"], &tls, "200/2"),
        ] {
            let answer = curl.ask(&arguments, &format!("{base}{SESSION}"))?;
            ensure!(answer.ends_with(version), "{version}: {answer}\n{}", up.logs());
            session_of(&answer, &account)?;
            ensure!(answer.contains(&format!("\"apiUrl\":\"{base}/jmap/api\"")), "{answer}");
        }
        // All of them went to one member of the account's own cluster, and to no other.
        let seen = [logins(&home[0]).await?, logins(&home[1]).await?];
        ensure!(seen.contains(&4) && seen.contains(&0), "{seen:?}");
        ensure!(all_logins(away).await? == elsewhere, "asked away from home");
        let call = r#"{"using":["urn:ietf:params:jmap:core"],"methodCalls":[["Core/echo",{"a":1},"c"]]}"#;
        let answer = curl.ask(&["-u", &user, "-d", call], &format!("{tls}/jmap/api"))?;
        ensure!(answer.contains(r#"["Core/echo",{"a":1},"c"]"#), "{answer}");
    }
    cookies(&up, &curl, &tls)?;
    refusals(&up, &curl, &plain, &tls)?;
    outages(&up, &curl, &plain)
}

/// A browser that has logged in once is led back, by a cookie that says nothing and proves nothing.
fn cookies(up: &Up, curl: &Curl, tls: &str) -> Result<()> {
    let jar = up.data().join("cookies");
    let (jar, user) = (jar.to_str().context("a path")?, format!("{}:{}", up.account(1), up.password()));
    curl.ask(&["-u", &user, "-c", jar], &format!("{tls}{SESSION}"))?;
    let kept = std::fs::read_to_string(Path::new(jar))?;
    ensure!(kept.contains("#HttpOnly_localhost") && kept.contains("laniakea") && !kept.contains("user1"), "{kept}");
    let answer = curl.ask(&["-b", jar], &format!("{tls}{SESSION}"))?;
    ensure!(answer.contains(" 401/"), "{answer}");
    Ok(())
}

fn refusals(up: &Up, curl: &Curl, plain: &str, tls: &str) -> Result<()> {
    // Who shows nothing gets a page from anybody.
    ensure!(curl.ask(&[], &format!("{plain}/"))?.contains("This is Laniakea"));
    let answer = |user: &str| curl.ask(&["-u", user], &format!("{tls}{SESSION}"));
    let (wrong, nobody) = (answer(&format!("{}:guess", up.account(1)))?, answer("nobody@example.org:guess")?);
    ensure!(wrong == nobody && wrong.contains(" 401/"), "{wrong} {nobody}");
    for (arguments, status) in [
        (vec!["-X", "TRACE"], " 405/"),
        // The length does not count (RFC 9112 §6.3), and the page takes no form.
        (vec!["-H", "Transfer-Encoding: chunked", "-H", "Content-Length: 3", "-d", "abc", "--http1.1"], " 405/"),
    ] {
        let answer = curl.ask(&arguments, &format!("{plain}/"))?;
        ensure!(answer.contains(status), "{arguments:?}: {answer}");
    }
    Ok(())
}

/// A member that is killed is passed over; without the directory, what is known still works and the rest is told to wait.
fn outages(up: &Up, curl: &Curl, plain: &str) -> Result<()> {
    let user = format!("{}:{}", up.account(1), up.password());
    for member in up.members(1)? {
        up.kill(&member.name)?;
        let answer = curl.ask(&["-u", &user], &format!("{plain}{SESSION}"))?;
        let is_last = member.name == "cluster-1-b";
        ensure!(answer.contains(if is_last { " 503/" } else { " 200/" }), "{}: {answer}\n{}", member.name, up.logs());
    }
    // Whoever has no account there is served by the other cluster.
    ensure!(curl.ask(&[], &format!("{plain}/"))?.contains(" 200/"));
    let directory = up.endpoints.directory.pid.and_then(rustix::process::Pid::from_raw).context("no directory")?;
    rustix::process::kill_process(directory, rustix::process::Signal::KILL)?;
    let known = curl.ask(&["-u", &format!("{}:{}", up.account(2), up.password())], &format!("{plain}{SESSION}"))?;
    ensure!(known.contains(" 200/"), "{known}");
    let unknown = curl.ask(&["-u", "somebody@example.org:x", "-i", "--http1.1"], &format!("{plain}{SESSION}"))?;
    ensure!(unknown.contains(" 503/") && unknown.contains("retry-after: 5"), "{unknown}");
    Ok(())
}
