//! What is wrong is said in one message, and what runs is left as it was.

mod killed;
mod running;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_tests::site::VIP4;
use lb_tests::xdp::{self, Verdict};
use lb_tests::{Daemon, Shape, Site, daemon, http, process, wait_until};
use nix::mount::{MsFlags, mount};

const WEB: &str = r#"
[[virtual_server]]
name = "web"
address = "192.0.2.10:80"
real_server = [{ name = "web1", address = "10.0.0.11:8080" }]
"#;
/// In force by mistake, it would answer nobody.
const DEAD: &str = r#"
[[virtual_server]]
name = "web"
address = "192.0.2.10:80"
real_server = [{ name = "web1", address = "10.0.0.99:8080" }]
"#;
const INTERFACES: [&str; 2] = ["outside", "inside"];
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
const VIP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(VIP4), 80);

/// What nobody may change by mistake.
#[derive(Debug, PartialEq, Eq)]
struct State {
    pins: BTreeSet<PathBuf>,
    programs: BTreeMap<String, u64>,
    sysctls: Vec<String>,
    overrides: Option<String>,
    answer: Option<String>,
}

fn site() -> Result<Site> {
    Site::create(Shape { servers: 1, ..Shape::default() })
}

/// A site whose daemon runs, and answers.
fn running() -> Result<(Site, Daemon)> {
    let site = site()?;
    let daemon = Daemon::start(&site, &daemon::built_program()?, WEB)?;
    ensure!(ask(&site)? == "web1\n");
    Ok((site, daemon))
}

fn ask(site: &Site) -> Result<String> {
    site.client.inside(|| http::get(VIP, "/"))?
}

fn state(site: &Site, forwards: bool) -> Result<State> {
    let names = "net.ipv4.ip_forward net.ipv4.ip_nonlocal_bind net.ipv6.conf.all.forwarding \
                 net.ipv6.ip_nonlocal_bind net.ipv4.conf.all.send_redirects net.ipv4.conf.outside.send_redirects \
                 net.ipv4.conf.outside.accept_local";
    Ok(State {
        pins: files(&site.bpffs.path().join("xlb"))?,
        programs: programs(site)?,
        sysctls: site.balancer.run("sysctl", names)?.lines().map(str::to_owned).collect(),
        overrides: std::fs::read_to_string(state_dir(site).join("overrides.json")).ok(),
        answer: forwards.then(|| ask(site)).transpose()?,
    })
}

/// The programs on the balancer's interfaces, by the kernel's numbers.
fn programs(site: &Site) -> Result<BTreeMap<String, u64>> {
    let links: serde_json::Value = serde_json::from_str(&site.balancer.ip("-j link show")?)?;
    let program = |link: &serde_json::Value| {
        Some((link["ifname"].as_str()?.to_owned(), link["xdp"]["prog"]["id"].as_u64()?))
    };
    Ok(links.as_array().into_iter().flatten().filter_map(program).collect())
}

/// The kernel detaches a program some time after its link is gone.
fn wait_until_detached(site: &Site, left: usize) -> Result<()> {
    wait_until("programs to be detached", Duration::from_secs(5), || {
        programs(site).is_ok_and(|programs| programs.len() == left)
    })
}

/// All files below a directory; none when there is no such directory.
fn files(directory: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    if !directory.exists() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.insert(path);
        }
    }
    Ok(found)
}

fn state_dir(site: &Site) -> PathBuf {
    site.directory().join("state")
}

fn socket(site: &Site) -> PathBuf {
    site.directory().join("xlb.sock")
}

/// Writes a configuration like the daemon's own, with other interfaces and more in `[global]`.
fn configure(site: &Site, interfaces: &[&str], global: &str, rest: &str) -> Result<PathBuf> {
    let path = site.directory().join("other.toml");
    let text = format!(
        "[global]\ninterfaces = {interfaces:?}\npin_dir = {:?}\nstate_dir = {:?}\n{global}\n\n[api]\nsocket = {:?}\nlisten = \"\"\n{rest}",
        site.bpffs.path().join("xlb"),
        state_dir(site),
        socket(site),
    );
    std::fs::write(&path, text)?;
    Ok(path)
}

/// `xlb run` that is expected to end by itself, below other programs such as strace.
fn run(site: &Site, below: &[&str], configuration: &Path) -> Result<Output> {
    let program = program(site)?;
    let mut command = site.balancer.command("timeout");
    command.args(["--kill-after=1", "20"]).args(below).arg(program).arg("run").arg("-c").arg(configuration);
    Ok(command.env("RUST_BACKTRACE", "1").output()?)
}

/// A copy of xlb that the user nobody can reach, too.
fn program(site: &Site) -> Result<PathBuf> {
    let copy = site.directory().join("xlb");
    if !copy.exists() {
        // By another process: this one may be starting others, and they would hold the copy open for writing.
        process::run(Command::new("cp").arg(daemon::built_program()?).arg(&copy))?;
        std::fs::set_permissions(site.directory(), PermissionsExt::from_mode(0o755))?;
    }
    Ok(copy)
}

/// The message of a command that failed as it should: to people, not to developers.
fn said(output: &Output, code: i32) -> Result<String> {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("exit {:?}: {stderr}", output.status.code());
    ensure!(output.status.code() == Some(code), "exit {:?}: {stderr}", output.status.code());
    for ugly in ["panicked", "backtrace", "Error(", "Os {", "Some(", "\u{1b}["] {
        ensure!(!stderr.contains(ugly), "{ugly} in: {stderr}");
    }
    Ok(stderr)
}

/// As [`said`], and it is one line with these words.
fn said_in_one_line(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let message = said(output, code)?;
    ensure!(message.lines().count() == 1, "more than a line: {message}");
    ensure!(message.starts_with("xlb: "), "{message}");
    all_in(&message, words)
}

fn all_in(message: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(message.contains(word), "no `{word}` in: {message}");
    }
    Ok(())
}

/// A misspelt key, and so a missing one, and two wrong values; and what names them.
const MISTAKES: (&str, [&str; 4]) = (
    r#"
[[virtual_server]]
name = "web"
adress = "192.0.2.10:80"
scheduler = "fastest"
real_server = [{ address = "10.0.0.11:8080", weight = 70000 }]
"#,
    ["adress", "fastest", "70000", "4 errors"],
);
