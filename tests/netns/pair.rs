//! Two balancers on one switch with a virtual address between them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use lb_tests::bpffs::Bpffs;
use lb_tests::daemon::built_program;
use lb_tests::{Namespace, Process, process, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use crate::given::PATIENCE;

/// The virtual address.
pub(crate) const VIP: &str = "10.9.0.100";

/// Two nodes; the first has the higher priority.
pub(crate) struct Pair {
    pub(crate) nodes: [Node; 2],
    _switch: Namespace,
}

/// A balancer: a host with a daemon.
pub(crate) struct Node {
    pub(crate) daemon: Option<Process>,
    /// 1 or 2; its address is 10.9.0.1 or 10.9.0.2.
    number: usize,
    namespace: Namespace,
    bpffs: Bpffs,
    directory: TempDir,
}

impl Pair {
    /// Both hosts; no daemon runs.
    pub(crate) fn create() -> Result<Self> {
        let switch = Namespace::create("switch")?;
        switch.ip("link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0")?;
        switch.ip("link set br0 up")?;
        let node = |number| {
            let directory = TempDir::new()?;
            let bpffs = Bpffs::mount(&directory.path().join("bpf"))?;
            let namespace = Namespace::create("node")?;
            let (near, far) = (namespace.name(), format!("to{number}"));
            switch.ip(&format!("link add {far} type veth peer name eth0 netns {near}"))?;
            switch.ip(&format!("link set {far} master br0 up"))?;
            namespace.ip(&format!("address add 10.9.0.{number}/24 dev eth0"))?;
            namespace.ip("link set eth0 up")?;
            Ok::<_, anyhow::Error>(Node { daemon: None, number, namespace, bpffs, directory })
        };
        Ok(Self { nodes: [node(1)?, node(2)?], _switch: switch })
    }

    /// Both daemons run, and the first is master.
    pub(crate) fn start() -> Result<Self> {
        let mut pair = Self::create()?;
        for node in &mut pair.nodes {
            node.configure("")?;
            node.start()?;
        }
        pair.is_owned_by(0)?;
        Ok(pair)
    }

    /// Waits until the node is the only owner.
    pub(crate) fn is_owned_by(&self, owner: usize) -> Result<()> {
        wait_until("one owner", PATIENCE, || {
            self.nodes.iter().enumerate().all(|(number, node)| node.has_address() == (number == owner))
        })
    }
}

impl Node {
    /// Writes the configuration; `keys` are further keys of its instance.
    pub(crate) fn configure(&self, keys: &str) -> Result<()> {
        let (pins, state) = (self.bpffs.path().join("xlb"), self.directory.path().join("state"));
        let priority = 200 - 50 * self.number;
        let text = format!(
            r#"
            [global]
            interfaces = ["eth0"]
            pin_dir = {pins:?}
            state_dir = {state:?}
            script_user = "root"
            [api]
            socket = {:?}
            listen = ""
            [[virtual_server]]
            name = "web"
            address = "{VIP}:80"
            real_server = [{{ address = "10.9.0.50:80" }}]
            [[vrrp_instance]]
            name = "outside"
            interface = "eth0"
            virtual_router_id = 51
            priority = {priority}
            advert_interval = "200ms"
            virtual_ipaddress = ["{VIP}/24"]
            {keys}
            "#,
            self.socket()
        );
        Ok(std::fs::write(self.file(), text)?)
    }

    /// Where files of its own can be put.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("xlb.toml")
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("xlb.sock")
    }

    /// Starts the daemon; returns when it answers.
    pub(crate) fn start(&mut self) -> Result<()> {
        let mut command = self.namespace.command(built_program()?);
        command.arg("run").arg("-c").arg(self.file());
        let mut process = Process::start(command, &self.directory.path().join("log"))?;
        wait_until("the daemon to answer", PATIENCE, || {
            !process.is_running() || self.xlb(&["status"]).is_ok()
        })?;
        if !process.is_running() {
            bail!("the daemon ended:\n{}", process.log());
        }
        self.daemon = Some(process);
        Ok(())
    }

    /// Runs a command.
    pub(crate) fn xlb(&self, arguments: &[&str]) -> Result<String> {
        process::run(Command::new(built_program()?).arg("-s").arg(self.socket()).args(arguments))
    }

    /// What `xlb vrrp --json` says of the instance.
    pub(crate) fn vrrp(&self) -> Result<Value> {
        let all: Value = serde_json::from_str(&self.xlb(&["vrrp", "--json"])?)?;
        Ok(all[0].clone())
    }

    /// Whether the virtual address is on its interface.
    pub(crate) fn has_address(&self) -> bool {
        self.namespace.ip("-4 address show dev eth0").is_ok_and(|text| text.contains(&format!("{VIP}/")))
    }

    /// What `ip` says on its host.
    pub(crate) fn ip(&self, arguments: &str) -> Result<String> {
        self.namespace.ip(arguments)
    }

    /// A value of its host, below /proc/sys.
    pub(crate) fn sysctl(&self, name: &str) -> Result<String> {
        Ok(self.namespace.run("cat", &format!("/proc/sys/{name}"))?.trim().to_owned())
    }
}
