//! Summaries as bytes: the parts as a flat list, each before those inside it, so that reading one back needs no
//! recursion whatever the bytes say.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::octets::Octets;
use super::summary::{Content, Disposition, Envelope, Parameter, Part, Span, Summary};
use super::walk::DEPTH_MAX;

/// The format of an encoded summary. Any change of the types below is a new version; the old ones stay readable.
const SUMMARY_VERSION: u8 = 1;

/// Why bytes are no encoded summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("decode the summary of a message")]
pub struct DecodeError;

#[derive(Serialize, Deserialize)]
struct StoredSummary {
    envelope: Envelope,
    parts: Vec<StoredPart>,
}

#[derive(Serialize, Deserialize)]
struct StoredPart {
    header: Span,
    body: Span,
    lines: u32,
    media_type: Octets,
    subtype: Octets,
    parameters: Vec<Parameter>,
    encoding: Octets,
    /// Most parts have none of these.
    rare: Option<Box<StoredRare>>,
    content: StoredContent,
}

#[derive(Serialize, Deserialize, PartialEq, Default)]
struct StoredRare {
    id: Option<Octets>,
    description: Option<Octets>,
    md5: Option<Octets>,
    disposition: Option<Disposition>,
    languages: Vec<Octets>,
    location: Option<Octets>,
}

#[derive(Serialize, Deserialize)]
enum StoredContent {
    Leaf,
    /// So many parts follow.
    Multipart(u32),
    /// One part follows.
    Message(Box<Envelope>),
}

impl Summary {
    /// The summary as it is stored in front of the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        flatten(&self.structure, &mut parts);
        let stored = StoredSummary { envelope: self.envelope.clone(), parts };
        // Writing to memory cannot fail, and every type here can be written.
        postcard::to_extend(&stored, vec![SUMMARY_VERSION]).unwrap_or_default()
    }

    /// Reads a stored summary.
    ///
    /// # Errors
    /// If the bytes are not exactly one summary of a version we know, no deeper than any we made.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Some((&SUMMARY_VERSION, encoded)) = bytes.split_first() else {
            return Err(DecodeError);
        };
        let Ok((stored, [])) = postcard::take_from_bytes::<StoredSummary>(encoded) else {
            return Err(DecodeError);
        };
        let structure = unflatten(stored.parts).ok_or(DecodeError)?;
        Ok(Self { envelope: stored.envelope, structure })
    }
}

/// Adds a part and those inside it. As deep as the walker goes, which is limited.
fn flatten(part: &Part, parts: &mut Vec<StoredPart>) {
    let content = match &part.content {
        Content::Leaf => StoredContent::Leaf,
        Content::Multipart(children) => StoredContent::Multipart(u32::try_from(children.len()).unwrap_or(u32::MAX)),
        Content::Message(inner) => StoredContent::Message(Box::new(inner.0.clone())),
    };
    parts.push(store_part(part, content));
    match &part.content {
        Content::Leaf => {}
        Content::Multipart(children) => children.iter().for_each(|child| flatten(child, parts)),
        Content::Message(inner) => flatten(&inner.1, parts),
    }
}

/// Builds the tree from the last part to the first: what a part holds is then always there, in reverse.
fn unflatten(parts: Vec<StoredPart>) -> Option<Part> {
    let mut built: Vec<(Part, usize)> = Vec::new();
    for stored in parts.into_iter().rev() {
        let (content, depth) = match &stored.content {
            StoredContent::Leaf => (Content::Leaf, 0),
            StoredContent::Multipart(count) => {
                let first = built.len().checked_sub(usize::try_from(*count).ok()?)?;
                let children = built.split_off(first);
                let depth = children.iter().map(|(_, depth)| depth + 1).max()?;
                (Content::Multipart(children.into_iter().rev().map(|(part, _)| part).collect()), depth)
            }
            StoredContent::Message(envelope) => {
                let (inner, depth) = built.pop()?;
                (Content::Message(Box::new((Envelope::clone(envelope), inner))), depth + 1)
            }
        };
        if depth > DEPTH_MAX {
            return None;
        }
        built.push((restore_part(stored, content)?, depth));
    }
    let (root, _) = built.pop()?;
    built.is_empty().then_some(root)
}

fn store_part(part: &Part, content: StoredContent) -> StoredPart {
    let rare = StoredRare {
        id: part.id.clone(),
        description: part.description.clone(),
        md5: part.md5.clone(),
        disposition: part.disposition.clone(),
        languages: part.languages.clone(),
        location: part.location.clone(),
    };
    StoredPart {
        header: part.header,
        body: part.body,
        lines: part.lines,
        media_type: part.media_type.clone(),
        subtype: part.subtype.clone(),
        parameters: part.parameters.clone(),
        encoding: part.encoding.clone(),
        rare: (rare != StoredRare::default()).then(|| Box::new(rare)),
        content,
    }
}

fn restore_part(stored: StoredPart, content: Content) -> Option<Part> {
    let rare = stored.rare.map(|rare| *rare).unwrap_or_default();
    let is_in_order = stored.header.start <= stored.header.end && stored.body.start <= stored.body.end;
    is_in_order.then_some(Part {
        header: stored.header,
        body: stored.body,
        lines: stored.lines,
        media_type: stored.media_type,
        subtype: stored.subtype,
        parameters: stored.parameters,
        id: rare.id,
        description: rare.description,
        encoding: stored.encoding,
        md5: rare.md5,
        disposition: rare.disposition,
        languages: rare.languages,
        location: rare.location,
        content,
    })
}

#[cfg(test)]
mod tests {
    use super::super::walk::summarise;
    use super::*;

    #[test]
    fn a_small_message_has_a_small_summary() {
        let message = b"From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nSubject: hello\r\n\
            Date: Mon, 7 Feb 2026 21:52:25 -0800\r\nMessage-ID: <x@y>\r\n\r\nhi\r\n";
        assert!(summarise(message).encode().len() < 170);
    }

    #[test]
    fn a_tower_of_messages_is_refused() {
        let part = |content| store_part(&summarise(b"").structure, content);
        let message = || part(StoredContent::Message(Box::default()));
        let mut parts: Vec<StoredPart> = std::iter::repeat_with(message).take(100_000).collect();
        parts.push(part(StoredContent::Leaf));
        let stored = StoredSummary { envelope: Envelope::default(), parts };
        let bytes = postcard::to_extend(&stored, vec![SUMMARY_VERSION]).unwrap();
        assert_eq!(Summary::decode(&bytes), Err(DecodeError));
    }

    #[test]
    fn other_versions_and_damage_are_refused() {
        let mut bytes = summarise(b"Subject: x\r\n\r\n").encode();
        for end in 0..bytes.len() {
            assert_eq!(Summary::decode(&bytes[..end]), Err(DecodeError));
        }
        bytes[0] = SUMMARY_VERSION + 1;
        assert_eq!(Summary::decode(&bytes), Err(DecodeError));
    }
}
