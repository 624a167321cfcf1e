use std::fs;

use tempfile::TempDir;

use super::*;

/// A tree like /proc/sys in which everything is as after a boot.
struct Fixture {
    dir: TempDir,
    sysctls: Sysctls,
}

impl Fixture {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("sys");
        let sysctls = Sysctls { root, originals: dir.path().join("state/sysctl.json") };
        let fixture = Self { dir, sysctls };
        for (path, value) in [
            ("kernel/random/boot_id", "first"),
            ("net/ipv4/ip_forward", "0"),
            ("net/ipv4/ip_nonlocal_bind", "0"),
            ("net/ipv4/conf/eth0.100/accept_local", "0"),
            ("net/ipv4/conf/all/send_redirects", "1"),
            ("net/ipv4/conf/eth0.100/send_redirects", "1"),
            ("net/ipv6/conf/all/forwarding", "0"),
            ("net/ipv6/conf/eth0.100/accept_ra", "2"),
            ("net/ipv6/ip_nonlocal_bind", "0"),
        ] {
            fixture.set(path, value);
        }
        fixture
    }

    fn set(&self, path: &str, value: &str) {
        let path = self.sysctls.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{value}\n")).unwrap();
    }

    fn get(&self, path: &str) -> String {
        fs::read_to_string(self.sysctls.root.join(path)).unwrap().trim().to_owned()
    }

    fn apply(&self) -> Report {
        self.sysctls.apply(&interfaces())
    }
}

fn interfaces() -> Needs {
    Needs { interfaces: vec!["eth0.100".to_owned()], beneath: Vec::new() }
}

fn texts(errors: &[SysctlError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_name_is_written_as_sysctl_does() {
    let last = wanted(&interfaces()).into_iter().find(|setting| setting.name.0.contains("eth0"));
    assert_eq!(last.unwrap().name.to_string(), "net.ipv4.conf.eth0/100.send_redirects");
}

#[test]
fn only_what_differs_is_changed() {
    let fixture = Fixture::new();
    fixture.set("net/ipv4/ip_forward", "1");
    let report = fixture.apply();
    assert_eq!(report.changes.len(), 6, "{report:?}");
    assert!(report.errors.is_empty() && report.notes.is_empty(), "{report:?}");
    assert_eq!(fixture.get("net/ipv4/conf/eth0.100/send_redirects"), "0");
    assert!(fixture.apply().changes.is_empty());
    assert!(fixture.sysctls.restore().errors.is_empty());
    assert_eq!(fixture.get("net/ipv4/ip_forward"), "1");
    assert_eq!(fixture.get("net/ipv4/conf/eth0.100/send_redirects"), "1");
}

#[test]
fn checking_changes_nothing() {
    let fixture = Fixture::new();
    assert_eq!(fixture.sysctls.check(&interfaces()).changes.len(), 7);
    assert_eq!(fixture.get("net/ipv4/ip_forward"), "0");
    assert!(!fixture.sysctls.originals.exists());
}

#[test]
fn the_value_from_before_the_first_run_survives_a_second_one() {
    let fixture = Fixture::new();
    fixture.set("net/ipv4/ip_forward", "2");
    fixture.apply();
    fixture.set("net/ipv4/ip_forward", "0");
    fixture.apply();
    assert_eq!(fixture.sysctls.restore().changes.len(), 7);
    assert_eq!(fixture.get("net/ipv4/ip_forward"), "2");
}

#[test]
fn a_value_that_somebody_set_since_is_left_alone() {
    let fixture = Fixture::new();
    fixture.apply();
    fixture.set("net/ipv4/conf/all/send_redirects", "7");
    assert_eq!(fixture.sysctls.restore().changes.len(), 6);
    assert_eq!(fixture.get("net/ipv4/conf/all/send_redirects"), "7");
}

#[test]
fn restoring_twice_or_without_a_run_changes_nothing() {
    let fixture = Fixture::new();
    assert!(fixture.sysctls.restore().changes.is_empty());
    fixture.apply();
    assert_eq!(fixture.sysctls.restore().changes.len(), 7);
    let report = fixture.sysctls.restore();
    assert!(report.changes.is_empty() && report.errors.is_empty(), "{report:?}");
}

#[test]
fn what_was_set_in_an_earlier_boot_is_not_put_back() {
    let fixture = Fixture::new();
    fixture.apply();
    fixture.set("kernel/random/boot_id", "second");
    assert!(fixture.sysctls.restore().changes.is_empty());
    assert_eq!(fixture.get("net/ipv4/ip_forward"), "1");
}

#[test]
fn a_kernel_without_ipv6_is_noted_and_the_rest_is_set() {
    let fixture = Fixture::new();
    fs::remove_dir_all(fixture.sysctls.root.join("net/ipv6")).unwrap();
    let report = fixture.apply();
    assert_eq!(report.changes.len(), 5);
    assert!(report.errors.is_empty());
    assert_eq!(report.notes.len(), 2);
    assert_eq!(
        report.notes.first().unwrap(),
        "net.ipv6.conf.all.forwarding was left out: this kernel runs without IPv6"
    );
}

#[test]
fn each_failure_is_named_and_the_rest_is_set() {
    let fixture = Fixture::new();
    let path = fixture.sysctls.root.join("net/ipv4/ip_forward");
    fs::remove_file(&path).unwrap();
    let report = fixture.apply();
    assert_eq!(report.changes.len(), 6);
    assert_eq!(texts(&report.errors), [format!("cannot read net.ipv4.ip_forward ({})", path.display())]);
}

#[test]
fn nothing_is_set_that_could_not_be_put_back() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.dir.path().join("state")).unwrap();
    fs::write(&fixture.sysctls.originals, "{").unwrap();
    let report = fixture.apply();
    assert!(matches!(report.errors.as_slice(), [SysctlError::Originals { .. }]), "{report:?}");
    assert_eq!(fixture.get("net/ipv4/ip_forward"), "0");
    assert_eq!(fs::read_to_string(&fixture.sysctls.originals).unwrap(), "{");
}

#[test]
fn an_interface_that_listens_to_router_advertisements_is_noted() {
    let fixture = Fixture::new();
    fixture.set("net/ipv6/conf/eth0.100/accept_ra", "1");
    let report = fixture.apply();
    assert!(
        report.notes.first().unwrap().contains("set net.ipv6.conf.eth0/100.accept_ra to 2"),
        "{report:?}"
    );
}

#[test]
fn an_interface_below_a_virtual_mac_address_speaks_for_itself_only() {
    let fixture = Fixture::new();
    for (path, value) in [
        ("net/ipv4/conf/eth1/arp_ignore", "0"),
        ("net/ipv4/conf/eth1/arp_announce", "0"),
        ("net/ipv4/conf/all/rp_filter", "1"),
    ] {
        fixture.set(path, value);
    }
    let needs = Needs { beneath: vec!["eth1".to_owned()], ..interfaces() };
    let report = fixture.sysctls.apply(&needs);
    assert!(report.errors.is_empty(), "{report:?}");
    assert!(
        report.notes.iter().any(|note| note.starts_with("net.ipv4.conf.all.rp_filter is 1")),
        "{report:?}"
    );
    assert_eq!(fixture.get("net/ipv4/conf/eth1/arp_ignore"), "1");
    assert_eq!(fixture.get("net/ipv4/conf/eth1/arp_announce"), "2");
    assert!(fixture.sysctls.restore().errors.is_empty());
    assert_eq!(fixture.get("net/ipv4/conf/eth1/arp_announce"), "0");
}
