//! The PROXY protocol header: versions 1 and 2 in, version 2 out.
//!
//! Follows HAProxy's `proxy-protocol.txt`. A header of version 2 may claim 64 KiB; no more than
//! [`HEADER_BYTES_MAX`] is read. Nothing here decides whose header is believed.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Longest header read or written, its first 16 bytes included.
pub const HEADER_BYTES_MAX: usize = 4096;
/// Longest line of version 1, CRLF included (§2.1).
const LINE_BYTES_MAX: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const START_BYTES: usize = 16;
/// TLV that checks the whole header (§2.2.4).
pub const TLV_CRC32C: u8 = 0x03;
/// TLV that only fills space.
const TLV_NOOP: u8 = 0x04;

/// One header: whose connection this is, and what else is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyHeader {
    /// Client and the address it connected to; `None` for health checks (LOCAL) and families we cannot use.
    pub addresses: Option<Addresses>,
    /// Further values of version 2, in order.
    pub tlvs: Vec<Tlv>,
}

/// The two ends of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// The address it connected to.
    pub destination: SocketAddr,
}

/// One type-length-value field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlv {
    /// What it is.
    pub kind: u8,
    /// Its value.
    pub value: Vec<u8>,
}

/// Why bytes are not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Something else begins here.
    #[error("no PROXY header")]
    Absent,
    /// Longer than we read.
    #[error("a PROXY header that is too long")]
    TooLong,
    /// Begins like one and goes on wrong.
    #[error("a malformed PROXY header")]
    Malformed,
    /// Its checksum does not fit.
    #[error("a PROXY header with a wrong checksum")]
    Checksum,
}

impl ProxyHeader {
    /// Reads a header of version 1 or 2 and returns it with its length; `None` asks for more bytes.
    ///
    /// # Errors
    ///
    /// If this is no header, or not one we read.
    pub fn decode(buffer: &[u8]) -> Result<Option<(Self, usize)>, ProxyError> {
        if begins_like(buffer, SIGNATURE) {
            return Self::decode_v2(buffer);
        }
        if begins_like(buffer, b"PROXY ") {
            return decode_v1(buffer);
        }
        Err(ProxyError::Absent)
    }

    /// Reads a header of version 2 only, as handoff listeners do.
    ///
    /// # Errors
    ///
    /// If this is no header of version 2, or not one we read.
    pub fn decode_v2(buffer: &[u8]) -> Result<Option<(Self, usize)>, ProxyError> {
        if !begins_like(buffer, SIGNATURE) {
            return Err(ProxyError::Absent);
        }
        let Some((start, rest)) = buffer.split_first_chunk::<START_BYTES>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([start[14], start[15]]));
        if START_BYTES + length > HEADER_BYTES_MAX {
            return Err(ProxyError::TooLong);
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let header = match start[12] {
            // LOCAL: the balancer's own connection; what follows is to be ignored (§2.2).
            0x20 => Self::default(),
            0x21 => decode_proxied(start, body)?,
            _ => return Err(ProxyError::Malformed),
        };
        Ok(Some((header, START_BYTES + length)))
    }

    /// Writes the header as version 2. `None` addresses become LOCAL.
    ///
    /// Whoever writes keeps to [`HEADER_BYTES_MAX`]; TLVs that would not fit are left out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(SIGNATURE);
        match self.addresses {
            None => out.extend_from_slice(&[0x20, 0x00, 0, 0]),
            Some(addresses) => addresses.encode(&mut out),
        }
        for tlv in &self.tlvs {
            encode_tlv(&mut out, tlv.kind, &tlv.value);
        }
        let length = u16::try_from(out.len() - START_BYTES).unwrap_or(u16::MAX);
        out.splice(START_BYTES - 2..START_BYTES, length.to_be_bytes());
        out
    }
}

impl Addresses {
    fn encode(&self, out: &mut Vec<u8>) {
        if let (SocketAddr::V4(source), SocketAddr::V4(destination)) = (self.source, self.destination) {
            out.extend_from_slice(&[0x21, 0x11, 0, 0]);
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
        } else {
            out.extend_from_slice(&[0x21, 0x21, 0, 0]);
            out.extend_from_slice(&as_v6(self.source.ip()).octets());
            out.extend_from_slice(&as_v6(self.destination.ip()).octets());
        }
        out.extend_from_slice(&self.source.port().to_be_bytes());
        out.extend_from_slice(&self.destination.port().to_be_bytes());
    }
}

/// Returns how many bytes at least still belong to the header that begins with `buffer`: reading no more than that never
/// reads beyond it.
#[must_use]
pub fn bytes_wanted(buffer: &[u8]) -> usize {
    match buffer {
        // As many as both versions have at least: `PROXY UNKNOWN` and CRLF.
        [] => 15,
        [b'P', ..] => 1,
        [.., high, low] if buffer.len() == START_BYTES => usize::from(u16::from_be_bytes([*high, *low])).max(1),
        _ => START_BYTES.saturating_sub(buffer.len()).max(1),
    }
}

/// Reads a run of TLVs, as in a header or inside the SSL TLV.
///
/// # Errors
///
/// If a length points beyond the end.
pub fn decode_tlvs(mut rest: &[u8]) -> Result<Vec<Tlv>, ProxyError> {
    let mut tlvs = Vec::new();
    while !rest.is_empty() {
        let ([kind, high, low], after) = rest.split_first_chunk::<3>().ok_or(ProxyError::Malformed)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = after.split_at_checked(length).ok_or(ProxyError::Malformed)?;
        if *kind != TLV_NOOP {
            tlvs.push(Tlv { kind: *kind, value: value.to_vec() });
        }
        rest = next;
    }
    Ok(tlvs)
}

/// Appends one TLV unless the header would become too long.
pub fn encode_tlv(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let Ok(length) = u16::try_from(value.len()) else { return };
    if out.len() + 3 + value.len() <= HEADER_BYTES_MAX {
        out.push(kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(value);
    }
}

/// CRC-32C (Castagnoli), as RFC 3720 appendix B.4 has it; a header is short, so bit by bit will do.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let update = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(u32::MAX, update)
}

/// Whether `buffer` is, as far as it goes, the beginning of `prefix` or begins with it.
fn begins_like(buffer: &[u8], prefix: &[u8]) -> bool {
    let length = buffer.len().min(prefix.len());
    buffer.get(..length) == prefix.get(..length)
}

fn decode_proxied(start: &[u8; START_BYTES], body: &[u8]) -> Result<ProxyHeader, ProxyError> {
    let (addresses, rest) = match start[13] {
        0x11 => decode_v4(body)?,
        0x21 => decode_v6(body)?,
        // Datagrams and UNIX sockets carry no mail; UNSPEC says nothing. The addresses' length is known for UNIX only,
        // so TLVs after the others cannot be found.
        _ => return Ok(ProxyHeader::default()),
    };
    let tlvs = decode_tlvs(rest)?;
    check_sum(start, body, rest.len(), &tlvs)?;
    Ok(ProxyHeader { addresses: Some(addresses), tlvs })
}

fn decode_v4(body: &[u8]) -> Result<(Addresses, &[u8]), ProxyError> {
    let (fixed, rest) = body.split_first_chunk::<12>().ok_or(ProxyError::Malformed)?;
    let [a, b, c, d, e, f, g, h, source @ .., k, l] = *fixed;
    Ok((
        Addresses {
            source: (IpAddr::from([a, b, c, d]), u16::from_be_bytes(source)).into(),
            destination: (IpAddr::from([e, f, g, h]), u16::from_be_bytes([k, l])).into(),
        },
        rest,
    ))
}

fn decode_v6(body: &[u8]) -> Result<(Addresses, &[u8]), ProxyError> {
    let (source, rest) = body.split_first_chunk::<16>().ok_or(ProxyError::Malformed)?;
    let (destination, rest) = rest.split_first_chunk::<16>().ok_or(ProxyError::Malformed)?;
    let ([a, b, c, d], rest) = rest.split_first_chunk::<4>().ok_or(ProxyError::Malformed)?;
    Ok((
        Addresses {
            source: (IpAddr::from(*source), u16::from_be_bytes([*a, *b])).into(),
            destination: (IpAddr::from(*destination), u16::from_be_bytes([*c, *d])).into(),
        },
        rest,
    ))
}

/// Compares the checksum, if there is one, computed with its own four bytes as zero (§2.2.4).
fn check_sum(start: &[u8; START_BYTES], body: &[u8], tlvs_bytes: usize, tlvs: &[Tlv]) -> Result<(), ProxyError> {
    let Some(sum) = tlvs.iter().find(|tlv| tlv.kind == TLV_CRC32C) else { return Ok(()) };
    let given = u32::from_be_bytes(sum.value.as_slice().try_into().map_err(|_| ProxyError::Malformed)?);
    let mut whole = [start.as_slice(), body].concat();
    let mut at = whole.len() - tlvs_bytes;
    while let Some(&[kind, high, low]) = whole.get(at..at + 3) {
        if kind == TLV_CRC32C {
            whole.splice(at + 3..at + 7, [0; 4]);
            break;
        }
        at += 3 + usize::from(u16::from_be_bytes([high, low]));
    }
    if crc32c(&whole) == given { Ok(()) } else { Err(ProxyError::Checksum) }
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 143` or `PROXY UNKNOWN …` (§2.1).
fn decode_v1(buffer: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyError> {
    let head = buffer.get(..LINE_BYTES_MAX).unwrap_or(buffer);
    let Some(end) = memchr::memmem::find(head, b"\r\n") else {
        return if buffer.len() < LINE_BYTES_MAX { Ok(None) } else { Err(ProxyError::TooLong) };
    };
    let line = head.get(..end).and_then(|line| std::str::from_utf8(line).ok()).ok_or(ProxyError::Malformed)?;
    Ok(Some((ProxyHeader { addresses: addresses_of_line(line)?, tlvs: Vec::new() }, end + 2)))
}

fn addresses_of_line(line: &str) -> Result<Option<Addresses>, ProxyError> {
    let words: Vec<&str> = line.split(' ').collect();
    let &["PROXY", family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] = words.as_slice()
    else {
        let unknown = matches!(words.as_slice(), ["PROXY", "UNKNOWN", ..]);
        return if unknown { Ok(None) } else { Err(ProxyError::Malformed) };
    };
    let end = |ip: &str, port: &str| -> Result<SocketAddr, ProxyError> {
        let ip: IpAddr = ip.parse().map_err(|_| ProxyError::Malformed)?;
        if ip.is_ipv4() != (family == "TCP4") {
            return Err(ProxyError::Malformed);
        }
        Ok((ip, port.parse().map_err(|_| ProxyError::Malformed)?).into())
    };
    Ok(Some(Addresses { source: end(source, source_port)?, destination: end(destination, destination_port)? }))
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
#[path = "proxy_test.rs"]
mod tests;
