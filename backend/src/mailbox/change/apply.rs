//! Applying a change: used live and on replay alike.

use thiserror::Error;

use super::super::account::Account;
use super::Change;
use crate::store::BodyRef;

/// Why a change does not fit the account. On replay: the log is damaged, and the account to be quarantined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a change does not fit the account")]
pub struct ApplyError;

impl Account {
    /// Applies a change; `body` is where the body of its record lies.
    ///
    /// # Errors
    /// If the change does not fit. The account is then no longer to be used.
    pub fn apply(&mut self, _change: &Change, _body: Option<BodyRef>) -> Result<(), ApplyError> {
        Err(ApplyError)
    }
}
