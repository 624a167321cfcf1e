//! The state of a TCP connection, from what both directions have seen.

use crate::connection::flags;

/// Flags of the TCP header (RFC 9293 section 3.1).
pub mod header {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgment field is significant.
    pub const ACK: u8 = 0x10;
}

/// Where an established connection stands. Half-open ones are in a table of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpState {
    /// Both directions are open.
    Established,
    /// One direction has sent a FIN; the other may go on for as long as it has data.
    HalfClosed,
    /// Both directions have sent a FIN.
    TimeWait,
    /// One direction has sent a RST.
    Close,
}

impl TcpState {
    /// From the [`flags`] of the two entries.
    #[must_use]
    #[inline(always)]
    pub const fn of(one: u16, other: u16) -> Self {
        if (one | other) & flags::RST != 0 {
            Self::Close
        } else if one & other & flags::FIN != 0 {
            Self::TimeWait
        } else if (one | other) & flags::FIN != 0 {
            Self::HalfClosed
        } else {
            Self::Established
        }
    }

    /// A SYN on it starts a new connection.
    #[must_use]
    #[inline(always)]
    pub const fn gives_way_to_syn(self) -> bool {
        matches!(self, Self::TimeWait | Self::Close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_closing_once_both_ends_or_a_reset_say_so() {
        for (one, other, state) in [
            (0, 0, TcpState::Established),
            (flags::FIN, 0, TcpState::HalfClosed),
            (0, flags::FIN, TcpState::HalfClosed),
            (flags::FIN, flags::FIN, TcpState::TimeWait),
            (flags::RST, 0, TcpState::Close),
            (flags::FIN, flags::FIN | flags::RST, TcpState::Close),
        ] {
            assert_eq!(TcpState::of(one, other), state);
            assert_eq!(TcpState::of(other, one), state);
        }
    }
}
