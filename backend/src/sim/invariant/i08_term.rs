//! I8: a member acts only for the highest term it has adopted, and adopts every term it is told of. Checked at every grant
//! that a process takes, against what the network and the filesystem told it, not against what it says of itself.

use std::collections::BTreeMap;

use crate::{
    cluster::{ArbiterAnswer, Epoch, FenceOutcome, Message, OwnableId, TermRecord},
    sim::world::ProcessId,
};

/// The highest term each process was told of.
#[derive(Debug, Default)]
pub struct Terms(BTreeMap<ProcessId, u64>);

impl Terms {
    /// A process has received a message on a link that it has.
    pub fn on_received(&mut self, process: ProcessId, message: &Message) {
        self.on_told(
            process,
            match message {
                Message::News(record) => Some(record),
                Message::Ping(ping) => ping.health.term.as_ref(),
                Message::Pong(pong) => pong.health.term.as_ref(),
                _ => None,
            },
        );
    }

    /// The filesystem has answered a process.
    pub fn on_answered(&mut self, process: ProcessId, answer: &ArbiterAnswer) {
        self.on_told(
            process,
            match answer {
                ArbiterAnswer::Surveyed(survey) => survey.term.as_ref(),
                ArbiterAnswer::Term(record)
                | ArbiterAnswer::Fenced { outcome: FenceOutcome::Superseded(record), .. }
                | ArbiterAnswer::DrainsRecorded { superseded: Some(record), .. } => Some(record),
                _ => None,
            },
        );
    }

    fn on_told(&mut self, process: ProcessId, record: Option<&TermRecord>) {
        let known = self.0.entry(process).or_default();
        *known = record.map_or(0, |record| record.term).max(*known);
    }

    pub fn on_grant(&self, process: ProcessId, ownable: OwnableId, epoch: Epoch) {
        let told = self.0.get(&process).copied().unwrap_or_default();
        assert!(epoch.term >= told, "a grant is of the highest term: {ownable} {epoch} in term {told} (I8)");
    }
}
