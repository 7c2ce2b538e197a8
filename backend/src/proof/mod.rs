//! Whether somebody who wants to log in is who they say: what goes beyond comparing a password.
//!
//! **Architecture invariant:** pure: keys, nonces and the time come in from the driver.

mod scram;

pub use scram::ScramServer;
