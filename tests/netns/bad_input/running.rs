//! A running daemon that is asked for what cannot be.

use super::*;

#[test]
fn a_driver_without_native_xdp_is_used_in_generic_mode_with_a_warning() -> Result<()> {
    let (site, daemon) = running()?;
    site.balancer.ip("link add flat type bridge")?;
    let configuration = configure(&site, &["outside", "inside", "flat"], "", WEB)?;
    std::fs::copy(configuration, site.directory().join("xlb.toml"))?;
    daemon.xlb(&["reload"])?;
    let status = daemon.status()?;
    let interfaces = status["data_plane"]["interfaces"].as_array().context("interfaces")?;
    let modes: Vec<_> = interfaces.iter().map(|one| (one["name"].as_str(), one["mode"].as_str())).collect();
    let mode = |name, mode| (Some(name), Some(mode));
    assert_eq!(modes, [mode("outside", "native"), mode("inside", "native"), mode("flat", "generic")]);
    let log = daemon.process.log();
    assert!(!log.contains('\u{1b}'), "colours in a file: {log}");
    assert!(
        log.lines().any(|line| line.contains("WARN") && line.contains("flat runs in generic mode")),
        "{log}"
    );
    assert_eq!(ask(&site)?, "web1\n");
    Ok(())
}

#[test]
fn a_second_daemon() -> Result<()> {
    let (site, mut daemon) = running()?;
    let before = state(&site, true)?;
    let configuration = configure(&site, &INTERFACES, "", DEAD)?;
    let pid = format!("pid {}", daemon.process.pid());
    said_in_one_line(
        &run(&site, &[], &configuration)?,
        1,
        &["another xlb is running", &pid, "stop it first"],
    )?;

    let other = site.directory().join("other.sock");
    let text = std::fs::read_to_string(&configuration)?.replace("xlb.sock", "other.sock");
    std::fs::write(&configuration, text)?;
    let pin_dir = site.bpffs.path().join("xlb").display().to_string();
    said_in_one_line(
        &run(&site, &[], &configuration)?,
        1,
        &["another xlb is running", &pin_dir, "stop it first"],
    )?;
    assert!(!other.exists());
    let unload = Command::new(daemon::built_program()?)
        .arg("-s")
        .arg(&other)
        .arg("unload")
        .arg("-c")
        .arg(configuration)
        .output()?;
    said_in_one_line(&unload, 3, &["a daemon uses", &pin_dir])?;

    assert_eq!(state(&site, true)?, before);
    assert!(daemon.process.is_running());
    daemon.status().map(drop)
}

#[test]
fn a_reload_of_a_configuration_with_several_mistakes() -> Result<()> {
    let (site, daemon) = running()?;
    let before = (state(&site, true)?, daemon.xlb(&["status"])?);
    daemon.configure(&site, MISTAKES.0)?;
    all_in(&said(&daemon.try_xlb(&["reload"])?, 2)?, &MISTAKES.1)?;
    assert_eq!(state(&site, true)?, before.0);
    assert_eq!(daemon.status()?["virtual_servers"][0]["name"], "web");
    Ok(())
}

#[test]
fn a_reload_that_cannot_attach() -> Result<()> {
    let (site, daemon) = running()?;
    site.balancer.ip("link add extra type veth peer name far")?;
    xdp::attach(&site.balancer, "extra", Verdict::Pass, site.directory())?;
    let before = state(&site, true)?;
    for (interface, words) in
        [("extra", "another XDP program"), ("eth7", "eth7 (global.interfaces) does not exist")]
    {
        let configuration = configure(&site, &["outside", "inside", interface], "", DEAD)?;
        std::fs::copy(configuration, site.directory().join("xlb.toml"))?;
        said_in_one_line(&daemon.try_xlb(&["reload"])?, 1, &[interface, words])?;
        assert_eq!(state(&site, true)?, before);
    }
    Ok(())
}

#[test]
fn weights_and_names_that_are_not_there() -> Result<()> {
    let (site, daemon) = running()?;
    let before = state(&site, true)?;
    for weight in ["70000", "-1"] {
        all_in(&said(&daemon.try_xlb(&["weight", "web/web1", weight])?, 2)?, &[weight, "0..=65535"])?;
    }
    for (arguments, words) in [
        (&["weight", "web/web9", "5"][..], ["web9", "there are: web1"]),
        (&["drain", "shop/web1"], ["shop", "there are: web"]),
        (&["status", "shop"], ["shop", "there are: web"]),
    ] {
        said_in_one_line(&daemon.try_xlb(arguments)?, 5, &words)?;
    }
    assert_eq!(state(&site, true)?, before);
    Ok(())
}

#[test]
fn a_socket_that_is_not_there_or_closed_to_us() -> Result<()> {
    let (site, mut daemon) = running()?;
    let path = socket(&site);
    let program = program(&site)?;
    let status = |below: &[&str]| -> Result<Output> {
        let mut command = Command::new("env");
        Ok(command.args(below).arg(&program).arg("-s").arg(&path).arg("status").output()?)
    };
    let name = path.display().to_string();
    said_in_one_line(&status(&NOBODY)?, 3, &[&name, "permission denied", "api.socket_group"])?;
    daemon.process.kill()?;
    said_in_one_line(&status(&[])?, 3, &[&name, "is dead", "xlb run"])?;
    std::fs::remove_file(&path)?;
    said_in_one_line(&status(&[])?, 3, &[&name, "no such socket", "xlb run"])?;
    assert_eq!(ask(&site)?, "web1\n");
    Ok(())
}

#[test]
fn a_state_directory_that_takes_nothing() -> Result<()> {
    let site = site()?;
    let directory = state_dir(&site);
    std::fs::create_dir(&directory)?;
    let _mounted = Mounted::tmpfs(&directory, "size=64k")?;
    let mut daemon = Daemon::start(&site, &daemon::built_program()?, WEB)?;
    daemon.xlb(&["weight", "web/web1", "7"])?;
    let before = state(&site, true)?;
    let filler = directory.join("filler");
    // Until there is no byte left.
    while std::fs::File::options()
        .append(true)
        .create(true)
        .open(&filler)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 4096]))
        .is_ok()
    {}
    let name = directory.display().to_string();
    for reason in ["No space left", "Read-only"] {
        if reason == "Read-only" {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(None::<&str>, &directory, None::<&str>, flags, None::<&str>)?;
        }
        let refused = daemon.try_xlb(&["weight", "web/web1", "9"])?;
        said_in_one_line(&refused, 1, &[&name, reason, "nothing was changed"])?;
        assert_eq!(state(&site, true)?, before);
        assert_eq!(daemon.status()?["virtual_servers"][0]["real_servers"][0]["weight"], 7);
    }
    daemon.process.kill()?;
    daemon.restart(&site)?;
    assert_eq!(daemon.status()?["virtual_servers"][0]["real_servers"][0]["weight"], 7);
    assert_eq!(ask(&site)?, "web1\n");
    Ok(())
}

/// A file system that is unmounted when it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(path: &Path, options: &str) -> Result<Self> {
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}
