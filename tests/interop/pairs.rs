//! The whole life of a pair, in every flavour and both roles.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::{
    bench::{Bench, Kind, LATE, first_of, report},
    capture::{Seen, What},
    lab::{now, until},
    peers::{BOTH, Flavour, IPV6, PLAIN, Process, SYNC},
};

/// The whole life of a pair: `high` is master, stops, comes back, is killed.
fn a_pair_lives(flavour: Flavour, high: Kind) {
    let low = high.other();
    let bench = Bench::new(flavour);
    let flavour = &bench.flavour;
    let interval = flavour.interval;
    let skew = |priority: u32| {
        let unit = if flavour.version == 2 { Duration::from_secs(1) } else { interval };
        unit * (256 - priority) / 256
    };
    let start = |kind, priority| bench.start(kind, priority, true);
    let both = |high_one: Process, low_one: Process| {
        if high == Kind::Ours { (high_one, low_one) } else { (low_one, high_one) }
    };

    let began = now();
    let (ours, keepalived) = both(start(high, 150), start(low, 100));
    bench.until_owner(high);
    let cold = first_of(&bench.capture.adverts(Bench::host(high), began)).unwrap() - began;
    report(flavour, &format!("{high:?} cold start"), cold);
    bench.is_calm(high, &ours, &keepalived);

    let leaves = now();
    let master = if high == Kind::Ours { &ours } else { &keepalived };
    master.end(Signal::SIGTERM);
    bench.until_owner(low);
    let resigned = bench.takeover(Bench::host(high), leaves);
    report(flavour, &format!("{high:?} SIGTERM, {low:?} takes over"), resigned);
    assert!(bench.capture.resignation(Bench::host(high), leaves).is_some());
    assert!(resigned <= skew(100) + LATE, "{resigned:?}");

    let (ours, keepalived) = if high == Kind::Ours {
        drop(ours);
        (start(high, 150), keepalived)
    } else {
        drop(keepalived);
        (ours, start(high, 150))
    };
    bench.until_owner(high);
    bench.is_calm(high, &ours, &keepalived);

    let killed = now();
    let master = if high == Kind::Ours { &ours } else { &keepalived };
    master.end(Signal::SIGKILL);
    if high == Kind::Ours {
        until("the kernel removes our address", || bench.lacks(Kind::Ours));
        report(flavour, "address gone after SIGKILL", killed.elapsed());
        assert!(killed.elapsed() < Duration::from_secs(3));
    }
    until("the other has the address", || bench.owns(low));
    let silent = bench.takeover(Bench::host(high), killed);
    report(flavour, &format!("{high:?} SIGKILL, {low:?} takes over"), silent);
    assert!(silent <= interval * 3 + skew(100) + LATE, "{silent:?}");
    if flavour.vmac {
        speaks_with_virtual_macs(&bench);
    }
}

/// Every advertisement and every announcement of both sides came from a virtual MAC address, and so did nothing of a backup's.
fn speaks_with_virtual_macs(bench: &Bench) {
    let macs = bench.flavour.virtual_macs();
    for kind in [Kind::Ours, Kind::Keepalived] {
        let from = Bench::host(kind);
        let seen = bench.capture.all().into_iter().filter(|seen| seen.from == from);
        let (adverts, announced): (Vec<_>, Vec<_>) =
            seen.partition(|seen| matches!(seen.what, What::Advert { .. }));
        assert!(
            adverts.len() >= 2 && announced.len() >= 5,
            "{kind:?}: {} {}",
            adverts.len(),
            announced.len()
        );
        let vips = bench.flavour.addresses();
        let of_vip =
            |seen: &Seen| matches!(seen.what, What::Announcement(address) if vips.contains(&address));
        for seen in adverts.into_iter().chain(announced.into_iter().filter(of_vip)) {
            assert!(macs.contains(&seen.mac), "{kind:?}: {seen:?}");
        }
    }
}

macro_rules! pairs {
    ($($name:ident: $flavour:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn fails_over_to_keepalived_and_back() {
                a_pair_lives($flavour, Kind::Ours);
            }

            #[test]
            fn takes_over_from_keepalived_and_gives_back() {
                a_pair_lives($flavour, Kind::Keepalived);
            }
        }
    )*};
}

pairs! {
    version_3: PLAIN;
    version_3_unicast: Flavour { name: "unicast", unicast: true, ..PLAIN };
    version_3_ipv6: IPV6;
    version_3_ipv6_unicast: Flavour { name: "IPv6, unicast", unicast: true, ..IPV6 };
    version_3_at_100_ms: Flavour { name: "100 ms", interval: Duration::from_millis(100), ..PLAIN };
    version_3_at_10_ms: Flavour { name: "10 ms", interval: Duration::from_millis(10), ..PLAIN };
    version_2: Flavour { name: "version 2", version: 2, ..PLAIN };
    version_2_with_password: Flavour { name: "version 2, PASS", version: 2, password: Some("secret"), ..PLAIN };
    ipv4_and_ipv6_on_one_id: BOTH;
    sync_group: SYNC;
    virtual_mac: Flavour { name: "virtual MAC", vmac: true, ..PLAIN };
    virtual_mac_ipv6: Flavour { name: "IPv6, virtual MAC", vmac: true, ..IPV6 };
    virtual_mac_version_2: Flavour { name: "version 2, virtual MAC", vmac: true, version: 2, ..PLAIN };
}
