//! The reset that answers a segment, as RFC 9293 section 3.10.7.1 has it.

use lb_common::tcp::header::{ACK, FIN, RST, SYN};

use crate::read::{Seen, Segment, read};

/// Ethernet and TCP headers without options.
const HEADERS: usize = 14 + 20;

/// Whether `answer` is the reset that `frame` asks for, and nothing more.
pub(crate) fn check(frame: &[u8], answer: &[u8]) -> Result<(), String> {
    let Some(seen) = read(answer) else { return Err("the reset is malformed".into()) };
    let length = HEADERS + if seen.source.is_ipv4() { 20 } else { 40 };
    if answer.len() != length {
        return Err(format!("{} bytes of a reset, which has {length}", answer.len()));
    }
    let Some(before) = read(frame) else {
        // etherparse is stricter with the order of extension headers.
        let whole = seen.network_whole && seen.transport_whole;
        let resets = seen.segment.is_some_and(|segment| segment.flags & RST != 0);
        return if whole && resets { Ok(()) } else { Err(format!("no reset: {seen:?}")) };
    };
    let expected = expected(&before);
    if expected.as_ref() == Some(&seen) { Ok(()) } else { Err(format!("{seen:?} instead of {expected:?}")) }
}

/// `None` when there must be no answer.
fn expected(to: &Seen) -> Option<Seen> {
    let Segment { flags, sequence, acknowledgment } = to.segment?;
    if flags & RST != 0 {
        return None;
    }
    let segment = if flags & ACK != 0 {
        Segment { flags: RST, sequence: acknowledgment, acknowledgment: 0 }
    } else {
        let controls = usize::from(flags & SYN != 0) + usize::from(flags & FIN != 0);
        let length = (to.payload.len() + controls) as u32;
        Segment { flags: RST | ACK, sequence: 0, acknowledgment: sequence.wrapping_add(length) }
    };
    Some(Seen {
        link_source: to.link_destination,
        link_destination: to.link_source,
        source: to.destination,
        destination: to.source,
        protocol: to.protocol,
        hops: 64,
        payload: Vec::new(),
        segment: Some(segment),
        network_whole: true,
        transport_whole: true,
    })
}
