//! Parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), DSN (RFC 3461), AUTH
//! (RFC 4954 §5, read and ignored), and our own `XDELIVERYID`.

use serde::{Deserialize, Serialize};

use super::CommandFault;

/// Longest ENVID (RFC 3461 §4.4).
const ENVID_BYTES_MAX: usize = 100;
/// Longest ORCPT (RFC 3461 §4.2).
const ORCPT_BYTES_MAX: usize = 500;

/// What BODY announces (RFC 6152 §2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Seven-bit text.
    #[default]
    SevenBit,
    /// Eight-bit text in lines.
    EightBitMime,
}

/// How much of the message a bounce returns (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Return {
    /// All of it.
    Full,
    /// Its header.
    Headers,
}

/// Parameters of MAIL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailParameters {
    /// Size the client declares.
    pub size: Option<u64>,
    /// Kind of content.
    pub body: Body,
    /// Addresses and header may be UTF-8.
    pub smtputf8: bool,
    /// How much a bounce returns.
    pub ret: Option<Return>,
    /// The sender's name for this transaction, decoded.
    pub envid: Option<String>,
}

/// When the sender wants to hear of a recipient (RFC 3461 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// On delivery.
    pub success: bool,
    /// On failure.
    pub failure: bool,
    /// When it takes long.
    pub delay: bool,
}

/// The recipient as the sender first wrote it (RFC 3461 §4.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginalRecipient {
    /// Usually `rfc822`.
    pub kind: String,
    /// The address, decoded.
    pub address: String,
}

/// Parameters of RCPT.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RcptParameters {
    /// When to tell the sender; by default on failure and perhaps on delay.
    pub notify: Option<Notify>,
    /// The recipient as first written.
    pub orcpt: Option<OriginalRecipient>,
    /// Our own: names this delivery across retries between our processes. Believed on handed-over connections only.
    pub delivery_id: Option<u128>,
}

impl MailParameters {
    pub(super) fn parse(text: &str) -> Result<Self, CommandFault> {
        let mut all = Self::default();
        for_each_parameter(text, |keyword, value| {
            match (keyword, value) {
                ("SIZE", Some(value)) => all.size = Some(parse_size(value)?),
                ("BODY", Some(value)) if value.eq_ignore_ascii_case("7BIT") => all.body = Body::SevenBit,
                ("BODY", Some(value)) if value.eq_ignore_ascii_case("8BITMIME") => all.body = Body::EightBitMime,
                ("SMTPUTF8", None) => all.smtputf8 = true,
                ("RET", Some(value)) if value.eq_ignore_ascii_case("FULL") => all.ret = Some(Return::Full),
                ("RET", Some(value)) if value.eq_ignore_ascii_case("HDRS") => all.ret = Some(Return::Headers),
                ("ENVID", Some(value)) if value.len() <= ENVID_BYTES_MAX => all.envid = Some(decode_xtext(value)?),
                ("AUTH", Some(_)) => {}
                ("SIZE" | "BODY" | "SMTPUTF8" | "RET" | "ENVID" | "AUTH", _) => return Err(CommandFault::Value),
                (_, _) => return Err(CommandFault::Parameter),
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// The parameters as they are written to a server that offers all of them, each with a space before it.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Some(size) = self.size {
            text += &format!(" SIZE={size}");
        }
        match self.body {
            Body::SevenBit => {}
            Body::EightBitMime => text += " BODY=8BITMIME",
        }
        if self.smtputf8 {
            text += " SMTPUTF8";
        }
        match self.ret {
            None => {}
            Some(Return::Full) => text += " RET=FULL",
            Some(Return::Headers) => text += " RET=HDRS",
        }
        if let Some(envid) = &self.envid {
            text += &format!(" ENVID={}", encode_xtext(envid));
        }
        text
    }
}

impl RcptParameters {
    pub(super) fn parse(text: &str) -> Result<Self, CommandFault> {
        let mut all = Self::default();
        for_each_parameter(text, |keyword, value| {
            match (keyword, value) {
                ("NOTIFY", Some(value)) => all.notify = Some(Notify::parse(value)?),
                ("ORCPT", Some(value)) if value.len() <= ORCPT_BYTES_MAX => all.orcpt = Some(parse_orcpt(value)?),
                ("XDELIVERYID", Some(value)) if value.len() == 32 => {
                    all.delivery_id = Some(u128::from_str_radix(value, 16).map_err(|_| CommandFault::Value)?);
                }
                ("NOTIFY" | "ORCPT" | "XDELIVERYID", _) => return Err(CommandFault::Value),
                (_, _) => return Err(CommandFault::Parameter),
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// The parameters as they are written to a server that offers all of them, each with a space before it.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Some(notify) = &self.notify {
            text += &format!(" NOTIFY={}", notify.encode());
        }
        if let Some(orcpt) = &self.orcpt {
            text += &format!(" ORCPT={};{}", orcpt.kind, encode_xtext(&orcpt.address));
        }
        if let Some(id) = self.delivery_id {
            text += &format!(" XDELIVERYID={id:032x}");
        }
        text
    }
}

impl Notify {
    /// Nothing, whatever happens.
    pub const NEVER: Self = Self { success: false, failure: false, delay: false };

    fn parse(value: &str) -> Result<Self, CommandFault> {
        let mut all = Self::NEVER;
        if value.eq_ignore_ascii_case("NEVER") {
            return Ok(all);
        }
        for word in value.split(',') {
            match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => all.success = true,
                "FAILURE" => all.failure = true,
                "DELAY" => all.delay = true,
                _ => return Err(CommandFault::Value),
            }
        }
        Ok(all)
    }

    fn encode(self) -> String {
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let wanted: Vec<&str> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        if wanted.is_empty() { "NEVER".into() } else { wanted.join(",") }
    }
}

/// Calls `each` with every keyword, in capitals, and its value; a keyword that comes twice is a fault.
fn for_each_parameter(
    text: &str,
    mut each: impl FnMut(&str, Option<&str>) -> Result<(), CommandFault>,
) -> Result<(), CommandFault> {
    let mut seen: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let keyword = keyword.to_ascii_uppercase();
        // RFC 5321 §4.1.2: esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-").
        if keyword.is_empty() || !keyword.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(CommandFault::Syntax);
        }
        if value.is_some_and(str::is_empty) || seen.contains(&keyword) {
            return Err(CommandFault::Value);
        }
        each(&keyword, value)?;
        seen.push(keyword);
    }
    Ok(())
}

/// RFC 1870 §3: one to twenty digits. A number beyond 64 bits is too large whatever the limit.
fn parse_size(value: &str) -> Result<u64, CommandFault> {
    if value.len() > 20 || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CommandFault::Value);
    }
    Ok(value.parse().unwrap_or(u64::MAX))
}

fn parse_orcpt(value: &str) -> Result<OriginalRecipient, CommandFault> {
    let (kind, address) = value.split_once(';').ok_or(CommandFault::Value)?;
    let kind_fits = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !kind_fits || address.is_empty() {
        return Err(CommandFault::Value);
    }
    Ok(OriginalRecipient { kind: kind.into(), address: decode_xtext(address)? })
}

/// Decodes xtext (RFC 3461 §4): `+` and two capital hexadecimal digits stand for a byte.
///
/// # Errors
/// [`CommandFault::Value`] for a broken escape, or bytes that make no printable text: they would end up in a header.
pub fn decode_xtext(text: &str) -> Result<String, CommandFault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'+' {
            bytes.push(byte);
            continue;
        }
        let digits =
            rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit)).ok_or(CommandFault::Value)?;
        let digits = std::str::from_utf8(digits).map_err(|_| CommandFault::Value)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| CommandFault::Value)?);
        rest = rest.get(2..).unwrap_or_default();
    }
    let text = String::from_utf8(bytes).map_err(|_| CommandFault::Value)?;
    if text.chars().any(char::is_control) { Err(CommandFault::Value) } else { Ok(text) }
}

/// The inverse of [`decode_xtext`].
#[must_use]
pub fn encode_xtext(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'+' && byte != b'=' => encoded.push(char::from(byte)),
            _ => encoded += &format!("+{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_survives_a_round_trip() {
        let text = " SIZE=12 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb";
        let all = MailParameters::parse(text).unwrap();
        assert_eq!(all.envid.as_deref(), Some("a+b"));
        assert_eq!(all.encode(), text);
        let text = " NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+2B@b XDELIVERYID=000000000000000000000000000000ff";
        assert_eq!(RcptParameters::parse(text).unwrap().encode(), text);
        assert_eq!(RcptParameters::parse("notify=never").unwrap().encode(), " NOTIFY=NEVER");
    }

    #[test]
    fn unknown_parameters_and_bad_values_are_told_apart() {
        assert_eq!(MailParameters::parse(" HOLDFOR=5"), Err(CommandFault::Parameter));
        for text in [
            "SIZE",
            "SIZE=",
            "SIZE=x",
            "SIZE=-1",
            "BODY=BINARYMIME",
            "SMTPUTF8=1",
            "SIZE=1 SIZE=1",
            "ENVID=+4",
            "ENVID=+0A",
        ] {
            assert_eq!(MailParameters::parse(text), Err(CommandFault::Value), "{text}");
        }
        assert_eq!(RcptParameters::parse("NOTIFY=NEVER,FAILURE"), Err(CommandFault::Value));
    }

    #[test]
    fn an_absurd_size_is_the_largest_number() {
        assert_eq!(MailParameters::parse("SIZE=99999999999999999999").unwrap().size, Some(u64::MAX));
    }
}
