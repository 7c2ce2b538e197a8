//! Structured logs on standard error.
//!
//! `LANIAKEA_LOG` filters as `RUST_LOG` does elsewhere (default `info`); `LANIAKEA_LOG_FORMAT=json` prints one JSON object
//! per line. Sessions run inside a span with the field `session`, the same in router, member and owner.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Begins logging for this process; later calls change nothing.
pub fn install_logging(role: &str, name: &str) {
    let filter = EnvFilter::try_from_env("LANIAKEA_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let json = std::env::var("LANIAKEA_LOG_FORMAT").is_ok_and(|format| format.eq_ignore_ascii_case("json"));
    // An error means that a test or an embedding program has installed its own; that one stays.
    let _ = if json { builder.json().flatten_event(true).with_span_list(false).try_init() } else { builder.try_init() };
    tracing::info!(role, name, version = env!("CARGO_PKG_VERSION"), "process begins");
}
