//! What `up` prints when all is ready: what runs where, how to log in, what to try.

use laniakea_config::{Config, Service};

use super::{home::Home, plan::Plan, process::Process, provision};
use crate::{config::count, table::table};

/// The text.
pub fn banner(home: &Home, config: &Config, plan: &Plan, password: &str, processes: &[Process]) -> String {
    let mut text = format!(
        "\nLaniakea is up: {} of {}, {}, {} at {}\n\n",
        count(config.clusters.len(), "cluster"),
        count(usize::from(plan.members), "member"),
        count(config.routers.len(), "router"),
        count(usize::try_from(plan.accounts).unwrap_or(usize::MAX), "account"),
        config.domain,
    );
    text.push_str(&table("  ", &["PROCESS", "PID", "SERVES"], &rows(config, processes)));
    text.push_str(&format!(
        "\n\n  log in    user1@{0} … user{1}@{0}, password {password}\n",
        config.domain, plan.accounts
    ));
    text.push_str(&format!("  files     {} (endpoints.json, laniakea.yaml, ca.pem, logs/)\n", home.path().display()));
    text.push_str(&tries(home, config, password, processes));
    text.push_str("\nCtrl-C stops everything; the next start goes on with the same data.");
    text
}

fn rows(config: &Config, processes: &[Process]) -> Vec<Vec<String>> {
    let row = |process: &Process| {
        let pid = process.pid.map_or_else(String::new, |pid| pid.to_string());
        vec![process.name.clone(), pid, serves(config, &process.name)]
    };
    processes.iter().map(row).collect()
}

fn serves(config: &Config, name: &str) -> String {
    let listen = config
        .router(name)
        .map(|router| &router.listen)
        .or_else(|| config.member(name).map(|(_, member)| &member.listen));
    match (listen, &config.directory.embedded) {
        (Some(listen), _) => {
            let list: Vec<String> =
                listen.iter().map(|(service, address)| format!("{} {}", service.name(), address.port())).collect();
            list.join("  ")
        }
        (None, Some(embedded)) => match embedded.listen_tls {
            Some(tls) => format!("ldap {}  ldaps {}", embedded.listen.port(), tls.port()),
            None => format!("ldap {}", embedded.listen.port()),
        },
        (None, None) => String::new(),
    }
}

/// Three commands that show what this is about.
fn tries(home: &Home, config: &Config, password: &str, processes: &[Process]) -> String {
    let Some(router) = config.routers.first() else { return String::new() };
    let (Some(smtp), Some(imap)) = (router.listen.get(&Service::Smtp), router.listen.get(&Service::Imap)) else {
        return String::new();
    };
    let user = provision::address(&config.domain, 1);
    let member = config.clusters.first().and_then(|cluster| cluster.members.first());
    let pid = member.and_then(|member| processes.iter().find(|process| process.name == member.name)?.pid);
    let kill = match (member, pid) {
        (Some(member), Some(pid)) => format!(
            "\n  # kill a member, read again: another one has the account\n  kill -9 {pid}     # {}; `up` starts it again\n",
            member.name
        ),
        _ => String::new(),
    };
    format!(
        "
  # send a message
  printf 'Subject: first light\\r\\n\\r\\nHello from Laniakea.\\r\\n' | curl -sS smtp://{smtp} --mail-from me@example.net --mail-rcpt {user} -T -

  # read it
  curl -sS 'imap://{imap}/INBOX;MAILINDEX=1' --user '{user}:{password}'
{kill}
  # where does this account live, and what if its owner died?
  laniakea explain {user} --config {}
",
        home.config().display(),
    )
}
