//! One message as a snapshot keeps it.
//!
//! Written by serde like the rest of the snapshot, but read by hand: there may be a million of them, an account that is
//! opened waits for each, and this way none is made of pieces that are made first.

use serde::Serialize;

use crate::mailbox::date::{InternalDate, Timestamp};
use crate::mailbox::flags::{Flags, Keyword};
use crate::mailbox::message::Message;
use crate::mailbox::uid::{EmailId, ModSeq, Uid};
use crate::store::BodyRef;

/// A message, with its keywords as places in the mailbox's list of them. [`take_message`] reads the fields in this order.
#[derive(Serialize)]
pub(super) struct StoredMessage {
    uid: Uid,
    size: u32,
    modseq: ModSeq,
    system_flags: u8,
    keywords: Vec<u8>,
    internal_date: InternalDate,
    saved: Timestamp,
    email_id: EmailId,
    body: BodyRef,
    summary_len: u32,
}

impl StoredMessage {
    /// `keywords` are the mailbox's, sorted; `place` tells where a body is.
    pub(super) fn new(message: &Message, keywords: &[&Keyword], place: &dyn Fn(BodyRef) -> BodyRef) -> Self {
        let number = |keyword| keywords.binary_search(&keyword).ok().and_then(|number| u8::try_from(number).ok());
        Self {
            uid: message.uid,
            size: message.size,
            modseq: message.modseq,
            system_flags: message.flags.system_bits(),
            keywords: message.flags.keywords().iter().filter_map(number).collect(),
            internal_date: message.internal_date,
            saved: message.saved,
            email_id: message.email_id,
            body: place(message.body),
            summary_len: message.summary_len,
        }
    }
}

/// Takes one message from the beginning of `bytes`. `None` if there is none.
pub(super) fn take_message(bytes: &mut &[u8], keywords: &[Keyword]) -> Option<Message> {
    Some(Message {
        uid: Uid::new(take(bytes)?)?,
        size: take(bytes)?,
        modseq: ModSeq(take(bytes)?),
        flags: take_flags(bytes, keywords)?,
        internal_date: InternalDate {
            at: Timestamp(take_signed(bytes)?),
            offset_minutes: take_signed(bytes)?.try_into().ok()?,
        },
        saved: Timestamp(take_signed(bytes)?),
        email_id: take_email_id(bytes)?,
        body: take_body(bytes)?,
        summary_len: take(bytes)?,
    })
}

fn take_flags(bytes: &mut &[u8], keywords: &[Keyword]) -> Option<Flags> {
    let system = *bytes.split_off_first()?;
    let count: usize = take(bytes)?;
    let own = bytes.split_off(..count)?.iter().map(|number| keywords.get(usize::from(*number)).cloned());
    Some(Flags::from_parts(system, own.collect::<Option<_>>()?))
}

fn take_email_id(bytes: &mut &[u8]) -> Option<EmailId> {
    let count: usize = take(bytes)?;
    let id: [u8; 16] = bytes.split_off(..count)?.try_into().ok()?;
    Some(EmailId::new(u128::from_be_bytes(id)))
}

fn take_body(bytes: &mut &[u8]) -> Option<BodyRef> {
    match take_varint(bytes)? {
        0 => Some(BodyRef::Inline { generation: take(bytes)?, offset: take(bytes)?, length: take(bytes)? }),
        1 => Some(BodyRef::File { epoch: take_varint(bytes)?, number: take(bytes)?, length: take(bytes)? }),
        _ => None,
    }
}

/// A number of postcard's: seven bits to a byte, the lowest first, the highest bit set in all but the last. Nearly all of
/// ours fit into 64 bits, which are added up faster than 128.
fn take<N: TryFrom<u64>>(bytes: &mut &[u8]) -> Option<N> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            *bytes = bytes.get(place + 1..)?;
            return value.try_into().ok();
        }
    }
    u64::try_from(take_varint(bytes)?).ok()?.try_into().ok()
}

/// The same, of any length that a number of postcard's may have.
fn take_varint(bytes: &mut &[u8]) -> Option<u128> {
    let mut value = 0_u128;
    for place in 0..19 {
        let byte = *bytes.split_off_first()?;
        let bits = u128::from(byte & 0x7f);
        let shifted = bits << (7 * place);
        if shifted >> (7 * place) != bits {
            return None;
        }
        value |= shifted;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A number with a sign, which postcard puts into the lowest bit.
fn take_signed(bytes: &mut &[u8]) -> Option<i64> {
    let folded: u64 = take(bytes)?;
    Some((folded >> 1) as i64 ^ -((folded & 1) as i64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keywords() -> Vec<Keyword> {
        ["$Forwarded", "$Junk", "later"].iter().map(|word| Keyword::parse(word).unwrap()).collect()
    }

    fn bodies() -> impl Strategy<Value = BodyRef> {
        let inline = (any::<u64>(), any::<u64>(), any::<u32>());
        let file = (any::<u128>(), any::<u64>(), any::<u64>());
        prop_oneof![
            inline.prop_map(|(generation, offset, length)| BodyRef::Inline { generation, offset, length }),
            file.prop_map(|(epoch, number, length)| BodyRef::File { epoch, number, length }),
        ]
    }

    prop_compose! {
        fn messages()(
            (uid, size, modseq, summary_len) in (1..=u32::MAX, any::<u32>(), any::<u64>(), any::<u32>()),
            (system, own) in (0..32_u8, proptest::sample::subsequence(keywords(), 0..=3)),
            (at, offset_minutes, saved) in (any::<i64>(), any::<i16>(), any::<i64>()),
            (email_id, body) in (any::<u128>(), bodies()),
        ) -> Message {
            Message {
                uid: Uid::new(uid).unwrap(),
                size,
                modseq: ModSeq(modseq),
                flags: Flags::from_parts(system, own),
                internal_date: InternalDate { at: Timestamp(at), offset_minutes },
                saved: Timestamp(saved),
                email_id: EmailId::new(email_id),
                body,
                summary_len,
            }
        }
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_read_by_hand(message in messages(), behind in any::<[u8; 3]>()) {
            let keywords = keywords();
            let stored = StoredMessage::new(&message, &keywords.iter().collect::<Vec<_>>(), &|body| body);
            let mut bytes = postcard::to_stdvec(&stored).unwrap();
            let length = bytes.len();
            bytes.extend(behind);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take_message(&mut rest, &keywords), Some(message));
            prop_assert_eq!(rest, &behind);
            for shorter in 0..length {
                prop_assert_eq!(take_message(&mut &bytes[..shorter], &keywords), None);
            }
        }

        #[test]
        fn whatever_bytes_are_read_nothing_panics(bytes in any::<Vec<u8>>()) {
            let _ = take_message(&mut bytes.as_slice(), &keywords());
        }
    }

    #[test]
    fn numbers_that_are_too_large_are_refused() {
        assert_eq!(take::<u64>(&mut postcard::to_stdvec(&u64::MAX).unwrap().as_slice()), Some(u64::MAX));
        assert_eq!(take::<u32>(&mut postcard::to_stdvec(&(1_u64 << 32)).unwrap().as_slice()), None);
        assert_eq!(take::<u64>(&mut postcard::to_stdvec(&(1_u128 << 64)).unwrap().as_slice()), None);
        assert_eq!(take_varint(&mut postcard::to_stdvec(&u128::MAX).unwrap().as_slice()), Some(u128::MAX));
        assert_eq!(take_varint(&mut [0xff; 19].as_slice()), None);
    }
}
