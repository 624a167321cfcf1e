//! The two sides: our router in a process of its own, and keepalived.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::IpAddr,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{Host, Lab};

/// One virtual router.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instance {
    pub(crate) name: &'static str,
    pub(crate) id: u8,
    pub(crate) ipv6: bool,
}

/// How both sides are configured.
#[derive(Clone, Debug)]
pub(crate) struct Flavour {
    pub(crate) name: &'static str,
    pub(crate) instances: &'static [Instance],
    /// All instances are in one sync group.
    pub(crate) sync: bool,
    pub(crate) version: u8,
    pub(crate) interval: Duration,
    pub(crate) unicast: bool,
    pub(crate) password: Option<&'static str>,
    /// Of each instance.
    pub(crate) vips: usize,
    /// Both use the virtual MAC address.
    pub(crate) vmac: bool,
}

const V4: Instance = Instance { name: "four", id: 51, ipv6: false };
const V6: Instance = Instance { name: "six", id: 51, ipv6: true };
const OTHER: Instance = Instance { name: "other", id: 52, ipv6: false };

pub(crate) const PLAIN: Flavour = Flavour {
    name: "version 3",
    instances: &[V4],
    sync: false,
    version: 3,
    interval: Duration::from_secs(1),
    unicast: false,
    password: None,
    vips: 1,
    vmac: false,
};
pub(crate) const IPV6: Flavour = Flavour { name: "IPv6", instances: &[V6], ..PLAIN };
pub(crate) const BOTH: Flavour = Flavour { name: "IPv4 and IPv6 on one id", instances: &[V4, V6], ..PLAIN };
pub(crate) const SYNC: Flavour = Flavour { name: "sync group", instances: &[V4, OTHER], sync: true, ..PLAIN };

impl Instance {
    fn addresses(self, flavour: &Flavour) -> Vec<IpAddr> {
        let nth = |n: usize| {
            let n = u16::try_from(n).unwrap();
            let [high, low] = (n + 100).to_be_bytes();
            if self.ipv6 {
                IpAddr::from([0xfd00, 0x99, 0, 0, 0, 0, u16::from(self.id), n])
            } else {
                IpAddr::from([10, self.id, high, low])
            }
        };
        (0..flavour.vips).map(nth).collect()
    }

    fn prefix(self) -> u8 {
        if self.ipv6 { 128 } else { 32 }
    }

    fn speaker(self, lab: &Lab, host: Host) -> IpAddr {
        if self.ipv6 { lab.link_local(host).unwrap() } else { host.address() }
    }
}

impl Flavour {
    /// The virtual MAC addresses of its instances.
    pub(crate) fn virtual_macs(&self) -> Vec<[u8; 6]> {
        self.instances.iter().map(|each| [0, 0, 0x5e, 0, if each.ipv6 { 2 } else { 1 }, each.id]).collect()
    }

    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.instances.iter().flat_map(|instance| instance.addresses(self)).collect()
    }

    /// What our router is told.
    pub(crate) fn config(&self, lab: &Lab, host: Host, role: Role) -> Value {
        let instance = |each: &Instance| {
            let addresses = each.addresses(self);
            let peer = each.speaker(lab, host.other());
            json!({
                "name": each.name,
                "id": each.id,
                "version": self.version,
                "interval": u64::try_from(self.interval.as_millis()).unwrap(),
                "priority": role.priority,
                "preempt": role.preempt,
                "addresses": addresses.iter().map(|vip| format!("{vip}/{}", each.prefix())).collect::<Vec<_>>(),
                "peers": if self.unicast { vec![peer] } else { vec![] },
                "password": self.password,
                "vmac": self.vmac,
                "ipv6": each.ipv6,
            })
        };
        json!({ "instances": self.instances.iter().map(instance).collect::<Vec<_>>(), "sync": self.sync })
    }
}

/// One side's part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role {
    pub(crate) priority: u8,
    pub(crate) preempt: bool,
}

/// A process that is one of the two sides; it is killed with its value.
pub(crate) struct Process {
    child: Child,
    input: Mutex<Option<ChildStdin>>,
    output: Mutex<Receiver<String>>,
    _files: Option<TempDir>,
    log: Option<PathBuf>,
}

impl Process {
    /// Our router.
    pub(crate) fn ours(lab: &Lab, host: Host, flavour: &Flavour, role: Role) -> Self {
        let config = flavour.config(lab, host, role);
        let mut child = Command::new("ip")
            .args(["netns", "exec", &lab.host(host)])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "subject::our_router", "--ignored", "--nocapture", "--test-threads=1"])
            .env("XLB_INTEROP", config.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, output) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The test runner writes on the same line.
                let answer = line.split_once('@').map(|(_, answer)| answer.to_owned());
                if answer.is_some_and(|answer| lines.send(answer).is_err()) {
                    return;
                }
            }
        });
        let input = Mutex::new(child.stdin.take());
        Self { child, input, output: Mutex::new(output), _files: None, log: None }
    }

    /// keepalived.
    pub(crate) fn keepalived(lab: &Lab, host: Host, flavour: &Flavour, role: Role) -> Self {
        let files = TempDir::new().unwrap();
        let path = |name: &str| files.path().join(name);
        std::fs::write(path("keepalived.conf"), keepalived_conf(lab, host, flavour, role)).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let child = Command::new("ip")
            .args(["netns", "exec", &lab.host(host), "keepalived", "-P", "-n", "-l", "-D", "-f"])
            .arg(path("keepalived.conf"))
            .arg("-p")
            .arg(path("pid"))
            .arg("-r")
            .arg(path("vrrp"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let log = Some(path("log"));
        let (_, output) = channel();
        Self { child, input: Mutex::new(None), output: Mutex::new(output), _files: Some(files), log }
    }

    /// Ends as it would by itself, or with no chance to do anything.
    pub(crate) fn end(&self, signal: Signal) {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        // A child that outlived its parent would still say goodbye.
        for child in children.split_whitespace().filter(|_| signal == Signal::SIGKILL) {
            let _ = kill(Pid::from_raw(child.parse().unwrap()), signal);
        }
        self.signal(signal);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal);
    }

    /// Tells our router something; it answers with JSON.
    pub(crate) fn ask(&self, what: &str) -> Value {
        let mut input = self.input.lock().unwrap();
        writeln!(input.as_mut().unwrap(), "{what}").unwrap();
        let answer = self.output.lock().unwrap().recv_timeout(Duration::from_secs(10)).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// The status of our router, instance by instance.
    pub(crate) fn status(&self) -> Vec<Value> {
        self.ask("status").as_array().unwrap().clone()
    }

    /// Lines in which keepalived complains.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.log.as_ref().map(|log| std::fs::read_to_string(log).unwrap()).unwrap_or_default();
        let bad = ["nvalid", "mismatch", "bogus", "wrong", "incorrect", "ignored", "error", "expected"];
        log.lines().filter(|line| bad.iter().any(|word| line.contains(word))).map(str::to_owned).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn keepalived_conf(lab: &Lab, host: Host, flavour: &Flavour, role: Role) -> String {
    let mut conf = String::from("global_defs {\n  router_id test\n  vrrp_garp_master_delay 5\n}\n");
    if flavour.sync {
        let names: Vec<_> = flavour.instances.iter().map(|instance| instance.name).collect();
        writeln!(conf, "vrrp_sync_group all {{\n  group {{\n    {}\n  }}\n}}", names.join("\n    ")).unwrap();
    }
    for instance in flavour.instances {
        let (name, id) = (instance.name, instance.id);
        let (version, interval, priority) = (flavour.version, flavour.interval.as_secs_f32(), role.priority);
        writeln!(conf, "vrrp_instance {name} {{\n  interface eth0\n  virtual_router_id {id}").unwrap();
        writeln!(conf, "  state BACKUP\n  version {version}\n  priority {priority}\n  advert_int {interval}")
            .unwrap();
        if flavour.vmac {
            conf += "  use_vmac\n";
        }
        if instance.ipv6 {
            conf += "  native_ipv6\n";
        }
        if !role.preempt {
            conf += "  nopreempt\n";
        }
        if flavour.unicast {
            // Without it, keepalived sends over IPv6 with a hop limit of 64, which anybody could forge.
            conf += "  unicast_ttl 255\n";
            writeln!(conf, "  unicast_src_ip {}", instance.speaker(lab, host)).unwrap();
            writeln!(conf, "  unicast_peer {{\n    {}\n  }}", instance.speaker(lab, host.other())).unwrap();
        }
        if let Some(password) = flavour.password {
            writeln!(conf, "  authentication {{\n    auth_type PASS\n    auth_pass {password}\n  }}")
                .unwrap();
        }
        conf += "  virtual_ipaddress {\n";
        for vip in instance.addresses(flavour) {
            let device = if flavour.vmac { "" } else { " dev eth0" };
            writeln!(conf, "    {vip}/{}{device}", instance.prefix()).unwrap();
        }
        conf += "  }\n}\n";
    }
    conf
}
