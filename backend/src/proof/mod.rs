//! Whether somebody who wants to log in is who they say: what goes beyond comparing a password.
//!
//! **Architecture invariant:** pure: keys, nonces and the time come in from the driver.

mod scram;
mod token;

pub use scram::ScramServer;
pub use token::{KeysError, Tokens};
