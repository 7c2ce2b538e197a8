//! Every delivery that was acknowledged, and whether it is there: once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{
    probe::{
        Delivery, Login,
        client::{imap, open_inbox},
    },
    site::Site,
};

/// How long what was queued may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// How often it is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The acknowledged deliveries of all runs.
#[derive(Default)]
pub struct Ledger {
    accepted: BTreeSet<Delivery>,
}

/// What became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    pub accepted: usize,
    /// Acknowledged, and not there.
    pub lost: usize,
    /// There more than once, acknowledged or not.
    pub doubled: usize,
}

impl Ledger {
    pub fn note(&mut self, accepted: Vec<Delivery>) {
        self.accepted.extend(accepted);
    }

    /// Looks into every account, until all is there or may be given up.
    pub async fn balance(&self, site: &Site, accounts: u32) -> anyhow::Result<Balance> {
        let begin = Instant::now();
        loop {
            let mut found = Vec::new();
            for number in 1..=accounts {
                let login = site.imap(number);
                found.extend(messages(&login).await.with_context(|| format!("look into {}", login.login))?);
            }
            let balance = weigh(&self.accepted, found);
            if balance.lost == 0 || begin.elapsed() > ARRIVES_WITHIN {
                return Ok(balance);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn weigh(accepted: &BTreeSet<Delivery>, found: Vec<Delivery>) -> Balance {
    let mut copies: BTreeMap<Delivery, usize> = BTreeMap::new();
    for delivery in found {
        *copies.entry(delivery).or_default() += 1;
    }
    Balance {
        accepted: accepted.len(),
        lost: accepted.iter().filter(|delivery| !copies.contains_key(delivery)).count(),
        doubled: copies.values().filter(|count| **count > 1).count(),
    }
}

async fn messages(login: &Login) -> std::io::Result<Vec<Delivery>> {
    let mut inbox = open_inbox(&login.addresses, &login.login, &login.password).await?;
    let lines = imap(&mut inbox, "FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]").await?;
    let names = lines.iter().filter_map(|line| line.strip_prefix("Subject: "));
    Ok(names.map(|name| Delivery { login: login.login.clone(), name: name.to_owned() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(name: &str) -> Delivery {
        Delivery { login: "user1@example.org".into(), name: name.into() }
    }

    #[test]
    fn what_is_missing_and_what_is_there_twice_is_counted() {
        let accepted = ["a", "b", "c"].map(delivery).into();
        let balance = weigh(&accepted, ["a", "c", "c", "unacknowledged"].map(delivery).into());
        assert_eq!(balance, Balance { accepted: 3, lost: 1, doubled: 1 });
    }
}
