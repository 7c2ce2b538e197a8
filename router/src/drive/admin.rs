//! The router's side of the admin API: what it is doing, as JSON.

use std::{pin::Pin, sync::Arc};

use hyper::{Method, StatusCode};
use serde_json::json;

use super::RouterContext;
use crate::observe::{AdminRequest, AdminResponse, AdminRoutes};

/// Answers for one router.
pub(super) struct RouterAdmin(pub(super) Arc<RouterContext>);

impl AdminRoutes for RouterAdmin {
    fn handle(&self, request: AdminRequest) -> Pin<Box<dyn Future<Output = AdminResponse> + Send + '_>> {
        let response = match (&request.method, request.path.as_str()) {
            (&Method::GET, "status") => self.status(),
            _ => AdminResponse::error(StatusCode::NOT_FOUND, "no such resource; see /admin/v1/status"),
        };
        Box::pin(std::future::ready(response))
    }
}

impl RouterAdmin {
    fn status(&self) -> AdminResponse {
        let context = &self.0;
        AdminResponse::ok(json!({
            "router": context.name,
            "clients": context.gate.clients(),
            "directory_degraded": context.directory.is_degraded(),
            "doubted_members": context.routes.doubted(),
            "draining": context.shutdown.is_cancelled(),
        }))
    }
}
