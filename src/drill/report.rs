//! What was measured, in figures: one line for each fault.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{
    fault::Fault,
    probe::{About, Kind, Whose},
};
use crate::table::table;

/// The outages of all runs of one fault.
#[derive(Debug)]
pub struct Figures {
    pub fault: Fault,
    pub runs: u32,
    /// For every run and every account that was hit, the longest outage of its probes; for a fault of the controller, that
    /// of new opens.
    outages: Vec<Duration>,
    /// The worst of each kind of probe.
    by_probe: BTreeMap<Kind, Duration>,
    /// The worst of each kind of probe at other members.
    bystanders: BTreeMap<Kind, Duration>,
}

impl Figures {
    pub fn new(fault: Fault) -> Self {
        Self { fault, runs: 0, outages: Vec::new(), by_probe: BTreeMap::new(), bystanders: BTreeMap::new() }
    }

    /// Adds what each series of a run saw; returns the worst outage of what was hit.
    pub fn add_run<'a>(&mut self, seen: impl Iterator<Item = (&'a About, Duration)>) -> Duration {
        self.runs += 1;
        // By account; nameless what was about all of them in turn.
        let mut worst: BTreeMap<&str, Duration> = BTreeMap::new();
        for (about, outage) in seen {
            let by_probe = match about.whose {
                Whose::Others => &mut self.bystanders,
                Whose::Victims => {
                    let account = worst.entry(&about.login).or_default();
                    *account = outage.max(*account);
                    &mut self.by_probe
                }
            };
            let of_kind = by_probe.entry(about.kind).or_default();
            *of_kind = outage.max(*of_kind);
        }
        let of_all = worst.remove("").unwrap_or_default();
        let before = self.outages.len();
        self.outages.extend(worst.values().map(|outage| of_all.max(*outage)));
        if self.outages.len() == before {
            self.outages.push(of_all);
        }
        self.outages.sort_unstable();
        worst.values().copied().fold(of_all, Duration::max)
    }

    /// The outage that this share of all, in percent, does not exceed (nearest rank).
    fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.outages.len() * percent).div_ceil(100);
        self.outages.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn worst(&self) -> Duration {
        self.percentile(100)
    }

    pub fn to_json(&self) -> Value {
        let mut value = json!({
            "fault": self.fault.to_string(),
            "runs": self.runs,
            "median_ms": self.percentile(50).as_millis(),
            "p99_ms": self.percentile(99).as_millis(),
            "worst_ms": self.worst().as_millis(),
            "samples": self.outages.len(),
            "target_ms": self.fault.target().as_millis(),
            "gate_ms": self.fault.gate().as_millis(),
        });
        let worst = |of: &BTreeMap<Kind, Duration>, prefix: &'static str| -> Vec<(String, Value)> {
            of.iter()
                .map(|(kind, worst)| (format!("{prefix}{}_worst_ms", kind.name()), json!(worst.as_millis())))
                .collect()
        };
        if let Some(fields) = value.as_object_mut() {
            fields.extend(worst(&self.by_probe, ""));
            fields.extend(worst(&self.bystanders, "bystanders_"));
        }
        value
    }

    fn row(&self) -> Vec<String> {
        let verdict = match self.worst() {
            worst if worst <= self.fault.target() => "yes",
            worst if worst <= self.fault.gate() => "late",
            _ => "NO",
        };
        vec![
            self.fault.to_string(),
            self.runs.to_string(),
            milliseconds(self.percentile(50)),
            milliseconds(self.percentile(99)),
            milliseconds(self.worst()),
            milliseconds(self.fault.target()),
            verdict.into(),
            list(&self.by_probe),
            list(&self.bystanders),
        ]
    }
}

/// All faults, for people.
pub fn describe(figures: &[Figures]) -> String {
    let rows: Vec<Vec<String>> = figures.iter().map(Figures::row).collect();
    let heads = ["FAULT", "RUNS", "MEDIAN", "P99", "WORST", "TARGET", "OK", "WORST BY PROBE", "BYSTANDERS"];
    table("", &heads, &rows)
}

fn list(worst: &BTreeMap<Kind, Duration>) -> String {
    let one = |(kind, worst): (&Kind, &Duration)| format!("{} {}", kind.name(), worst.as_millis());
    worst.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `1234 ms`, without fractions.
pub fn milliseconds(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn about(whose: Whose, kind: Kind, login: &str) -> About {
        About { whose, kind, login: login.into() }
    }

    #[test]
    fn an_account_counts_with_the_worst_of_its_probes() {
        let [login, a, b] = [(Kind::Login, ""), (Kind::Noop, "a"), (Kind::Noop, "b")]
            .map(|(kind, login)| about(Whose::Victims, kind, login));
        let other = about(Whose::Others, Kind::Noop, "c");
        let mut figures = Figures::new(Fault::KillMember);
        let seen = [(&login, ms(300)), (&a, ms(200)), (&b, ms(700)), (&other, ms(9))];
        assert_eq!(figures.add_run(seen.into_iter()), ms(700));
        figures.add_run([(&a, ms(1_600))].into_iter());
        let value = figures.to_json();
        assert_eq!(
            (&value["fault"], &value["runs"], &value["median_ms"], &value["p99_ms"], &value["worst_ms"]),
            (&json!("kill-member"), &json!(2), &json!(700), &json!(1600), &json!(1600)),
            "300, 700 and 1600"
        );
        assert_eq!((&value["bystanders_noop_worst_ms"], &value["login_worst_ms"]), (&json!(9), &json!(300)));
        assert!(figures.row().contains(&"late".to_owned()));
    }

    #[test]
    fn the_p99_of_many_is_not_the_worst() {
        let noop = about(Whose::Victims, Kind::Noop, "a");
        let mut figures = Figures::new(Fault::CutMember);
        for run in 1..=200 {
            figures.add_run([(&noop, ms(run))].into_iter());
        }
        assert_eq!((figures.percentile(50), figures.percentile(99), figures.worst()), (ms(100), ms(198), ms(200)));
    }
}
