//! `xlb doctor` on a balancer that works, and on one that cannot.

use anyhow::{Context, Result};
use lb_tests::xdp::{self, Verdict};
use lb_tests::{Daemon, Shape, Site};
use serde_json::Value;

use crate::given::{daemon, vips, virtual_server};

/// The exit code, and the findings.
fn examine(daemon: &Daemon, site: &Site) -> Result<(Option<i32>, Vec<Value>)> {
    let output = daemon.doctor(site)?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code(), serde_json::from_slice(&output.stdout).with_context(said)?))
}

fn has(findings: &[Value], level: &str, about: &str, words: &str) -> bool {
    let found = |one: &Value| one["found"].as_str().is_some_and(|found| found.contains(words));
    findings.iter().any(|one| one["level"] == level && one["about"] == about && found(one))
}

#[test]
fn the_doctor_finds_nothing_on_a_balancer_that_works_and_what_is_wrong_on_one_that_cannot() -> Result<()> {
    let site = Site::create(Shape::default())?;
    let daemon = daemon(&site, &virtual_server(&site, "web", vips()[0], &[1, 1, 1], "")?)?;
    let (code, findings) = examine(&daemon, &site)?;
    assert_eq!(code, Some(0), "{findings:#?}");
    for interface in site.interfaces() {
        assert!(has(&findings, "ok", interface, "xlb runs in native mode"), "{findings:#?}");
    }
    // Its check has asked for its link address.
    assert!(has(&findings, "ok", "web/web1", " on "), "{findings:#?}");
    assert!(has(&findings, "ok", "sysctl", "as they should be"), "{findings:#?}");

    daemon.xlb(&["unload", "--yes"])?;
    site.balancer.ip("link set inside down")?;
    xdp::attach(&site.balancer, "outside", Verdict::Pass, site.directory())?;
    let (code, findings) = examine(&daemon, &site)?;
    assert_eq!(code, Some(1), "{findings:#?}");
    assert!(has(&findings, "fail", "inside", "down"), "{findings:#?}");
    assert!(has(&findings, "fail", "outside", "another XDP program is attached: verdict"), "{findings:#?}");
    assert!(has(&findings, "fail", "web/web1", "there is no route to"), "{findings:#?}");
    // Which `xlb unload` has put back, and `xlb run` would set.
    assert!(has(&findings, "warn", "sysctl", "net.ipv4.ip_nonlocal_bind is 0"), "{findings:#?}");
    Ok(())
}
