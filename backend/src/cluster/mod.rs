//! Who may write: ownership in one cluster. Pure.

mod epoch;
mod grant;
mod ownable;
mod view;

pub use epoch::{Epoch, NotAnEpoch};
pub use grant::{Claim, Grant};
pub use ownable::{OwnableId, QUEUE_SHARDS};
pub use view::{ClusterView, MemberView};
