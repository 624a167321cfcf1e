//! A start that fails: nothing is left of it, and what another run left goes on.

use super::*;

/// A start that fails leaves nothing where there was nothing, and everything where another run left its data plane.
fn start_fails(
    site: &Site,
    below: &[&str],
    configuration: &Path,
    check: impl Fn(&Output) -> Result<()>,
) -> Result<()> {
    let nothing = state(site, false)?;
    check(&run(site, below, configuration)?).context("fresh")?;
    wait_until_detached(site, nothing.programs.len())?;
    assert_eq!(state(site, false)?, nothing);
    assert!(!socket(site).exists());

    let mut daemon = Daemon::start(site, &daemon::built_program()?, WEB)?;
    daemon.process.kill()?;
    let forwarding = state(site, true)?;
    check(&run(site, below, configuration)?).context("over a running data plane")?;
    assert_eq!(state(site, true)?, forwarding);
    daemon.restart(site)?;
    assert_eq!(ask(site)?, "web1\n");
    Ok(())
}

#[test]
fn missing_rights() -> Result<()> {
    let site = site()?;
    start_fails(&site, &NOBODY, &configure(&site, &INTERFACES, "", DEAD)?, |output| {
        said_in_one_line(output, 1, &["no right to load BPF programs", "run as root", "CAP_NET_ADMIN"])
    })
}

#[test]
fn a_kernel_without_bpf() -> Result<()> {
    for (error, words) in [
        ("ENOSYS", ["this kernel cannot load the program", "CONFIG_BPF_SYSCALL"]),
        ("EPERM", ["no right to load BPF programs", "seccomp"]),
    ] {
        let site = site()?;
        let trace = site.directory().join("trace").display().to_string();
        let inject = format!("inject=bpf:error={error}");
        let strace = ["strace", "-f", "-o", &trace, "-e", "trace=bpf", "-e", &inject];
        start_fails(&site, &strace, &configure(&site, &INTERFACES, "", DEAD)?, |output| {
            said_in_one_line(output, 1, &words)
        })?;
    }
    Ok(())
}

#[test]
fn an_interface_that_does_not_exist() -> Result<()> {
    let site = site()?;
    let configuration = configure(&site, &["outside", "eth7", "eth8"], "", DEAD)?;
    start_fails(&site, &[], &configuration, |output| {
        said_in_one_line(output, 1, &["eth7, eth8", "global.interfaces", "inside, lo, outside"])
    })
}

#[test]
fn a_driver_without_native_xdp() -> Result<()> {
    let site = site()?;
    site.balancer.ip("link add flat type bridge")?;
    let configuration = configure(&site, &["outside", "inside", "flat"], "xdp_mode = \"native\"", DEAD)?;
    start_fails(&site, &[], &configuration, |output| {
        said_in_one_line(
            output,
            1,
            &["the driver of flat does not support native XDP", "xdp_mode = \"auto\""],
        )
    })
}

#[test]
fn a_foreign_program_in_place() -> Result<()> {
    let site = site()?;
    site.balancer.ip("link add extra type veth peer name far")?;
    xdp::attach(&site.balancer, "extra", Verdict::Pass, site.directory())?;
    let configuration = configure(&site, &["outside", "inside", "extra"], "", DEAD)?;
    start_fails(&site, &[], &configuration, |output| {
        said_in_one_line(
            output,
            1,
            &["extra already runs another XDP program", "ip link set dev extra xdp off"],
        )
    })
}

#[test]
fn a_pinned_state_of_another_layout() -> Result<()> {
    let (site, mut daemon) = running()?;
    daemon.process.stop(Duration::from_secs(10))?;
    let before = state(&site, true)?;
    let configuration = configure(&site, &INTERFACES, "max_connections = 65536", WEB)?;
    let words =
        ["pinned map", "maps/HALF_OPEN_V4", "capacity 16384 where 4096 is needed", "xlb unload -c FILE"];
    said_in_one_line(&run(&site, &[], &configuration)?, 1, &words)?;
    assert_eq!(state(&site, true)?, before);

    let mut unload = site.balancer.command(daemon::built_program()?);
    let told = process::run(
        unload
            .arg("-s")
            .arg(site.directory().join("nobody.sock"))
            .args(["unload", "--yes", "-c"])
            .arg(&configuration),
    )?;
    all_in(&told, &["program on outside", "program on inside", "connection tables", "net.ipv4.ip_forward"])?;
    wait_until_detached(&site, 0)?;
    assert_eq!(state(&site, false)?.pins, BTreeSet::new());
    std::fs::copy(configuration, site.directory().join("xlb.toml"))?;
    daemon.restart(&site)?;
    assert_eq!(ask(&site)?, "web1\n");
    Ok(())
}

#[test]
fn a_configuration_with_several_mistakes() -> Result<()> {
    let site = site()?;
    start_fails(&site, &[], &configure(&site, &INTERFACES, "", MISTAKES.0)?, |output| {
        all_in(&said(output, 2)?, &MISTAKES.1)
    })
}

#[test]
fn damaged_overrides() -> Result<()> {
    for damage in [Some("{\"web\": {"), None] {
        let (site, mut daemon) = running()?;
        daemon.xlb(&["weight", "web/web1", "7"])?;
        daemon.process.kill()?;
        let file = state_dir(&site).join("overrides.json");
        match damage {
            Some(text) => std::fs::write(&file, text)?,
            // Even root cannot read this one.
            None => std::fs::remove_file(&file).and_then(|()| std::fs::create_dir(&file))?,
        }
        let before = state(&site, true)?;
        let output = run(&site, &[], &configure(&site, &INTERFACES, "", DEAD)?)?;
        said_in_one_line(&output, 1, &[&file.display().to_string(), "mend it, or remove it"])?;
        assert_eq!(state(&site, true)?, before);
    }
    Ok(())
}
