//! From a client's search keys to the model's criteria: sequence numbers become UIDs, dates become
//! days, bytes become text.

use bytes::Bytes;

use crate::mailbox::search::{Criterion, EnvelopeField, Needle};
use crate::mailbox::{EmailId, Flag, ModSeq, SystemFlag, UidSet};
use crate::session::imap::view::View;
use crate::wire::imap::command::{Numbering, SearchKey};
use crate::wire::imap::cursor::Parsed;
use crate::wire::imap::sequence::SequenceSet;

/// What all of the keys together ask for, in the numbers of a view.
pub fn of(keys: &[SearchKey], view: &View) -> Parsed<Criterion> {
    let criteria = keys.iter().map(|key| of_key(key, view)).collect::<Parsed<Vec<_>>>()?;
    Ok(Criterion::And(criteria))
}

fn of_key(key: &SearchKey, view: &View) -> Parsed<Criterion> {
    Ok(match key {
        SearchKey::All => Criterion::All,
        SearchKey::Flag(flag) => Criterion::Flag(flag.clone()),
        SearchKey::Recent => Criterion::Recent,
        SearchKey::New => Criterion::And(vec![Criterion::Recent, unseen()]),
        SearchKey::Sequence(set) => uids(set, Numbering::Sequence, view)?,
        SearchKey::Uid(set) => uids(set, Numbering::Uid, view)?,
        SearchKey::Before(date) => Criterion::Before(date.unix_days()),
        SearchKey::On(date) => Criterion::On(date.unix_days()),
        SearchKey::Since(date) => Criterion::Since(date.unix_days()),
        SearchKey::SentBefore(date) => Criterion::SentBefore(date.unix_days()),
        SearchKey::SentOn(date) => Criterion::SentOn(date.unix_days()),
        SearchKey::SentSince(date) => Criterion::SentSince(date.unix_days()),
        SearchKey::SavedBefore(date) => Criterion::SavedBefore(date.unix_days()),
        SearchKey::SavedOn(date) => Criterion::SavedOn(date.unix_days()),
        SearchKey::SavedSince(date) => Criterion::SavedSince(date.unix_days()),
        SearchKey::Larger(size) => Criterion::Larger(*size),
        SearchKey::Smaller(size) => Criterion::Smaller(*size),
        SearchKey::Header { name, text } => header(name, text),
        SearchKey::Body(text) => Criterion::Body(needle(text)),
        SearchKey::Text(text) => Criterion::Text(needle(text)),
        SearchKey::ModSeq(modseq) => Criterion::ModSeq(ModSeq(*modseq)),
        SearchKey::EmailId(id) => email_id(id).map_or_else(nothing, Criterion::EmailId),
        // RFC 8474 §5.2: no message has a thread.
        SearchKey::ThreadId(_) => nothing(),
        SearchKey::Not(key) => of_key(key, view)?.negated(),
        SearchKey::Or(one, other) => Criterion::Or(Box::new((of_key(one, view)?, of_key(other, view)?))),
        SearchKey::And(keys) => of(keys, view)?,
    })
}

fn uids(set: &SequenceSet, numbering: Numbering, view: &View) -> Parsed<Criterion> {
    let ranges = view.resolve(set, numbering)?;
    Ok(Criterion::Uids(view.uids(&ranges)))
}

fn unseen() -> Criterion {
    Criterion::Flag(Flag::System(SystemFlag::Seen)).negated()
}

fn nothing() -> Criterion {
    Criterion::Uids(UidSet::new())
}

/// A field of the envelope is at hand in the summary; others mean reading the header.
///
/// An empty text asks whether the field is there at all, which the envelope does not tell
/// (RFC 3501 §6.4.4, HEADER).
fn header(name: &Bytes, text: &Bytes) -> Criterion {
    let field = match name.to_ascii_uppercase().as_slice() {
        b"FROM" => Some(EnvelopeField::From),
        b"TO" => Some(EnvelopeField::To),
        b"CC" => Some(EnvelopeField::Cc),
        b"BCC" => Some(EnvelopeField::Bcc),
        b"SUBJECT" => Some(EnvelopeField::Subject),
        _ => None,
    };
    match field.filter(|_| !text.is_empty()) {
        Some(field) => Criterion::Envelope(field, needle(text)),
        None => Criterion::Header(String::from_utf8_lossy(name).into_owned(), needle(text)),
    }
}

/// Bytes that are no UTF-8 are in no text of ours; what stands for them is found nowhere.
fn needle(text: &Bytes) -> Needle {
    Needle::new(&String::from_utf8_lossy(text))
}

/// `E` and 32 hexadecimal digits, as we print them; anything else is nobody's.
fn email_id(id: &Bytes) -> Option<EmailId> {
    let digits = std::str::from_utf8(id).ok()?.strip_prefix('E')?;
    let value = u128::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 32)?;
    Some(EmailId::new(value))
}
