//! What is remembered of a message's structure: enough for ENVELOPE, BODYSTRUCTURE and every section by its number
//! (RFC 9051 §7.5.2), so that none of them opens the message again.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::octets::Octets;

/// The structure of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The fields ENVELOPE shows.
    pub envelope: Envelope,
    /// The message as its outermost part; its header is the message's header.
    pub structure: Part,
}

/// A stretch of the message, in bytes from its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The first byte no longer in it.
    pub end: u32,
}

impl Span {
    /// How many bytes it has.
    pub fn len(self) -> u32 {
        self.end - self.start
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The stretch as a range, for slices of the message.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One part (RFC 2045 §2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The part's header, with the empty line that ends it.
    pub header: Span,
    /// What follows the header.
    pub body: Span,
    /// How many lines the body has.
    pub lines: u32,
    /// The type, as written: `text`. What Content-Type defaults to is filled in.
    pub media_type: Octets,
    /// The subtype, as written: `plain`.
    pub subtype: Octets,
    /// The parameters of Content-Type, continuations joined (RFC 2231).
    pub parameters: Vec<Parameter>,
    /// Content-ID.
    pub id: Option<Octets>,
    /// Content-Description.
    pub description: Option<Octets>,
    /// Content-Transfer-Encoding, `7BIT` where none is given.
    pub encoding: Octets,
    /// Content-MD5.
    pub md5: Option<Octets>,
    /// Content-Disposition (RFC 2183).
    pub disposition: Option<Disposition>,
    /// Content-Language, one tag each (RFC 3282).
    pub languages: Vec<Octets>,
    /// Content-Location (RFC 2557).
    pub location: Option<Octets>,
    /// What is inside.
    pub content: Content,
}

/// What a part holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing that is looked into. A multipart or message beyond the limits is one too, with its type replaced.
    Leaf,
    /// The parts of a `multipart/*`, at least one.
    Multipart(Vec<Part>),
    /// The message in a `message/rfc822` or `message/global`: its envelope, and itself as a part.
    Message(Box<(Envelope, Part)>),
}

/// An attribute of a structured field: `charset=utf-8`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// The name as written; `name*` if the value is in the extended form of RFC 2231.
    pub name: Octets,
    /// The value without its quotes.
    pub value: Octets,
}

/// Content-Disposition (RFC 2183).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disposition {
    /// `inline`, `attachment`, or another word.
    pub kind: Octets,
    /// `filename` and the like.
    pub parameters: Vec<Parameter>,
}

/// The fields of ENVELOPE (RFC 9051 §7.5.2). Absent fields are `None` or empty; encoded-words stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Date.
    pub date: Option<Octets>,
    /// Subject.
    pub subject: Option<Octets>,
    /// From.
    pub from: Vec<Address>,
    /// Sender, if it names anybody. See [`Envelope::sender_or_from`].
    pub sender: Vec<Address>,
    /// Reply-To, if it names anybody. See [`Envelope::reply_to_or_from`].
    pub reply_to: Vec<Address>,
    /// To.
    pub to: Vec<Address>,
    /// Cc.
    pub cc: Vec<Address>,
    /// Bcc.
    pub bcc: Vec<Address>,
    /// In-Reply-To.
    pub in_reply_to: Option<Octets>,
    /// Message-ID.
    pub message_id: Option<Octets>,
}

impl Envelope {
    /// The sender as ENVELOPE shows it: From where there is none (RFC 9051 §7.5.2).
    pub fn sender_or_from(&self) -> &[Address] {
        if self.sender.is_empty() { &self.from } else { &self.sender }
    }

    /// The reply address as ENVELOPE shows it: From where there is none (RFC 9051 §7.5.2).
    pub fn reply_to_or_from(&self) -> &[Address] {
        if self.reply_to.is_empty() { &self.from } else { &self.reply_to }
    }
}

/// An element of an address list, as ENVELOPE's `address` structure wants it (RFC 9051 §7.5.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Address {
    /// `name <mailbox@host>`.
    One {
        /// The display name, unquoted; encoded-words stay as they are.
        name: Option<Octets>,
        /// The source route, obsolete: `@a,@b`.
        route: Option<Octets>,
        /// The part before the `@`, unquoted.
        mailbox: Octets,
        /// The part after the `@`; empty if the address has none.
        host: Octets,
    },
    /// `name:` begins a group (RFC 5322 §3.4).
    GroupStart(Octets),
    /// `;` ends it.
    GroupEnd,
}

impl Summary {
    /// The length of the message's header, with the empty line that ends it.
    pub fn header_len(&self) -> u32 {
        self.structure.header.end
    }
}
