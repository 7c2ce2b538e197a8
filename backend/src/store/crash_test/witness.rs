//! What the outside world has seen of an ownable, and so what may never be taken back.

use std::fmt;

/// A broken promise.
#[derive(Debug)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that was promised or could be seen.
#[derive(Debug, Default, Clone)]
pub struct Witness {
    /// The changes that somebody was shown or promised, in order.
    visible: Vec<String>,
    /// The changes that were ever written or tried, in order.
    attempted: Vec<String>,
}

impl Witness {
    /// Notes what is about to be tried.
    pub fn attempt(&mut self, changes: &[String]) {
        self.attempted.extend_from_slice(changes);
    }

    /// Compares what an opening has found with all that was promised: nothing is missing, nothing was invented, nothing
    /// is there twice, and the order is the one of writing.
    pub fn compare(&self, found: &[String]) -> Result<(), Violation> {
        if !found.starts_with(&self.visible) {
            return Err(Violation(format!("shown {:?}, found {found:?}", self.visible)));
        }
        let mut attempts = self.attempted.iter();
        for change in found {
            if !attempts.any(|attempt| attempt == change) {
                return Err(Violation(format!("{change} was invented or is out of order in {found:?}")));
            }
        }
        Ok(())
    }

    /// Notes that somebody sees this.
    pub fn show(&mut self, found: &[String]) -> Result<(), Violation> {
        self.compare(found)?;
        self.visible = found.to_vec();
        Ok(())
    }
}
