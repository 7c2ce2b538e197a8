//! Counters, gauges and histograms, rendered for Prometheus.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of every histogram in seconds: from a look-up in a cache to a login that waits for a takeover.
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// How often histograms are drained; without it they grow for ever.
const UPKEEP: Duration = Duration::from_secs(5);

/// Renders what has been counted.
#[derive(Clone)]
pub struct MetricsHandle(PrometheusHandle);

/// Begins counting for this process.
///
/// Call it once, inside a tokio runtime. If another recorder is installed (in tests), that one counts, and the handle
/// renders nothing.
#[must_use]
pub fn install_metrics() -> MetricsHandle {
    // Without buckets a histogram becomes a summary, which cannot be added up over processes.
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS);
    let recorder = builder.unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder();
    let handle = MetricsHandle(recorder.handle());
    if metrics::set_global_recorder(recorder).is_ok() {
        tokio::spawn(keep_up(handle.clone()));
    }
    handle
}

impl MetricsHandle {
    /// Returns everything in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }
}

async fn keep_up(handle: MetricsHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.0.run_upkeep();
    }
}
