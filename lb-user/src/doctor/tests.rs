use super::*;
use crate::{
    doctor::facts::{Bpffs, Facts, Interface, RealServer},
    host::links::{Link, XdpInfo},
};

/// A machine on which everything is as it should be.
fn healthy() -> Facts {
    let interface = |name: &str| Interface {
        name: name.to_owned(),
        link: Some(Link {
            index: 2,
            name: name.to_owned(),
            mac: [2; 6],
            mtu: 1500,
            up: true,
            is_virtual: false,
            xdp: Some(XdpInfo { mode: Mode::Native, program_id: 7 }),
            vlans: Vec::new(),
            macvlans: Vec::new(),
        }),
        program: Some("xlb".to_owned()),
        rp_filter: Some(0),
    };
    Facts {
        kernel: "6.1.0-18-amd64".to_owned(),
        btf: true,
        permitted: true,
        bpffs: Bpffs { pin_dir: "/sys/fs/bpf/xlb".into(), mounted: true, usual: true },
        xdp_mode: XdpMode::Auto,
        interfaces: vec![interface("eth0"), interface("eth1")],
        sysctl_policy: SysctlPolicy::Apply,
        sysctls: Vec::new(),
        real_servers: vec![RealServer {
            name: "web/web1".to_owned(),
            address: [10, 0, 0, 11].into(),
            reach: Reach::Through(Way {
                interface: "eth1".to_owned(),
                gateway: None,
                source: Some([10, 0, 0, 1].into()),
                neighbour: Neighbour::Known,
            }),
        }],
    }
}

fn way(facts: &mut Facts) -> &mut Way {
    match &mut facts.real_servers[0].reach {
        Reach::Through(way) => way,
        other => panic!("{other:?}"),
    }
}

fn link(facts: &mut Facts) -> &mut Link {
    facts.interfaces[0].link.as_mut().unwrap()
}

#[test]
fn a_healthy_machine_gets_no_advice_but_where_to_look_for_the_way_back() {
    let findings = examine(&healthy());
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    let advised: Vec<_> = findings.iter().filter_map(|finding| finding.advice.as_deref()).collect();
    assert_eq!(advised.len(), 1);
    assert!(advised[0].contains("10.0.0.1"), "{advised:?}");
}

#[test]
fn everything_that_is_wrong_is_one_finding_with_what_to_do() {
    type Break = fn(&mut Facts);
    let cases: &[(Break, Level, &str, &str, &str)] = &[
        (
            |facts| facts.kernel = "5.15.0-91-generic".to_owned(),
            Level::Fail,
            "kernel",
            "5.15.0",
            "6.1 or newer",
        ),
        (|facts| facts.kernel = "unknown".to_owned(), Level::Fail, "kernel", "unknown", "6.1"),
        (|facts| facts.btf = false, Level::Warn, "btf", "no type information", "CONFIG_DEBUG_INFO_BTF"),
        (|facts| facts.permitted = false, Level::Fail, "permission", "may not", "CAP_BPF"),
        (
            |facts| facts.bpffs = Bpffs { pin_dir: "/run/xlb".into(), mounted: false, usual: false },
            Level::Fail,
            "pin_dir",
            "/run/xlb is not on",
            "mount -t bpf",
        ),
        (|facts| facts.interfaces[0].link = None, Level::Fail, "eth0", "no such", "global.interfaces"),
        (|facts| link(facts).up = false, Level::Fail, "eth0", "down", "ip link set eth0 up"),
        (|facts| facts.interfaces[0].rp_filter = Some(1), Level::Warn, "eth0", "strict", "eth0.rp_filter=2"),
        (
            |facts| link(facts).xdp = Some(XdpInfo { mode: Mode::Generic, program_id: 7 }),
            Level::Warn,
            "eth0",
            "generic",
            "driver",
        ),
        (
            |facts| facts.interfaces[0].program = Some("xdp_firewall".to_owned()),
            Level::Fail,
            "eth0",
            "xdp_firewall, number 7",
            "ip link set eth0 xdp off",
        ),
        (
            |facts| facts.interfaces[0].program = None,
            Level::Fail,
            "eth0",
            "of unknown name",
            "ip link set eth0 xdp off",
        ),
        (
            |facts| link(facts).mtu = 9000,
            Level::Warn,
            "mtu",
            "eth0 takes 9000 bytes, eth1 takes 1500",
            "same MTU",
        ),
        (
            |facts| facts.real_servers[0].reach = Reach::NoRoute,
            Level::Fail,
            "web/web1",
            "no route",
            "add one",
        ),
        (|facts| facts.real_servers[0].reach = Reach::Local, Level::Fail, "web/web1", "this machine", "own"),
        (
            |facts| way(facts).interface = "eth7".to_owned(),
            Level::Fail,
            "web/web1",
            "10.0.0.11 on eth7, which is not",
            "add eth7",
        ),
        (
            |facts| {
                way(facts).gateway = Some([10, 0, 0, 254].into());
                way(facts).neighbour = Neighbour::Silent;
            },
            Level::Warn,
            "web/web1",
            "by way of 10.0.0.254 on eth1, but 10.0.0.254 does not answer",
            "ip neigh show 10.0.0.254",
        ),
    ];
    for (spoil, level, about, found, advice) in cases {
        let mut facts = healthy();
        spoil(&mut facts);
        let findings = examine(&facts);
        let bad: Vec<_> = findings.iter().filter(|finding| finding.level != Level::Ok).collect();
        let [one] = bad[..] else { panic!("{found}: {bad:#?}") };
        assert_eq!((one.level, one.about.as_str()), (*level, *about), "{one:?}");
        assert!(one.found.contains(found), "{one:?}");
        assert!(one.advice.as_ref().is_some_and(|words| words.contains(advice)), "{one:?}");
    }
}

#[test]
fn what_the_daemon_puts_right_by_itself_is_no_failure() {
    let worst = |spoil: fn(&mut Facts)| {
        let mut facts = healthy();
        spoil(&mut facts);
        examine(&facts).into_iter().map(|finding| finding.level).max()
    };
    assert_eq!(worst(|facts| facts.bpffs.mounted = false), Some(Level::Ok));
    assert_eq!(worst(|facts| link(facts).xdp = None), Some(Level::Ok));
    assert_eq!(worst(|facts| way(facts).neighbour = Neighbour::NotAsked), Some(Level::Ok));
    assert_eq!(
        worst(|facts| {
            facts.xdp_mode = XdpMode::Generic;
            link(facts).xdp = Some(XdpInfo { mode: Mode::Generic, program_id: 7 });
        }),
        Some(Level::Ok)
    );
}
