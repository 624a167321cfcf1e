//! Frames cut into fragments, with headers by etherparse.

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader};

use crate::icmp::LINK;

/// The fragments of a frame's packet, of at most `size` bytes behind the header (a multiple of 8).
pub(crate) fn cut(frame: &[u8], size: usize, identification: u32) -> Vec<Vec<u8>> {
    let (link, packet) = frame.split_at(LINK);
    let header_length = if packet[0] >> 4 == 4 { usize::from(packet[0] & 15) * 4 } else { 40 };
    let (header, payload) = packet.split_at(header_length);
    let count = payload.chunks(size).count();
    let pieces = payload.chunks(size).enumerate();
    pieces
        .map(|(position, piece)| {
            let more = position + 1 != count;
            let offset = IpFragOffset::try_new((position * size / 8) as u16).unwrap();
            let header = if packet[0] >> 4 == 4 {
                v4(header, offset, more, identification, piece.len())
            } else {
                v6(header, offset, more, identification, piece.len())
            };
            [link, &header, piece].concat()
        })
        .collect()
}

fn v4(header: &[u8], offset: IpFragOffset, more: bool, identification: u32, length: usize) -> Vec<u8> {
    let (mut header, _) = Ipv4Header::from_slice(header).unwrap();
    header.identification = identification as u16;
    header.dont_fragment = false;
    header.more_fragments = more;
    header.fragment_offset = offset;
    header.set_payload_len(length).unwrap();
    header.header_checksum = header.calc_header_checksum();
    header.to_bytes().to_vec()
}

fn v6(header: &[u8], offset: IpFragOffset, more: bool, identification: u32, length: usize) -> Vec<u8> {
    let fragment = Ipv6FragmentHeader::new(IpNumber(header[6]), offset, more, identification).to_bytes();
    let mut header = header.to_vec();
    header[4..6].copy_from_slice(&((length + fragment.len()) as u16).to_be_bytes());
    header[6] = IpNumber::IPV6_FRAGMENTATION_HEADER.0;
    header.extend(fragment);
    header
}
