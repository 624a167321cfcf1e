use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    config::vrrp::Kind,
    control::status::{
        Connections, DataPlane, Quorum, Vrrp, VrrpAdverts, VrrpState, VrrpTracker, VrrpTrackerState,
    },
    vrrp::reject::Reject,
};

fn real_server(name: &str, state: RealServerState) -> RealServer {
    RealServer {
        name: name.to_owned(),
        address: "10.0.0.11:8080".to_owned(),
        state,
        weight: 7,
        configured_weight: Some(1),
        traffic: Traffic {
            connections: 1,
            packets_in: 2,
            packets_out: 3,
            bytes_in: 4,
            bytes_out: 5,
            new_connections: 6,
        },
        check: None,
        passive: None,
    }
}

fn virtual_server(name: &str, address: &str, state: VirtualServerState) -> VirtualServer {
    VirtualServer {
        name: name.to_owned(),
        address: address.to_owned(),
        protocol: "tcp".to_owned(),
        scheduler: "wlc".to_owned(),
        state,
        quorum: Quorum { need: 1, have: 1 },
        persistent_clients: address.strip_prefix("fwmark ").map(|_| 3),
        traffic: Traffic::default(),
        real_servers: Vec::new(),
    }
}

fn instance() -> Vrrp {
    let adverts =
        VrrpAdverts { sent: 12, rejected: [(Reject::HopLimit, 2)].into(), ..VrrpAdverts::default() };
    Vrrp {
        name: "outside".to_owned(),
        state: VrrpState::Master,
        priority: 100,
        configured_priority: 100,
        master: None,
        addresses: Vec::new(),
        virtual_mac: None,
        routes: Vec::new(),
        rules: Vec::new(),
        transitions: 3,
        since: None,
        trackers: vec![VrrpTracker {
            kind: Kind::VirtualServer,
            name: "web".to_owned(),
            weight: 0,
            state: VrrpTrackerState::Up,
            number: None,
        }],
        blocked: false,
        adverts,
        peers: BTreeMap::new(),
    }
}

fn scrape() -> Scrape {
    let pool = vec![
        real_server("web1", RealServerState::Up),
        real_server("a \"quoted\\\" name", RealServerState::Drain),
    ];
    let mut buckets = [0; BUCKETS.len() + 1];
    (buckets[0], buckets[3], buckets[BUCKETS.len()]) = (1, 2, 4);
    Scrape {
        status: Status {
            name: "lb1".to_owned(),
            generation: 7,
            data_plane: DataPlane {
                interfaces: Vec::new(),
                connections: Connections {
                    established: 12,
                    closing: 5,
                    half_open: 3,
                    source_nat: 1,
                    capacity: 1_048_576,
                },
                outcomes: BTreeMap::new(),
                reconciled: BTreeMap::from([("sysctls".to_owned(), 3)]),
            },
            virtual_servers: vec![
                VirtualServer {
                    real_servers: pool,
                    ..virtual_server("web", "192.0.2.10:80 192.0.2.11:80", VirtualServerState::Up)
                },
                virtual_server("marked", "fwmark 7", VirtualServerState::Down),
            ],
            vrrp: vec![instance()],
        },
        packets: vec![
            ("eth0".to_owned(), vec![(Outcome::Forwarded, 1780), (Outcome::Land, 2)]),
            ("eth1".to_owned(), vec![(Outcome::Forwarded, u64::MAX)]),
        ],
        checks: Counts { success: 4, failure: 2, error: 1, buckets, duration: 22.5, late: 3 },
        reloaded: false,
    }
}

/// The lines that describe nothing: `name{labels} value`, cut at the labels or the value.
fn names(text: &str) -> BTreeSet<&str> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.split(['{', ' ']).next()).collect()
}

#[test]
fn a_moment_reads_like_this() {
    let version = concat!("version=\"", env!("CARGO_PKG_VERSION"));
    insta::assert_snapshot!(text(scrape()).unwrap().replace(version, "version=\"VERSION"));
}

#[test]
fn every_promised_metric_is_there_and_no_other() {
    let promised = [
        "xlb_build_info",
        "xlb_check_duration_seconds_bucket",
        "xlb_check_duration_seconds_count",
        "xlb_check_duration_seconds_sum",
        "xlb_check_late_total",
        "xlb_check_results_total",
        "xlb_config_last_reload_successful",
        "xlb_connection_table_entries",
        "xlb_connection_table_max_entries",
        "xlb_packets_total",
        "xlb_real_server_bytes_total",
        "xlb_real_server_connections_active",
        "xlb_real_server_connections_total",
        "xlb_real_server_packets_total",
        "xlb_real_server_state",
        "xlb_real_server_weight",
        "xlb_reconciled_total",
        "xlb_virtual_server_info",
        "xlb_virtual_server_persistent_clients",
        "xlb_virtual_server_up",
        "xlb_vrrp_state",
        "xlb_vrrp_transitions_total",
        "xlb_vrrp_tracker_up",
        "xlb_vrrp_adverts_total",
    ];
    assert_eq!(names(&text(scrape()).unwrap()), BTreeSet::from(promised));
}

/// The rules of promtool's linter that concern us (prometheus/client_golang, promlint/validations).
#[test]
fn names_follow_the_rules_of_prometheus() {
    let text = text(scrape()).unwrap();
    let described = |what: &str| -> BTreeMap<String, String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(&format!("# {what} ")));
        lines.filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    };
    let (types, help) = (described("TYPE"), described("HELP"));
    assert_eq!(types.keys().collect::<Vec<_>>(), help.keys().collect::<Vec<_>>());
    for (family, kind) in &types {
        assert!(!help[family].is_empty(), "{family} has no help");
        assert!(family.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{family}");
        for word in family.split('_') {
            let foreign = ["milliseconds", "ms", "minutes", "kilobytes", "megabytes", "counter", "gauge"];
            assert!(!foreign.contains(&word), "{family}: {word} is a type or not a base unit");
        }
        let samples: Vec<&str> =
            names(&text).into_iter().filter(|sample| sample.starts_with(family.as_str())).collect();
        assert_eq!(kind == "counter", samples.contains(&&*format!("{family}_total")), "{family}");
    }
    let sets = ['{', ','].map(|before| text.contains(&format!("{before}instance=\"")));
    assert_eq!(sets, [false; 2], "Prometheus sets this label itself");
    assert!(text.ends_with("\n# EOF\n"));
}

#[test]
fn no_sample_is_there_twice() {
    let text = text(scrape()).unwrap();
    let samples: Vec<&str> =
        text.lines().filter_map(|line| line.rsplit_once(' ')).map(|(id, _)| id).collect();
    assert_eq!(samples.iter().collect::<BTreeSet<_>>().len(), samples.len());
}
