//! A start that is killed in the middle.

use super::*;

/// System calls that a start makes, from the first to the last of its steps, as strace picks them out.
fn steps(site: &Site) -> Result<Vec<(&'static str, String, u32)>> {
    let inside: serde_json::Value = serde_json::from_str(&site.balancer.ip("-j link show inside")?)?;
    let second_link = site.bpffs.path().join(format!("xlb/links/{}", inside[0]["ifindex"]));
    let mut steps: Vec<_> = [1, 20, 60, 90, 130].map(|call| ("bpf", String::new(), call)).into();
    steps.push(("statx", second_link.display().to_string(), 1));
    steps.extend([1, 2].map(|call| ("openat", "/proc/sys/net/ipv4/ip_forward".to_owned(), call)));
    Ok(steps)
}

fn kill_start_at(site: &Site, (call, path, number): &(&str, String, u32)) -> Result<()> {
    let trace = site.directory().join("trace").display().to_string();
    let (set, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={number}"));
    let mut strace = vec!["strace", "-f", "-o", &trace, "-e", &set, "-e", &inject];
    if !path.is_empty() {
        strace.extend(["-P", path]);
    }
    let output = run(site, &strace, &configure(site, &INTERFACES, "", WEB)?)?;
    ensure!(output.status.signal() == Some(9), "{output:?}");
    Ok(())
}

#[test]
fn a_fresh_start_that_is_killed_in_the_middle_is_finished_by_the_next_one() -> Result<()> {
    let site = site()?;
    for step in steps(&site)? {
        // Over what the one before has left.
        kill_start_at(&site, &step).with_context(|| format!("{step:?}"))?;
    }
    let _daemon = Daemon::start(&site, &daemon::built_program()?, WEB)?;
    assert_eq!(ask(&site)?, "web1\n");
    Ok(())
}

#[test]
fn a_start_over_a_running_data_plane_that_is_killed_in_the_middle_disturbs_nobody() -> Result<()> {
    let (site, mut daemon) = running()?;
    daemon.process.kill()?;
    let before = state(&site, true)?;
    // Nothing is left to set: the sysctls are looked at, and no more.
    for step in steps(&site)?.into_iter().filter(|(call, _, number)| *call != "openat" || *number == 1) {
        kill_start_at(&site, &step).with_context(|| format!("{step:?}"))?;
        let now = state(&site, true)?;
        assert_eq!(now.programs.len(), INTERFACES.len(), "{step:?}");
        // They may be programs of the start that was killed.
        let programs = before.programs.clone();
        assert_eq!(State { programs, ..now }, before, "{step:?}");
    }
    daemon.restart(&site)?;
    assert_eq!(ask(&site)?, "web1\n");
    Ok(())
}
