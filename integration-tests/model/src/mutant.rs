//! The rules, left out one at a time. A model that holds without a rule proves nothing about it.

use serde::Serialize;

use crate::size::{SMALL, Size};

/// One rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mutant {
    /// Rule 5: acknowledges after the sync, without a tick.
    AnswerWithoutTick,
    /// Rule 5: lets a tick count that began before the sync returned, as everybody does who looks at a lease first.
    TickBeforeSync,
    /// Rule 6: replies without a tick.
    ReplyWithoutTick,
    /// Rule 4: grants again what was neither released nor fenced.
    GrantUnfenced,
    /// Rule 3: grants before all who were listed have registered or are fenced.
    GrantUngathered,
    /// Rule 3: lists the living before the term is won.
    ListBeforeWinning,
    /// Rule 3: registers without what it owns.
    RegisterWithoutEstate,
    /// Rule 2: accepts the grant of an older term.
    AcceptOlderTerm,
    /// Rule 2: reads the term before its live directory is made.
    ReadTermFirst,
    /// Rule 4: accepts a grant that was sent on an earlier link.
    AcceptEarlierLink,
    /// Rule 4: gives back while changes are still being written.
    ReleaseUnfinished,
    /// Invariant I4: shows changes that are not validated.
    ShowUnvalidated,
    /// `FORMAT.md`, segment: trusts what stands beyond a sealed length.
    SkipSeal,
    /// `FORMAT.md`, opening 6: trusts the last batch to be on disk.
    SkipCarry,
    /// `FORMAT.md`, opening: after an unclean end, leaves the old segment unsealed until the first write.
    LinkLate,
    /// `FORMAT.md`, batch: writes the next batch before the one before is synced.
    WriteBeforeSync,
    /// `FORMAT.md`, opening 1: goes on although a segment has a higher epoch.
    IgnoreEpochs,
    /// `FORMAT.md`, snapshot: believes a snapshot of a place that is not in the chain.
    TrustEverySnapshot,
    /// `FORMAT.md`, deleting: deletes before a later batch was validated.
    DeleteAtOnce,
    /// Delivery ids: writes a change again that it has already.
    ForgetDeliveryIds,
}

impl Mutant {
    /// All of them.
    #[must_use]
    pub fn all() -> &'static [Self] {
        <Self as clap::ValueEnum>::value_variants()
    }

    /// The world in which it has to be found.
    #[must_use]
    pub fn size(self) -> Size {
        let [two_terms, losses, reads, deletion, _] = SMALL;
        match self {
            Self::AnswerWithoutTick | Self::TickBeforeSync | Self::GrantUnfenced | Self::AcceptEarlierLink => {
                Size { changes: 1, losses: false, ..losses }
            }
            Self::GrantUngathered | Self::RegisterWithoutEstate | Self::ListBeforeWinning | Self::AcceptOlderTerm => {
                two_terms
            }
            Self::ReadTermFirst => Size { members: 3, segments: 2, releases: false, ..two_terms },
            Self::ReplyWithoutTick | Self::ShowUnvalidated => reads,
            Self::ReleaseUnfinished
            | Self::SkipSeal
            | Self::SkipCarry
            | Self::LinkLate
            | Self::WriteBeforeSync
            | Self::IgnoreEpochs
            | Self::ForgetDeliveryIds => losses,
            Self::TrustEverySnapshot => deletion,
            Self::DeleteAtOnce => Size { changes: 3, losses: false, ..deletion },
        }
    }
}
