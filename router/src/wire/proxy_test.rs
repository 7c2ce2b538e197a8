use super::*;

fn addresses(source: &str, destination: &str) -> Option<Addresses> {
    Some(Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
}

#[test]
fn version_1_is_read_with_its_length() {
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 143\r\na1 NOOP\r\n";
    let (header, length) = ProxyHeader::decode(line).unwrap().unwrap();
    assert_eq!(header.addresses, addresses("192.0.2.1:56324", "198.51.100.2:143"));
    assert_eq!(&line[length..], b"a1 NOOP\r\n");
}

#[test]
fn version_1_knows_ipv6_and_unknown() {
    let (header, _) = ProxyHeader::decode(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n").unwrap().unwrap();
    assert_eq!(header.addresses, addresses("[2001:db8::1]:1", "[2001:db8::2]:2"));
    let (header, _) = ProxyHeader::decode(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n").unwrap().unwrap();
    assert_eq!(header.addresses, None);
}

#[test]
fn every_beginning_of_a_header_asks_for_more() {
    let v2 = ProxyHeader { addresses: addresses("192.0.2.1:1", "192.0.2.2:2"), tlvs: vec![] }.encode();
    for whole in [b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 143\r\n".as_slice(), &v2] {
        for length in 0..whole.len() {
            assert_eq!(ProxyHeader::decode(&whole[..length]), Ok(None), "{length}");
        }
        assert!(ProxyHeader::decode(whole).unwrap().is_some());
    }
}

#[test]
fn reading_what_is_wanted_never_reads_beyond_the_header() {
    let tlvs = vec![Tlv { kind: 0x01, value: b"imap".to_vec() }];
    let v2 = ProxyHeader { addresses: addresses("192.0.2.1:1", "192.0.2.2:2"), tlvs }.encode();
    let local = ProxyHeader::default().encode();
    let unknown = b"PROXY UNKNOWN\r\n".to_vec();
    for whole in [b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 143\r\n".to_vec(), v2, local, unknown] {
        let mut length = 0;
        while ProxyHeader::decode(&whole[..length]).unwrap().is_none() {
            length += bytes_wanted(&whole[..length]);
            assert!(length <= whole.len());
        }
        assert_eq!(length, whole.len());
    }
}

#[test]
fn bad_lines_of_version_1_are_refused() {
    for line in [
        "PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY \r\n",
    ] {
        assert_eq!(ProxyHeader::decode(line.as_bytes()), Err(ProxyError::Malformed), "{line}");
    }
    let endless = ["PROXY UNKNOWN ", "x".repeat(200).as_str()].concat();
    assert_eq!(ProxyHeader::decode(endless.as_bytes()), Err(ProxyError::TooLong));
    assert_eq!(ProxyHeader::decode(b"a1 NOOP\r\n"), Err(ProxyError::Absent));
}

#[test]
fn version_2_survives_both_ways() {
    for (source, destination) in [("192.0.2.1:1", "192.0.2.2:2"), ("[2001:db8::1]:3", "[2001:db8::2]:4")] {
        let tlvs = vec![Tlv { kind: 0x01, value: b"imap".to_vec() }, Tlv { kind: 0xE0, value: vec![0; 8] }];
        let header = ProxyHeader { addresses: addresses(source, destination), tlvs };
        let mut bytes = header.encode();
        let length = bytes.len();
        bytes.extend_from_slice(b"more");
        assert_eq!(ProxyHeader::decode(&bytes), Ok(Some((header, length))));
    }
}

#[test]
fn mixed_families_are_written_as_ipv6() {
    let header = ProxyHeader { addresses: addresses("192.0.2.1:1", "[2001:db8::2]:4"), tlvs: vec![] };
    let (read, _) = ProxyHeader::decode(&header.encode()).unwrap().unwrap();
    assert_eq!(read.addresses, addresses("[::ffff:192.0.2.1]:1", "[2001:db8::2]:4"));
}

#[test]
fn local_says_nothing_about_addresses() {
    assert_eq!(ProxyHeader::decode(&ProxyHeader::default().encode()), Ok(Some((ProxyHeader::default(), 16))));
}

#[test]
fn a_claimed_length_beyond_the_limit_is_refused_at_once() {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend_from_slice(&[0x21, 0x11, 0xff, 0xff]);
    assert_eq!(ProxyHeader::decode(&bytes), Err(ProxyError::TooLong));
}

#[test]
fn lengths_that_do_not_fit_are_malformed() {
    let mut bytes = ProxyHeader { addresses: addresses("192.0.2.1:1", "192.0.2.2:2"), tlvs: vec![] }.encode();
    bytes.extend_from_slice(&[0xE0, 0, 9, 1]);
    bytes[15] += 4;
    assert_eq!(ProxyHeader::decode(&bytes), Err(ProxyError::Malformed));
    let mut short = SIGNATURE.to_vec();
    short.extend_from_slice(&[0x21, 0x21, 0, 12]);
    short.extend_from_slice(&[0; 12]);
    assert_eq!(ProxyHeader::decode(&short), Err(ProxyError::Malformed));
}

#[test]
fn checksums_are_checked() {
    // RFC 3720 appendix B.4: 32 bytes of zeroes.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    let tlvs = vec![Tlv { kind: 0xE0, value: vec![3; 2] }, Tlv { kind: TLV_CRC32C, value: vec![0; 4] }];
    let mut bytes = ProxyHeader { addresses: addresses("192.0.2.1:1", "192.0.2.2:2"), tlvs }.encode();
    let sum = crc32c(&bytes).to_be_bytes();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&sum);
    assert!(ProxyHeader::decode(&bytes).unwrap().is_some());
    bytes[20] ^= 1;
    assert_eq!(ProxyHeader::decode(&bytes), Err(ProxyError::Checksum));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(start in proptest::bool::ANY, tail: Vec<u8>) {
        let bytes = [if start { SIGNATURE.as_slice() } else { b"PROXY " }, &tail].concat();
        let _ = ProxyHeader::decode(&bytes);
    }
}
