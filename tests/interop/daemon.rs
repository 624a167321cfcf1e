//! The daemon with its file beside keepalived: what the router alone is tested for, once more with all that is around it.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use lb_tests::{Process, bpffs::Bpffs, daemon::built_program, process, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    bench::{Bench, Kind, LATE, report},
    lab::{Host, now, throughout, until},
    peers::{Flavour, PLAIN},
};

/// `xlb run` on host A.
struct Daemon {
    process: Process,
    namespace: String,
    directory: TempDir,
    _bpffs: Bpffs,
}

impl Daemon {
    fn start(bench: &Bench) -> Self {
        let directory = TempDir::new().unwrap();
        let bpffs = Bpffs::mount(&directory.path().join("bpf")).unwrap();
        configure(bench, &directory, "");
        let namespace = bench.lab.host(Host::A);
        let process = spawn(&namespace, &directory);
        let daemon = Self { process, namespace, directory, _bpffs: bpffs };
        daemon.answers();
        daemon
    }

    fn restart(&mut self) {
        wait_until("it has ended", Duration::from_secs(10), || !self.process.is_running()).unwrap();
        self.process = spawn(&self.namespace, &self.directory);
        self.answers();
    }

    fn answers(&self) {
        let ready =
            wait_until("the daemon to answer", Duration::from_secs(20), || self.xlb(&["status"]).is_ok());
        assert!(ready.is_ok(), "{ready:?}: {}", self.process.log());
    }

    fn xlb(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let socket = socket(&self.directory);
        process::run(Command::new(built_program()?).arg("-s").arg(socket).args(arguments))
    }

    fn status(&self) -> Value {
        serde_json::from_str::<Value>(&self.xlb(&["vrrp", "--json"]).unwrap()).unwrap()[0].clone()
    }
}

fn spawn(namespace: &str, directory: &TempDir) -> Process {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg("--").arg(built_program().unwrap());
    command.arg("run").arg("-c").arg(directory.path().join("xlb.toml"));
    Process::start(command, &directory.path().join("log")).unwrap()
}

fn socket(directory: &TempDir) -> PathBuf {
    directory.path().join("xlb.sock")
}

/// Writes the file; `keys` are further ones of the instance.
fn configure(bench: &Bench, directory: &TempDir, keys: &str) {
    let key = directory.path().join("key");
    let Flavour { version, password, .. } = bench.flavour;
    fs::write(&key, password.unwrap_or_default()).unwrap();
    let authentication = match password {
        Some(_) => format!("authentication = {{ type = \"pass\", secret_file = {key:?} }}"),
        None => String::new(),
    };
    let keys = if bench.flavour.vmac { format!("use_vmac = true\n{keys}") } else { keys.to_owned() };
    let text = format!(
        r#"
        [global]
        interfaces = ["eth0"]
        pin_dir = {:?}
        state_dir = {:?}
        [api]
        socket = {:?}
        listen = ""
        [[vrrp_instance]]
        name = "four"
        interface = "eth0"
        virtual_router_id = 51
        version = {version}
        priority = 150
        virtual_ipaddress = ["{}/32"]
        {authentication}
        {keys}
        "#,
        directory.path().join("bpf/xlb"),
        directory.path().join("state"),
        socket(directory),
        bench.flavour.addresses()[0],
    );
    fs::write(directory.path().join("xlb.toml"), text).unwrap();
}

fn lives_beside_keepalived(flavour: Flavour) {
    let bench = Bench::new(flavour);
    bench.lab.become_client_of("10.51.0.0/16");
    let keepalived = bench.start(Kind::Keepalived, 100, true);
    has_role(&bench, Kind::Keepalived);
    let mut daemon = Daemon::start(&bench);
    has_role(&bench, Kind::Ours);
    assert_eq!(daemon.status()["adverts"]["rejected"], serde_json::json!({}));

    assert_eq!(daemon.xlb(&["reload"]).unwrap(), "nothing to change\n");
    configure(&bench, &daemon.directory, "colour = \"red\"");
    assert!(daemon.xlb(&["reload"]).is_err());
    throughout(Duration::from_secs(4), "a reload moves nothing", || bench.owns(Kind::Ours));
    assert_eq!(daemon.status()["transitions"], 1);

    let ended = now();
    daemon.process.signal(Signal::SIGTERM).unwrap();
    has_role(&bench, Kind::Keepalived);
    let resigned = bench.takeover(Host::A, ended);
    report(&bench.flavour, "the daemon ends, Keepalived takes over", resigned);
    assert!(resigned < Duration::from_millis(610) + LATE, "{resigned:?}");

    configure(&bench, &daemon.directory, "");
    daemon.restart();
    has_role(&bench, Kind::Ours);
    let killed = now();
    daemon.process.signal(Signal::SIGKILL).unwrap();
    bench.until_owner(Kind::Keepalived);
    report(&bench.flavour, "the daemon is killed, one owner again", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_millis(3610) + LATE * 2, "{:?}", killed.elapsed());
    has_role(&bench, Kind::Keepalived);
    assert_eq!(keepalived.complaints(), Vec::<String>::new());
}

/// It alone has the address, and answers the client; with a virtual MAC address always from that.
fn has_role(bench: &Bench, kind: Kind) {
    bench.until_owner(kind);
    let vip = bench.flavour.addresses()[0];
    until("the client is answered", || bench.lab.answering(vip).is_some());
    if bench.flavour.vmac {
        throughout(Duration::from_millis(500), "the client keeps the virtual MAC address", || {
            bench.lab.answering(vip).as_deref() == Some("00:00:5e:00:01:33")
        });
    }
}

#[test]
fn the_daemon_takes_over_and_gives_back_with_the_virtual_mac_address() {
    lives_beside_keepalived(Flavour { vmac: true, name: "virtual MAC", ..PLAIN });
}

#[test]
fn the_daemon_takes_over_and_gives_back() {
    lives_beside_keepalived(PLAIN);
}

#[test]
fn the_daemon_takes_over_and_gives_back_in_version_2_with_a_password() {
    lives_beside_keepalived(Flavour {
        version: 2,
        password: Some("secret"),
        name: "version 2, PASS",
        ..PLAIN
    });
}
