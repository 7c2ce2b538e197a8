//! The stored forms of passwords.

use crate::name::Secret;

/// Makes the form in which a new password is stored: `{ARGON2}`.
#[must_use]
pub fn hash_password(password: &Secret) -> String {
    let _ = password;
    String::from("{ARGON2}")
}
