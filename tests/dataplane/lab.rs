//! Where cases are tried: the decision function on the host and, where there is one, its twin in the kernel, which has
//! to agree in every byte, counter and entry.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lb_common::{
    counter::{Counter, Row},
    outcome::Outcome,
    service::Load,
    tcp::header::{ACK, SYN},
};
use lb_ebpf::{
    desk::Workspace,
    memory::{Frame, Memory, forward},
    verdict::Verdict,
};

use crate::packet::{Packet, Transport, tcp, untagged};
use crate::read::{Segment, read};
use crate::reset;
use crate::world::{self, arriving, at, leaving};

/// Outcome counters by interface slot.
pub(crate) type Outcomes = BTreeMap<(u16, Outcome), Counter>;

/// The same data plane somewhere else.
pub(crate) trait Twin {
    /// Gives it a frame; panics unless it ends as on the host. False when it takes no such frame.
    fn agrees(&mut self, interface: u32, frame: &[u8], verdict: Verdict, after: &[u8]) -> bool;
    /// Makes its configuration the host's and removes entries that the host no longer has.
    fn follow(&mut self, memory: &Memory);
    /// Panics unless its entries, loads and counters are the host's.
    fn has_the_same(&mut self, memory: &Memory, outcomes: &Outcomes);
}

/// The tables, and who has to agree.
pub(crate) struct Lab<'a> {
    /// The tables of the host.
    pub(crate) memory: Memory,
    workspace: Workspace,
    outcomes: Outcomes,
    twin: Option<&'a mut dyn Twin>,
}

/// Established connections that there is room for in [`Lab::on_host`].
pub(crate) const CONNECTIONS: usize = 32;

/// How a frame ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) verdict: Verdict,
    pub(crate) bytes: Vec<u8>,
}

impl<'a> Lab<'a> {
    /// The world of the cases, on the host alone.
    pub(crate) fn on_host() -> Self {
        Self::new(world::memory(CONNECTIONS), None)
    }

    /// These tables, and who has to agree.
    pub(crate) fn new(memory: Memory, twin: Option<&'a mut dyn Twin>) -> Self {
        let mut lab = Self { memory, workspace: Workspace::default(), outcomes: Outcomes::new(), twin };
        if let Some(twin) = &mut lab.twin {
            twin.follow(&lab.memory);
        }
        lab
    }

    /// Whether somebody has to agree.
    pub(crate) fn has_twin(&self) -> bool {
        self.twin.is_some()
    }

    /// A frame arrives.
    pub(crate) fn frame(&mut self, interface: u32, frame: &[u8]) -> Ended {
        let mut buffer = frame.to_vec();
        let mut packet = Frame { interface, bytes: &mut buffer };
        let verdict = forward(&mut packet, &mut self.memory, &mut self.workspace);
        let bytes = packet.bytes.to_vec();
        if self.twin.as_mut().is_none_or(|twin| twin.agrees(interface, frame, verdict, &bytes)) {
            let slot = self.memory.interfaces.get(&interface).map_or(0, |described| described.slot);
            self.outcomes.entry((slot, verdict.outcome())).or_default().add(frame.len() as u64);
        }
        Ended { verdict, bytes }
    }

    /// A packet arrives from its neighbour.
    pub(crate) fn send(&mut self, packet: &Packet) -> Ended {
        let (wire, packet) = arriving(packet);
        self.frame(wire.on.into(), &packet.bytes())
    }

    /// A packet arrives and leaves as `expected`, one hop on and to its next neighbour.
    #[track_caller]
    pub(crate) fn forwards(&mut self, packet: &Packet, outcome: Outcome, expected: &Packet) {
        let ended = self.send(packet);
        assert_eq!(ended.verdict.outcome(), outcome, "{packet:?}");
        assert_same(&ended.bytes, &leaving(expected).bytes());
    }

    /// A packet arrives and goes up to the kernel as `expected`, with its hops and its link addresses as they were.
    #[track_caller]
    pub(crate) fn hands_up(&mut self, packet: &Packet, expected: &Packet) {
        let ended = self.send(packet);
        assert_eq!(ended.verdict.outcome(), Outcome::KernelRoute, "{packet:?}");
        let (_, link) = arriving(packet);
        let Packet { link_source, link_destination, vlans, .. } = link;
        let expected = Packet { link_source, link_destination, vlans, ..expected.clone() };
        assert_same(&ended.bytes, &expected.bytes());
    }

    /// A packet arrives and ends so, with no byte of it changed.
    #[track_caller]
    pub(crate) fn leaves_alone(&mut self, packet: &Packet, outcome: Outcome) {
        let (_, arrived) = arriving(packet);
        let ended = self.send(packet);
        assert_eq!(ended.verdict.outcome(), outcome, "{packet:?}");
        assert_same(&ended.bytes, &arrived.bytes());
    }

    /// A segment arrives and is answered with a reset, the way it came: what that says is returned.
    #[track_caller]
    pub(crate) fn resets(&mut self, segment: &Packet) -> Segment {
        let (wire, arrived) = arriving(segment);
        let ended = self.send(segment);
        assert_eq!(ended.verdict, Verdict::sent(Outcome::Reset, wire.on), "{segment:?}");
        let length = 4 * arrived.vlans.len();
        assert_eq!(ended.bytes[12..12 + length], arrived.bytes()[12..12 + length], "its tags");
        let (asked, answer) = (untagged(&arrived.bytes()), untagged(&ended.bytes));
        reset::check(&asked, &answer).unwrap_or_else(|fault| panic!("{fault}: {segment:?}"));
        read(&answer).and_then(|seen| seen.segment).expect("a segment came out")
    }

    /// A client's packet arrives and leaves, changed in nothing but its destination: which is returned.
    #[track_caller]
    pub(crate) fn reaches(&mut self, packet: &Packet, outcome: Outcome) -> SocketAddr {
        let ended = self.send(packet);
        assert_eq!(ended.verdict.outcome(), outcome, "{packet:?}");
        let destination = read(&ended.bytes).expect("a well-formed packet came out").destination;
        let expected = leaving(&Packet { destination, ..packet.clone() });
        assert_same(&ended.bytes, &expected.bytes());
        destination
    }

    /// A client opens a TCP connection and proves it; the real server that it got.
    #[track_caller]
    pub(crate) fn establishes(&mut self, client: SocketAddr, vip: &str) -> SocketAddr {
        let server = self.reaches(&tcp(client, at(vip), SYN), Outcome::NewConnection);
        self.answers(&tcp(server, client, SYN | ACK).numbered(5000, 1001), vip);
        let ack = tcp(client, at(vip), ACK).numbered(1001, 5001);
        assert_eq!(self.reaches(&ack, Outcome::Forwarded), server);
        server
    }

    /// A real server's packet arrives and leaves from the VIP.
    #[track_caller]
    pub(crate) fn answers(&mut self, reply: &Packet, vip: &str) {
        self.forwards(reply, Outcome::Forwarded, &Packet { source: at(vip), ..reply.clone() });
    }

    /// The controller changes the tables.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Memory)) {
        self.check();
        change(&mut self.memory);
        if let Some(twin) = &mut self.twin {
            twin.follow(&self.memory);
        }
    }

    /// The controller has changed something: every entry is verified again.
    pub(crate) fn change_and_renew(&mut self, change: impl FnOnce(&mut Memory)) {
        self.change(|memory| {
            change(memory);
            memory.settings.as_mut().unwrap().generation += 1;
        });
    }

    /// The twin has what the host has.
    pub(crate) fn check(&mut self) {
        if let Some(twin) = &mut self.twin {
            twin.has_the_same(&self.memory, &self.outcomes);
        }
    }

    /// Entries of IPv4: half-open, established, UDP.
    pub(crate) fn entries(&self) -> [usize; 3] {
        [self.memory.v4.half_open.len(), self.memory.v4.tcp.len(), self.memory.v4.udp.len()]
    }

    /// Connections that were ever opened.
    pub(crate) fn opened(&self) -> u64 {
        self.memory.traffic.values().map(|rows| rows[Row::Opened as usize].packets).sum()
    }

    /// The sum of all loads.
    pub(crate) fn load(&self) -> Load {
        self.memory.loads.values().fold(Load::default(), |sum, load| Load {
            active: sum.active + load.active,
            inactive: sum.inactive + load.inactive,
        })
    }
}

/// The reply of a real server to a client's packet, with nothing in it yet.
pub(crate) fn reply(server: SocketAddr, packet: &Packet) -> Packet {
    let transport = match &packet.transport {
        Transport::Tcp { .. } => {
            Transport::Tcp { flags: ACK, sequence: 5001, acknowledgment: 1001, options: Vec::new() }
        }
        Transport::Udp => Transport::Udp,
    };
    Packet { source: server, destination: packet.source, transport, ..packet.clone() }
}

#[track_caller]
fn assert_same(got: &[u8], expected: &[u8]) {
    assert!(got == expected, "\n     got {}\nexpected {}", hex(got), hex(expected));
}

/// Bytes as hexadecimal digits, the headers apart.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().enumerate().fold(String::new(), |text, (position, byte)| {
        let gap = if [14, 34, 54].contains(&position) { " " } else { "" };
        format!("{text}{gap}{byte:02x}")
    })
}
