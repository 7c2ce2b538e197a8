//! The pass over a message's bytes.

use super::summary::{Content, Envelope, Part, Span, Summary};

/// Walks a message.
pub(super) fn walk(message: &[u8]) -> Summary {
    let end = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let leaf = Part {
        header: Span { start: 0, end: 0 },
        body: Span { start: 0, end },
        lines: 0,
        media_type: "text".into(),
        subtype: "plain".into(),
        parameters: Vec::new(),
        id: None,
        description: None,
        encoding: "7BIT".into(),
        md5: None,
        disposition: None,
        languages: Vec::new(),
        location: None,
        content: Content::Leaf,
    };
    Summary { envelope: Envelope::default(), structure: leaf }
}
