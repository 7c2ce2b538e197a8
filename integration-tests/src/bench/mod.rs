//! Benchmarks of one thing beside another, in one run on one machine: only their ratios mean anything.
//!
//! - [`claims`]: how fast a controller grants, and how long a claim takes beside a bare round trip over TCP.
//! - [`front`]: what a login, a command, a megabyte and an idle connection cost our router, nginx, HAProxy and Dovecot's proxy.
//! - [`growth`]: what an operation costs as a cluster grows, and what its controller has of that.
//! - [`lookups`]: the embedded directory beside OpenLDAP, with the same millions of entries.
//! - [`locks`]: the same mail under a file lock for every operation, and by one owner.
//! - [`takeover`]: a member that owns a hundred thousand accounts dies, and another claims them all at once.

pub mod claims;
mod cpu;
pub mod front;
pub mod growth;
pub mod locks;
pub mod lookups;
mod spread;
pub mod takeover;

pub use cpu::{ProcessCpu, own_cpu};
pub use spread::Spread;

use std::{net::SocketAddr, path::PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use laniakea_backend::drive::control::ControlSettings;
use laniakea_config::{Advertised, ClusterTiming, ProbePolicy};
use laniakea_directory::{ClusterName, MemberName};

/// The cluster of members that have nothing in front of their ownership.
const CLUSTER: &str = "bench";

/// A member of [`CLUSTER`] on loopback.
fn member_settings(storage: PathBuf, key: PathBuf, member: &str) -> ControlSettings {
    let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
    ControlSettings {
        cluster: ClusterName::new(CLUSTER),
        member: MemberName::new(member),
        storage,
        key,
        control: loopback(0),
        // Nobody is ever sent to the handoff address.
        advertise: Advertised { control: loopback(0), handoff: loopback(1) },
        probe: ProbePolicy::Off,
        timing: ClusterTiming::default(),
    }
}

/// Shows how far a measurement has come. Draws nothing where nobody watches.
fn progress(steps: u64, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:<40} {bar:30} {pos}/{len} {elapsed}");
    let bar = ProgressBar::new(steps).with_message(what.to_owned());
    style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
}
