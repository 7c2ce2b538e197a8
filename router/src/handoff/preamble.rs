//! What a member is told before the first byte of the native protocol.

use std::net::SocketAddr;

use super::{Protocol, SealedTicket, SessionId};
use crate::wire::proxy::{
    Addresses, HEADER_BYTES_MAX, ProxyError, ProxyHeader, TLV_CRC32C, Tlv, crc32c, decode_tlvs, encode_tlv,
};

/// No preamble is longer; a reader gives up there.
pub const PREAMBLE_BYTES_MAX: usize = HEADER_BYTES_MAX;
const TLV_ALPN: u8 = 0x01;
const TLV_AUTHORITY: u8 = 0x02;
const TLV_SSL: u8 = 0x20;
const TLV_SSL_VERSION: u8 = 0x21;
const TLV_SSL_CIPHER: u8 = 0x23;
const TLV_SESSION: u8 = 0xE0;
const TLV_HOPS: u8 = 0xE1;
const TLV_TICKET: u8 = 0xE2;
/// `PP2_CLIENT_SSL`: the client is connected over TLS.
const CLIENT_SSL: u8 = 0x01;
/// Names longer than a DNS name say nothing.
const FACT_BYTES_MAX: usize = 255;

/// Whose connection this is, what it speaks, and how it came here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preamble {
    /// The client.
    pub client: SocketAddr,
    /// The address the client connected to.
    pub local: SocketAddr,
    /// What is spoken after the preamble.
    pub protocol: Protocol,
    /// How the client's side is encrypted, if it is.
    pub tls: Option<TlsFacts>,
    /// The session's name in every log.
    pub session: SessionId,
    /// How often the connection was passed on before.
    pub hops: u8,
    /// Proof of a login at another member.
    pub ticket: Option<SealedTicket>,
}

/// What is known of the client's TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFacts {
    /// For example `TLSv1.3`.
    pub version: String,
    /// For example `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The host name the client asked for.
    pub sni: Option<String>,
}

/// Why bytes are not a preamble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PreambleError {
    /// Not even a PROXY header of version 2.
    #[error("{0}")]
    Header(#[from] ProxyError),
    /// A health check of a balancer, or a family without addresses.
    #[error("a PROXY header without addresses")]
    NoAddresses,
    /// No ALPN, or one we do not speak.
    #[error("a preamble without a protocol we speak")]
    Protocol,
    /// A field is missing, has the wrong size, or appears twice.
    #[error("a preamble with a missing or malformed field {0:#04x}")]
    Field(u8),
}

impl Preamble {
    /// Writes the preamble.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut tlvs = vec![
            tlv(TLV_ALPN, self.protocol.as_str().as_bytes()),
            tlv(TLV_SESSION, &self.session.0.to_be_bytes()),
            tlv(TLV_HOPS, &[self.hops]),
        ];
        if let Some(facts) = &self.tls {
            tlvs.push(tlv(TLV_SSL, &facts.encode()));
            tlvs.extend(facts.sni.as_ref().map(|name| tlv(TLV_AUTHORITY, name.as_bytes())));
        }
        tlvs.extend(self.ticket.as_ref().map(|ticket| tlv(TLV_TICKET, ticket.as_bytes())));
        // Last, so that the checksum is the last four bytes.
        tlvs.push(tlv(TLV_CRC32C, &[0; 4]));
        let addresses = Some(Addresses { source: self.client, destination: self.local });
        let mut bytes = ProxyHeader { addresses, tlvs }.encode();
        let sum = crc32c(&bytes);
        bytes.splice(bytes.len() - 4.., sum.to_be_bytes());
        bytes
    }

    /// Reads a preamble and returns it with its length; `None` asks for more bytes.
    ///
    /// # Errors
    ///
    /// If this is no preamble; the connection is to be closed without a word.
    pub fn decode(buffer: &[u8]) -> Result<Option<(Self, usize)>, PreambleError> {
        let Some((header, length)) = ProxyHeader::decode_v2(buffer)? else { return Ok(None) };
        let addresses = header.addresses.ok_or(PreambleError::NoAddresses)?;
        let fields = Fields(header.tlvs);
        fields.check_each_once()?;
        let alpn = fields.find(TLV_ALPN).ok_or(PreambleError::Protocol)?;
        let preamble = Self {
            client: canonical(addresses.source),
            local: canonical(addresses.destination),
            protocol: Protocol::from_alpn(alpn).ok_or(PreambleError::Protocol)?,
            tls: fields.tls()?,
            session: SessionId(u64::from_be_bytes(fields.exactly(TLV_SESSION)?)),
            hops: u8::from_be_bytes(fields.exactly(TLV_HOPS)?),
            ticket: fields.ticket()?,
        };
        Ok(Some((preamble, length)))
    }
}

/// Reads how often a connection was passed on before, from a header that need not be a preamble.
#[must_use]
pub fn hops_of_header(header: &ProxyHeader) -> u8 {
    let field = header.tlvs.iter().find(|tlv| tlv.kind == TLV_HOPS);
    field.and_then(|tlv| tlv.value.first().copied()).unwrap_or(0)
}

impl TlsFacts {
    /// Reads what a balancer says of the TLS it ended; `None` if the client's side is not encrypted.
    ///
    /// # Errors
    ///
    /// If the fields do not fit.
    pub fn of_header(header: &ProxyHeader) -> Result<Option<Self>, PreambleError> {
        Fields(header.tlvs.clone()).tls()
    }

    fn encode(&self) -> Vec<u8> {
        // Flags, then four bytes of verification result: no client certificate was verified.
        let mut out = vec![CLIENT_SSL, 0, 0, 0, 1];
        encode_tlv(&mut out, TLV_SSL_VERSION, self.version.as_bytes());
        encode_tlv(&mut out, TLV_SSL_CIPHER, self.cipher.as_bytes());
        out
    }
}

/// The TLVs of a preamble.
struct Fields(Vec<Tlv>);

impl Fields {
    fn find(&self, kind: u8) -> Option<&[u8]> {
        self.0.iter().find(|tlv| tlv.kind == kind).map(|tlv| tlv.value.as_slice())
    }

    fn exactly<const N: usize>(&self, kind: u8) -> Result<[u8; N], PreambleError> {
        self.find(kind).and_then(|value| value.try_into().ok()).ok_or(PreambleError::Field(kind))
    }

    /// Two values for one thing could be understood differently by two readers.
    fn check_each_once(&self) -> Result<(), PreambleError> {
        for (index, tlv) in self.0.iter().enumerate() {
            if self.0.iter().skip(index + 1).any(|other| other.kind == tlv.kind) {
                return Err(PreambleError::Field(tlv.kind));
            }
        }
        Ok(())
    }

    fn tls(&self) -> Result<Option<TlsFacts>, PreambleError> {
        let Some(value) = self.find(TLV_SSL) else { return Ok(None) };
        let ([flags, ..], inner) = value.split_first_chunk::<5>().ok_or(PreambleError::Field(TLV_SSL))?;
        if flags & CLIENT_SSL == 0 {
            return Ok(None);
        }
        let inner = Self(decode_tlvs(inner)?);
        let version = inner.text(TLV_SSL_VERSION)?.unwrap_or_default();
        let cipher = inner.text(TLV_SSL_CIPHER)?.unwrap_or_default();
        Ok(Some(TlsFacts { version, cipher, sni: self.text(TLV_AUTHORITY)? }))
    }

    fn ticket(&self) -> Result<Option<SealedTicket>, PreambleError> {
        let read = |value| SealedTicket::from_bytes(value).ok_or(PreambleError::Field(TLV_TICKET));
        self.find(TLV_TICKET).map(read).transpose()
    }

    /// Printable ASCII only: these values reach logs and `Received` fields.
    fn text(&self, kind: u8) -> Result<Option<String>, PreambleError> {
        let read = |value: &[u8]| {
            let fine = value.len() <= FACT_BYTES_MAX && value.iter().all(u8::is_ascii_graphic);
            fine.then(|| String::from_utf8_lossy(value).into_owned()).ok_or(PreambleError::Field(kind))
        };
        self.find(kind).map(read).transpose()
    }
}

fn tlv(kind: u8, value: &[u8]) -> Tlv {
    Tlv { kind, value: value.to_vec() }
}

/// An IPv4 address written as IPv6 is the IPv4 address again.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preamble() -> Preamble {
        Preamble {
            client: "192.0.2.1:50000".parse().unwrap(),
            local: "198.51.100.1:993".parse().unwrap(),
            protocol: Protocol::Imap,
            tls: Some(TlsFacts {
                version: "TLSv1.3".into(),
                cipher: "TLS13_AES_256_GCM_SHA384".into(),
                sni: Some("mail.example.org".into()),
            }),
            session: SessionId(0x0123_4567_89ab_cdef),
            hops: 1,
            ticket: SealedTicket::from_bytes(&[1; 80]),
        }
    }

    #[test]
    fn a_preamble_survives_the_wire() {
        let mixed = Preamble { local: "[2001:db8::1]:993".parse().unwrap(), ..preamble() };
        let bare = Preamble { tls: None, ticket: None, hops: 0, ..preamble() };
        for sent in [preamble(), mixed, bare] {
            let mut bytes = sent.encode();
            let length = bytes.len();
            bytes.extend_from_slice(b"a1 NOOP\r\n");
            assert_eq!(Preamble::decode(&bytes), Ok(Some((sent, length))));
        }
    }

    #[test]
    fn every_beginning_asks_for_more() {
        let bytes = preamble().encode();
        for length in 0..bytes.len() {
            assert_eq!(Preamble::decode(&bytes[..length]), Ok(None), "{length}");
        }
    }

    #[test]
    fn a_changed_byte_behind_the_start_is_noticed() {
        let bytes = preamble().encode();
        // Without the checksum's own type and length there is no checksum.
        for index in 16..bytes.len() - 7 {
            let mut bytes = bytes.clone();
            bytes[index] ^= 0x10;
            assert!(Preamble::decode(&bytes).is_err(), "byte {index}");
        }
    }

    #[test]
    fn a_client_that_speaks_at_once_has_no_preamble() {
        assert_eq!(Preamble::decode(b"a1 LOGIN"), Err(ProxyError::Absent.into()));
        assert_eq!(Preamble::decode(b"PROXY TCP4 "), Err(ProxyError::Absent.into()));
    }

    fn with(tlvs: Vec<Tlv>) -> Vec<u8> {
        let addresses = Some(Addresses { source: preamble().client, destination: preamble().local });
        ProxyHeader { addresses, tlvs }.encode()
    }

    #[test]
    fn required_fields_are_required_once() {
        let alpn = || tlv(TLV_ALPN, b"pop3");
        let session = || tlv(TLV_SESSION, &[0; 8]);
        let hops = || tlv(TLV_HOPS, &[0]);
        assert!(Preamble::decode(&with(vec![alpn(), session(), hops()])).unwrap().is_some());
        assert_eq!(Preamble::decode(&with(vec![session(), hops()])), Err(PreambleError::Protocol));
        assert_eq!(Preamble::decode(&with(vec![alpn(), hops()])), Err(PreambleError::Field(TLV_SESSION)));
        assert_eq!(Preamble::decode(&with(vec![alpn(), session()])), Err(PreambleError::Field(TLV_HOPS)));
        let twice = vec![alpn(), session(), hops(), hops()];
        assert_eq!(Preamble::decode(&with(twice)), Err(PreambleError::Field(TLV_HOPS)));
    }

    #[test]
    fn facts_cannot_smuggle_control_characters() {
        let ssl = [&[CLIENT_SSL, 0, 0, 0, 1, TLV_SSL_VERSION, 0, 3][..], b"a\r\n"].concat();
        let fields = vec![tlv(TLV_ALPN, b"imap"), tlv(TLV_SESSION, &[0; 8]), tlv(TLV_HOPS, &[0]), tlv(TLV_SSL, &ssl)];
        assert_eq!(Preamble::decode(&with(fields)), Err(PreambleError::Field(TLV_SSL_VERSION)));
    }
}
