//! What a process tells about itself: logs, metrics, health, and the admin endpoint. For every role.

mod http;
mod log;
mod metrics;

pub use http::{Admin, AdminRequest, AdminResponse, AdminRoutes, AdminToken, serve_http};
pub use log::install_logging;
pub use metrics::{MetricsHandle, install_metrics};
