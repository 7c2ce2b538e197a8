//! What the connections of a router share, for tests that need all of it.

use std::time::Duration;

use laniakea_config::Limits;
use laniakea_directory::Directory;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{RouterContext, Routes, ServerTls, listener::Gate, mail::Budget, test_tls::TestTls};

/// Few of everything, and no wait that ends before a test does.
pub fn limits() -> Limits {
    Limits {
        message_bytes_max: 1 << 20,
        recipients_max: 10,
        connections_per_address_max: 40,
        connections_max: 100,
        login: Duration::from_secs(60),
        idle: Duration::from_secs(60),
        memory_bytes_max: 1 << 24,
    }
}

/// A router that trusts nobody and offers nothing that needs a setting.
pub fn context(directory: Directory, files: &TestTls) -> RouterContext {
    let limits = limits();
    RouterContext {
        name: "router-1".into(),
        domain: "mail.example.org".into(),
        routes: Routes::new(directory.clone(), Default::default()),
        directory,
        mechanisms: Default::default(),
        foreign: Default::default(),
        smarthost: Default::default(),
        tls: ServerTls::load(&files.settings()).unwrap(),
        memory: Budget::new(limits.memory_bytes_max),
        gate: Gate::new(limits.connections_max, 2, limits.connections_per_address_max),
        limits,
        suspicion: Default::default(),
        trust_from: Vec::new(),
        proxy_from: Vec::new(),
        shutdown: CancellationToken::new(),
        drained: CancellationToken::new(),
        tasks: TaskTracker::new(),
    }
}
