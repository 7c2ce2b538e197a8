//! What waits to be taken by the driver: text for the client, and questions.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::session::Output;

/// As much text as is made before the driver must take some. Answers that can be longer are made
/// in slices.
pub const SLICE_BYTES: usize = 64 * 1024;

/// Outputs in order; text is joined into large writes.
#[derive(Debug, Default)]
pub struct Outbox {
    text: Vec<u8>,
    questions: VecDeque<Output>,
    end: End,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// [`Output::Close`] is to follow the text.
    Closing,
    /// It was taken.
    Closed,
}

impl Outbox {
    /// Where text for the client is appended.
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Appends bytes that are owned already, without a copy if nothing stands before them.
    pub fn push_bytes(&mut self, bytes: &Bytes) {
        self.text.extend_from_slice(bytes);
    }

    /// Asks the driver for something.
    pub fn ask(&mut self, question: Output) {
        self.questions.push_back(question);
    }

    /// Ends the session once everything before is taken.
    pub fn close(&mut self) {
        if self.end == End::Open {
            self.end = End::Closing;
        }
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.end != End::Open
    }

    /// Whether no more should be made before the driver has taken some.
    pub fn is_full(&self) -> bool {
        self.text.len() >= SLICE_BYTES
    }

    /// The next output. Questions go first: whatever text says, it does not depend on them.
    pub fn take(&mut self) -> Option<Output> {
        if let Some(question) = self.questions.pop_front() {
            return Some(question);
        }
        if !self.text.is_empty() {
            return Some(Output::Write(Bytes::from(std::mem::take(&mut self.text))));
        }
        if self.end == End::Closing {
            self.end = End::Closed;
            return Some(Output::Close);
        }
        None
    }
}
