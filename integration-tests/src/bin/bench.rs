//! Measures one thing beside another, on this machine, in one run.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use integration_tests::bench::{
    Spread,
    claims::{self, Claims},
    front::{self, Front},
    growth::{self, Growth},
    locks::{self, Keeper, Locks},
    lookups::{self, Lookups},
    takeover::{self, Takeover},
};

/// Benchmarks whose ratios are in BENCHMARKS.md. Build for release before believing them.
#[derive(Parser)]
#[command(after_help = AFTER_HELP)]
struct Bench {
    #[command(subcommand)]
    what: What,
    /// Print what was measured as JSON.
    #[arg(long, global = true)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  bench claims
  bench claims --members 8 --owned 1000000 --at-once 64 --at-once 1024 --json
  bench front --only laniakea --only nginx --idle 1000 --idle 8000
  bench growth --members 1 --members 8 --rounds 3
  bench takeover
  bench locks --storage /tmp
  bench locks --storage /mnt/a /mnt/b /mnt/c --contend
  bench lookups --entries 5000000";

#[derive(Subcommand)]
enum What {
    /// Claims per second of a controller's processor time; one claim beside a bare round trip over TCP.
    Claims(Claims),
    /// Our router beside nginx, HAProxy and Dovecot's proxy, in front of one back end, in the clear and inside TLS.
    Front(Front),
    /// Processor time per operation as the members of a cluster become more; the controller's share of it.
    Growth(Growth),
    /// The same mail under a file lock for every operation, and by one owner.
    Locks(Locks),
    /// The death of a member that owns a hundred thousand accounts, which another claims all at once.
    Takeover(Takeover),
    /// The embedded directory beside OpenLDAP, with the same entries: filling, size, look-ups.
    Lookups(Lookups),
    /// A process of `locks`.
    #[command(hide = true)]
    Keeper { settings: String },
    /// The back end of `front`.
    #[command(hide = true)]
    Null,
    /// The controller of `claims`.
    #[command(hide = true)]
    Controller { folder: PathBuf },
}

#[tokio::main]
async fn main() -> Result<()> {
    let bench = Bench::parse();
    match bench.what {
        What::Claims(what) => {
            let report = claims::measure(&what, &claims::this_program()?).await?;
            if bench.json { print_json(&report) } else { print_claims(&report) }
        }
        What::Front(what) => {
            let report = front::measure(&what, &claims::this_program()?).await?;
            if bench.json { print_json(&report) } else { print_front(&report) }
        }
        What::Null => front::be_null().await,
        What::Growth(what) => {
            let report = growth::measure(&what).await?;
            if bench.json { print_json(&report) } else { print_growth(&report) }
        }
        What::Locks(what) => {
            let report = locks::measure(&what, &claims::this_program()?).await?;
            if bench.json { print_json(&report) } else { print_locks(&report) }
        }
        What::Takeover(what) => {
            let report = takeover::measure(&what, &claims::this_program()?).await?;
            if bench.json { print_json(&report) } else { print_takeover(&report) }
        }
        What::Lookups(what) => {
            let report = lookups::measure(&what).await?;
            if bench.json { print_json(&report) } else { print_lookups(&report) }
        }
        What::Keeper { settings } => locks::keep(serde_json::from_str::<Keeper>(&settings)?).await,
        What::Controller { folder } => claims::be_controller(&folder).await,
    }
}

fn print_json(report: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(report)?);
    Ok(())
}

fn print_claims(report: &claims::Report) -> Result<()> {
    println!("{:<34} {:>10} {:>10} {:>8}", "one claim at a time", "p50 us", "p99 us", "ratio");
    for (what, singles) in [("over the link", &report.link), ("in a whole member", &report.member)] {
        let (bare, claim) = (singles.bare, singles.claim);
        println!("{:<34} {:>10.1} {:>10.1} {:>8.2}", what, claim.p50_us, claim.p99_us, singles.ratio);
        println!("{:<34} {:>10.1} {:>10.1} {:>8.2}", "  bare round trip over TCP", bare.p50_us, bare.p99_us, 1.0);
    }
    println!("\n{:>8} {:>12} {:>22} {:>10} {:>10}", "at once", "claims/s", "per controller core", "p50 us", "p99 us");
    for load in &report.loads {
        println!(
            "{:>8} {:>12.0} {:>22.0} {:>10.1} {:>10.1}",
            load.at_once, load.per_second, load.per_controller_core, load.claim.p50_us, load.claim.p99_us
        );
    }
    Ok(())
}

fn print_front(report: &[front::Measured]) -> Result<()> {
    let names = ["", "logins/s", "CPU us each", "NOOP p50 us", "p99 us", "MB/s", "CPU us/MB", "bytes idle"];
    println!("{}", names.map(|name| format!("{name:>14}")).concat());
    for one in report {
        let idle: Vec<String> = one.idle.iter().map(|(count, bytes)| format!("{bytes:.0} at {count}")).collect();
        let row = [
            format!("{}{}", one.front, if one.tls { ", TLS" } else { "" }),
            format!("{:.0}", one.logins),
            format!("{:.0}", one.login_cpu_us),
            format!("{:.1}", one.noop.p50_us),
            format!("{:.1}", one.noop.p99_us),
            format!("{:.0}", one.megabytes),
            format!("{:.0}", one.megabyte_cpu_us),
        ];
        println!("{}   {}", row.map(|cell| format!("{cell:>14}")).concat(), idle.join(", "));
    }
    Ok(())
}

fn print_growth(sizes: &[growth::Size]) -> Result<()> {
    let names =
        ["members", "operations/s", "CPU us each", "alone", "ratio", "to first", "controller", "desks", "ticks"];
    println!("{}", names.map(|name| format!("{name:>12}")).concat());
    for size in sizes {
        let share = |share: f64| format!("{:.2}%", share * 100.0);
        let row = [
            size.members.to_string(),
            format!("{:.0}", size.per_second),
            format!("{:.1}", size.cpu_us),
            format!("{:.1}", size.alone_us),
            format!("{:.3}", size.ratio),
            format!("{:.3}", size.ratio_to_first),
            share(size.controller_share),
            share(size.desks_share),
            share(size.ticks_share),
        ];
        println!("{}", row.map(|cell| format!("{cell:>12}")).concat());
    }
    Ok(())
}

fn print_takeover(report: &takeover::Report) -> Result<()> {
    let takeover::Report { granted, all_s, longest_claim_ms, longest_tick_ms, controller_cpu_ms } = report;
    println!("granted to another after {:.0} ms (p50), {:.0} ms (p99)", granted.p50_us / 1e3, granted.p99_us / 1e3);
    println!("all granted after {all_s:.2} s, for {controller_cpu_ms:.0} ms of the controller's processor time");
    println!("a bystander waited {longest_claim_ms:.0} ms for a claim and {longest_tick_ms:.0} ms for a tick at most");
    Ok(())
}

fn print_locks(report: &[locks::Kept]) -> Result<()> {
    println!(
        "{:<14} {:>14} {:>17} {:>16} {:>16} {:>13}",
        "", "operations/s", "(of all rounds)", "delivery p50 us", "delivery p99 us", "owner faster"
    );
    for kept in report {
        let name = format!("{:?}", kept.scheme);
        let range = format!("{:.0}-{:.0}", kept.range[0], kept.range[1]);
        let ratio = kept.owner_is_faster.map_or_else(String::new, |ratio| format!("{ratio:.2} x"));
        println!(
            "{name:<14} {:>14.0} {range:>17} {:>16.0} {:>16.0} {ratio:>13}",
            kept.per_second, kept.delivery.p50_us, kept.delivery.p99_us
        );
    }
    Ok(())
}

fn print_lookups(report: &lookups::Report) -> Result<()> {
    let columns = ["filled in s", "MiB on disk", "MiB resident", "look-ups/s", "CPU us each", "p50 us", "p99 us"];
    println!("{:<10}{}", "", columns.map(|column| format!("{column:>14}")).concat());
    for (name, side) in [("ours", &report.ours), ("OpenLDAP", &report.openldap)] {
        let spread = side.spread.unwrap_or(Spread { p50_us: 0.0, p99_us: 0.0 });
        let sizes = [side.disk_bytes, side.resident_bytes].map(|bytes| bytes as f64 / f64::from(1 << 20));
        let numbers = [side.fill_s, sizes[0], sizes[1], side.per_second, side.cpu_us, spread.p50_us, spread.p99_us];
        println!("{name:<10}{}", numbers.map(|number| format!("{number:>14.1}")).concat());
    }
    let (ours, theirs) = (&report.ours, &report.openldap);
    let ratio = |one: f64, other: f64| if other > 0.0 { one / other } else { 0.0 };
    println!(
        "ours in theirs: {:.2} x the look-ups/s, {:.2} x the processor time of each, {:.2} x the time to fill",
        ratio(ours.per_second, theirs.per_second),
        ratio(ours.cpu_us, theirs.cpu_us),
        ratio(ours.fill_s, theirs.fill_s)
    );
    Ok(())
}
