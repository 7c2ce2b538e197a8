//! Every process says how it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use anyhow::{Result, ensure};
use integration_tests::{
    client::{Imap, http},
    up::{Shape, Up},
};

#[tokio::test]
async fn every_process_tells_metrics_health_and_readiness() -> Result<()> {
    let up = Up::start_as(Shape { accounts: 2, ..Shape::default() }).await?;
    Imap::login(up.router()?.imap()?, &up.account(1), up.password()).await?.command("LOGOUT").await?;
    let config = std::fs::read_to_string(up.config())?;
    let directory = config.lines().find_map(|line| line.trim().strip_prefix("metrics: ")).unwrap().parse()?;
    let mut all = vec![("directory".to_owned(), directory)];
    all.extend(up.processes().map(|process| (process.name.clone(), process.metrics)));
    for (name, address) in all {
        for path in ["/healthz", "/readyz", "/metrics"] {
            let answer = http::get(address, path).await?;
            ensure!(answer.status == 200, "{name}{path}: {} {}", answer.status, answer.body);
        }
        ensure!(http::get(address, "/admin/v1/status").await?.status / 100 == 4, "{name} tells strangers its state");
    }
    for process in up.processes() {
        let text = http::get(process.metrics, "/metrics").await?.body;
        ensure!(text.lines().any(|line| line.starts_with("laniakea_")), "{} counts nothing:\n{text}", process.name);
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            ensure!(line.starts_with("laniakea_"), "{}: a metric without our name: {line}", process.name);
        }
    }
    Ok(())
}
