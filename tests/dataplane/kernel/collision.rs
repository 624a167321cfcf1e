//! Several VIPs in front of the same real servers, asked from the same client ports: whose is a reply?

use std::net::SocketAddr;

use lb_common::{
    outcome::Outcome,
    tcp::header::{ACK, SYN},
};

use super::{DROP, Kernel, REDIRECT, with_the_world};
use crate::packet::tcp;
use crate::read::read;
use crate::stream::Dice;
use crate::world::{ALONE, WEB, WEB_AGAIN, at};

/// Connections tried, three from each client port.
const CONNECTIONS: usize = 100_000;

/// Two real servers are behind the first two, one of these is behind the last: two of the three have room.
const VIPS: [&str; 3] = [WEB, WEB_AGAIN, ALONE];

#[test]
fn a_reply_comes_from_the_vip_that_was_asked_or_the_connection_is_refused() {
    with_the_world(|pins| {
        let kernel = Kernel::with_world(CONNECTIONS, pins);
        let mut dice = Dice(1);
        let clients = CONNECTIONS / VIPS.len() + 1;
        let mut open = Vec::new();
        for client in (0..clients).map(client) {
            let mut vips = VIPS;
            vips.rotate_left(dice.below(3));
            vips[1..].rotate_left(dice.below(2));
            open.extend(vips.into_iter().filter_map(|vip| Some((client, vip, kernel.opens(client, vip)?))));
        }
        assert_eq!(kernel.count(Outcome::Collision), clients as u64, "of three, one is refused");
        assert_eq!(open.len(), 2 * clients);
        for (client, vip, server) in open {
            let (action, bytes) = kernel.send(&tcp(server, client, ACK).with(b"reply"));
            let reply = read(&bytes).unwrap();
            assert_eq!((action, reply.source, reply.destination), (REDIRECT, at(vip), client));
            let (action, bytes) = kernel.send(&tcp(client, at(vip), ACK).with(b"request"));
            assert_eq!((action, read(&bytes).unwrap().destination), (REDIRECT, server));
        }
    });
}

fn client(number: usize) -> SocketAddr {
    at(&format!("198.18.0.{}:{}", number / 10_000, 20_000 + number % 10_000))
}

impl Kernel {
    /// The real server a connection gets, now proven; none if it is refused.
    fn opens(&self, client: SocketAddr, vip: &str) -> Option<SocketAddr> {
        let (action, bytes) = self.send(&tcp(client, at(vip), SYN));
        if action == DROP {
            return None;
        }
        let server = read(&bytes).unwrap().destination;
        self.proves(client, vip, server);
        Some(server)
    }
}
