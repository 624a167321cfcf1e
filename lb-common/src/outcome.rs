//! How a packet can end. Every packet ends in exactly one of these, is counted under it and printed by its name.

/// What becomes of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Goes on to the kernel as it came.
    Pass,
    /// Goes on to the kernel with its addresses translated, because the kernel knows better how to deliver it.
    Kernel,
    /// Leaves through an interface.
    Send,
    /// Ends here.
    Drop,
}

macro_rules! outcomes {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal, $disposition:ident;)+) => {
        /// The end of a packet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Outcome {
            $($(#[$doc])+ $variant,)+
        }

        impl Outcome {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in status, metrics and logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What becomes of the frame.
            #[must_use]
            #[inline(always)]
            pub const fn disposition(self) -> Disposition {
                match self {
                    $(Self::$variant => Disposition::$disposition,)+
                }
            }
        }
    };
}

outcomes! {
    /// Translated by its connection and sent.
    Forwarded = "forwarded", Send;
    /// The first packet of a connection, sent to the real server that was chosen.
    NewConnection = "new_connection", Send;
    /// The first packet seen of a connection that began elsewhere, sent to the deterministic choice.
    Adopted = "adopted", Send;
    /// Sent although the connection table had no room for it: its entry may be evicted, and is then adopted again.
    TableFull = "table_full", Send;
    /// A real server's packet without an entry, translated by the reverse index.
    StatelessReply = "stateless_reply", Send;
    /// An ICMP error about a packet of a connection, translated with what it quotes and sent.
    IcmpTranslated = "icmp_translated", Send;
    /// Answered with a TCP reset: its real server is gone, or nothing is known of its connection.
    Reset = "reset", Send;
    /// Answered at once because no real server takes it: TCP with a reset, UDP with ICMP port unreachable.
    Refused = "refused", Send;
    /// For a virtual server, its last hop is here (TTL or hop limit 1): answered with ICMP time exceeded.
    TimeExceeded = "time_exceeded", Send;
    /// Larger than the way to the real server takes, and not to be fragmented: answered with the size that fits.
    TooBig = "too_big", Send;
    /// Translated; the kernel resolves the neighbour or reports that there is no route.
    KernelRoute = "kernel_route", Kernel;

    /// Neither IPv4 nor IPv6: ARP, LLDP and others.
    NotIp = "not_ip", Pass;
    /// With VLAN tags that no VLAN device here has.
    UnknownVlan = "unknown_vlan", Pass;
    /// On an interface the controller has not described.
    UnattachedInterface = "unattached_interface", Pass;
    /// For the MAC address of another host, a group or nobody.
    ForeignMac = "foreign_mac", Pass;
    /// An IP protocol that is not balanced: VRRP, ESP and others.
    OtherProtocol = "other_protocol", Pass;
    /// ICMP that is the kernel's to answer: echo, neighbour discovery, errors about nothing of ours.
    Icmp = "icmp", Pass;
    /// Not for a virtual server and not of a connection.
    NoService = "no_service", Pass;
    /// A fragment of somebody else's.
    Fragment = "fragment", Pass;
    /// Unreadable headers, not for a VIP.
    MalformedForeign = "malformed_foreign", Pass;
    /// For a VIP that another node owns: the kernel routes it on.
    NotOwner = "not_owner", Pass;
    /// A reply whose last hop is here (TTL or hop limit 1): the kernel answers the real server.
    TtlExpired = "ttl_expired", Pass;
    /// A reply larger than the way to the client takes, and not to be fragmented: the kernel answers the real server.
    Oversized = "oversized", Pass;

    /// Of a VIP that this node has lost or not won yet, where the kernel would answer in the owner's place; or for the virtual
    /// MAC address of such a node.
    Disowned = "disowned", Drop;
    /// For a VIP: IP header length, total length or version do not add up.
    MalformedIp = "malformed_ip", Drop;
    /// For a VIP: TCP or UDP header does not fit.
    MalformedTransport = "malformed_transport", Drop;
    /// For a VIP: a combination of TCP flags that no connection has.
    BadTcpFlags = "bad_tcp_flags", Drop;
    /// For a VIP, from the same address and port (LAND).
    Land = "land", Drop;
    /// For a virtual server, from an address nobody can have.
    MartianSource = "martian_source", Drop;
    /// For a VIP, a fragment whose first one was not seen before it, or whose connection is not known.
    FragmentUnknown = "fragment_unknown", Drop;
    /// TCP that is neither known nor a SYN, where the policy is not to adopt, or a reset of nothing.
    WithoutState = "without_state", Drop;
    /// It would have been answered with a reset, but its checksum is wrong: nobody knows who sent it.
    BadChecksum = "bad_checksum", Drop;
    /// No real server takes it, and it is not to be answered: a TCP reset.
    NoRealServer = "no_real_server", Drop;
    /// To be answered by us, but this CPU has answered as many as it may for now.
    AnswerLimited = "answer_limited", Drop;
    /// Every real server tried already has this client's port from another VIP, or no port is left to reach it from.
    Collision = "collision", Drop;
    /// The frame could not be changed; a defect if ever counted.
    Unwritable = "unwritable", Drop;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_are_positions_and_names_are_unique() {
        for (position, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, position);
        }
        let names: HashSet<_> = Outcome::ALL.iter().map(|outcome| outcome.name()).collect();
        assert_eq!(names.len(), Outcome::ALL.len());
    }
}
