//! Addresses, login names and secrets, as values that cannot be malformed.

mod address;
mod login;
mod secret;

pub use address::Address;
pub use login::LoginName;
pub use secret::Secret;

#[cfg(test)]
mod name_test;
