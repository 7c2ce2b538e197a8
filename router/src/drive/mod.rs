//! Sockets, clocks and tasks: carries out what the pure parts decide.
//!
//! Members use [`listener`], [`tls`], [`stream`], [`prelogin`], [`login`] and [`splice`] as routers do. A router is
//! [`run`]; everything it shares between connections is the [`RouterContext`].
//!
//! **Architecture invariant:** the only layer with sockets, files, clocks and tasks. Every wait has a deadline; every task
//! ends when its connection does or when the process drains.

pub mod context;
pub mod dial;
pub mod listener;
pub mod mail;
pub mod routes;
pub mod stream;
pub mod tls;

pub use context::{Client, RouterContext};
pub use dial::dial;
pub use routes::Routes;
pub use stream::Stream;
pub use tls::ServerTls;
