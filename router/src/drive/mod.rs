//! Sockets, clocks and tasks: carries out what the pure parts decide.
//!
//! Members use [`listener`], [`tls`], [`stream`], [`prelogin`], [`login`] and [`mod@splice`] as routers do. A router is
//! [`run`]; everything it shares between connections is the [`RouterContext`].
//!
//! **Architecture invariant:** the only layer with sockets, files, clocks and tasks. Every wait has a deadline; every task
//! ends when its connection does or when the process drains.

mod admin;
pub mod arrival;
mod auth_http;
mod client;
pub mod context;
pub mod dial;
pub mod foreign;
pub mod handoffs;
pub mod header;
pub mod http;
pub mod listener;
pub mod login;
pub mod mail;
pub mod prelogin;
pub mod reach;
pub mod router;
pub mod routes;
pub mod splice;
pub mod stream;
mod succession;
#[cfg(test)]
mod test_context;
#[cfg(test)]
mod test_tls;
pub mod tls;
mod upkeep;
mod vigil;

pub use context::{Client, RouterContext};
pub use dial::Dialler;
pub use foreign::ForeignServers;
pub use handoffs::{HandoffTls, Handoffs};
pub use prelogin::PreLogin;
pub use router::{Begin, Orders, RunError, run};
pub use routes::Routes;
pub use splice::{SpliceReport, splice};
pub use stream::Stream;
pub use tls::ServerTls;
pub use upkeep::{reload, watch};
