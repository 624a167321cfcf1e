use netlink_packet_core::NetlinkHeader;
use netlink_packet_route::{link::LinkMessage, rule::RuleMessage};
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

type Payload = NetlinkPayload<RouteNetlinkMessage>;

fn neighbour_message(address: &str, state: NeighbourState, mac: Option<[u8; 6]>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = 3;
    message.header.state = state;
    let address = match address.parse().unwrap() {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes.push(NeighbourAttribute::Destination(address));
    message.attributes.extend(mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.to_vec())));
    message
}

fn neighbour_is(state: NeighbourState, mac: [u8; 6]) -> Payload {
    RouteNetlinkMessage::NewNeighbour(neighbour_message("10.0.0.11", state, Some(mac))).into()
}

fn neighbour_without_mac(state: NeighbourState) -> Payload {
    RouteNetlinkMessage::NewNeighbour(neighbour_message("10.0.0.11", state, None)).into()
}

fn neighbour_deleted(state: NeighbourState) -> Payload {
    RouteNetlinkMessage::DelNeighbour(neighbour_message("10.0.0.11", state, Some(MAC))).into()
}

fn address_message() -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.prefix_len = 24;
    message.attributes.push(AddressAttribute::Local("192.0.2.10".parse().unwrap()));
    message
}

fn meanings<const N: usize>(payloads: [Payload; N]) -> [Option<HostEvent>; N] {
    let mut known = Known::default();
    payloads.map(|payload| known.meaning(&payload))
}

const PATHS: Option<HostEvent> = Some(HostEvent::Paths);
const LINKS: Option<HostEvent> = Some(HostEvent::Links);

#[test]
fn a_neighbour_that_keeps_its_mac_means_nothing() {
    use NeighbourState::{Delay, Probe, Reachable, Stale};
    let said = [Reachable, Stale, Delay, Probe, Reachable].map(|state| neighbour_is(state, MAC));
    assert_eq!(meanings(said), [PATHS, None, None, None, None]);
}

#[test]
fn a_neighbour_that_moves_fails_or_comes_back_means_paths() {
    use NeighbourState::{Failed, Incomplete, Permanent, Reachable, Stale};
    let said = [
        neighbour_is(Reachable, MAC),
        neighbour_is(Reachable, OTHER),
        neighbour_without_mac(Failed),
        neighbour_without_mac(Incomplete),
        neighbour_without_mac(Failed),
        neighbour_deleted(Failed),
        neighbour_is(Stale, OTHER),
        neighbour_deleted(Stale),
        neighbour_is(Permanent, OTHER),
    ];
    assert_eq!(meanings(said), [PATHS, PATHS, PATHS, None, None, None, PATHS, PATHS, PATHS]);
}

#[test]
fn a_neighbour_from_before_the_watch_is_not_missed_when_it_goes() {
    assert_eq!(meanings([neighbour_deleted(NeighbourState::Stale)]), [PATHS]);
    assert_eq!(meanings([neighbour_without_mac(NeighbourState::Failed)]), [PATHS]);
}

#[test]
fn one_neighbour_on_two_links_is_two() {
    let mut there = neighbour_message("fe80::1", NeighbourState::Reachable, Some(MAC));
    let here = there.clone();
    there.header.ifindex = 4;
    let said = [here, there].map(|message| RouteNetlinkMessage::NewNeighbour(message).into());
    assert_eq!(meanings(said), [PATHS, PATHS]);
}

#[test]
fn multicast_and_bridge_entries_mean_nothing() {
    let mut bridge = NeighbourMessage::default();
    bridge.attributes.push(NeighbourAttribute::LinkLayerAddress(MAC.to_vec()));
    let group = |address| neighbour_message(address, NeighbourState::Noarp, Some(MAC));
    let said = [bridge, group("224.0.0.18"), group("ff02::12")];
    let said = said.map(|message| RouteNetlinkMessage::DelNeighbour(message).into());
    assert_eq!(meanings(said), [None, None, None]);
}

#[test]
fn an_address_whose_lifetime_is_renewed_means_nothing() {
    let put = || RouteNetlinkMessage::NewAddress(address_message()).into();
    let gone = || RouteNetlinkMessage::DelAddress(address_message()).into();
    assert_eq!(meanings([put(), put(), gone(), put()]), [PATHS, None, PATHS, PATHS]);
}

#[test]
fn routes_and_rules_mean_paths_but_not_what_is_cached_of_them() {
    let mut cached = RouteMessage::default();
    cached.header.flags = RouteFlags::Cloned;
    let said = [
        RouteNetlinkMessage::NewRoute(RouteMessage::default()),
        RouteNetlinkMessage::DelRoute(RouteMessage::default()),
        RouteNetlinkMessage::NewRoute(cached),
        RouteNetlinkMessage::NewRule(RuleMessage::default()),
        RouteNetlinkMessage::DelRule(RuleMessage::default()),
    ];
    assert_eq!(meanings(said.map(Payload::from)), [PATHS, PATHS, None, PATHS, PATHS]);
}

#[test]
fn lost_messages_mean_everything_and_end_what_was_known() {
    let reachable = || neighbour_is(NeighbourState::Reachable, MAC);
    let said = [reachable(), NetlinkPayload::Overrun(Vec::new()), reachable(), reachable()];
    assert_eq!(meanings(said), [PATHS, LINKS, PATHS, None]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_one_event_at_once_and_one_after_the_rest() {
    let (kernel, messages) = mpsc::unbounded_channel();
    let (events, mut received) = mpsc::channel(2);
    let task = tokio::spawn(publish(UnboundedReceiverStream::new(messages), events));
    let say = |message: RouteNetlinkMessage| {
        let message = NetlinkMessage::new(NetlinkHeader::default(), message.into());
        kernel.send((message, SocketAddr::new(0, 0))).unwrap();
    };
    let route = || RouteNetlinkMessage::NewRoute(RouteMessage::default());
    let link = || RouteNetlinkMessage::NewLink(LinkMessage::default());

    // Long after the start, as a host is most of its time.
    sleep(REST * 100).await;
    let start = Instant::now();
    say(route());
    assert_eq!(received.recv().await, PATHS);
    assert_eq!(start.elapsed(), Duration::ZERO);

    for _ in 0..1000 {
        say(route());
    }
    say(link());
    assert_eq!(received.recv().await, LINKS);
    assert_eq!(received.recv().await, PATHS);
    // The timer's grain is a millisecond.
    assert!((REST..REST + Duration::from_millis(2)).contains(&start.elapsed()), "{:?}", start.elapsed());

    sleep(REST * 100).await;
    assert!(received.try_recv().is_err());
    drop(received);
    task.await.unwrap();
}
