//! The front end: login sessions, routing, handoff, forwarding.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
