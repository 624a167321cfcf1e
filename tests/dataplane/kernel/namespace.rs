//! Namespaces with the interfaces, routes and neighbours of the world, and a BPF file system. They belong to one thread and
//! go with it.

use std::io::Write;
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::thread;

use lb_tests::bpffs::Bpffs;
use lb_user::dataplane::pins::Pins;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::world::{NARROW, NARROW_MTU, NEIGHBOURS, ROUTED, ROUTER, WIRES};

/// Runs `test` in them, on a thread of its own, with a pin directory of its own.
pub(crate) fn with_the_world(test: impl FnOnce(&Pins) + Send + 'static) {
    let thread = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let bpffs = Bpffs::mount(&directory.path().join("bpf")).unwrap();
        let pins = Pins::open(&bpffs.path().join("xlb")).unwrap();
        for forwarding in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{forwarding}"), "1").unwrap();
        }
        ip(&describe());
        test(&pins);
    });
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// The commands for `ip -batch`.
fn describe() -> String {
    let mac = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
    let mut commands = vec!["link set lo up".to_owned()];
    for wire in WIRES {
        let (name, index, address) = (wire.name, wire.index, mac(wire.mac));
        commands.push(format!(
            "link add name {name} index {index} address {address} type veth peer name {name}-far"
        ));
        for end in [name.to_owned(), format!("{name}-far")] {
            // Without link-local addresses there are no routes but those below.
            commands.push(format!("link set {end} addrgenmode none"));
            commands.push(format!("link set {end} mtu {} up", wire.mtu));
        }
        for address in wire.addresses {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            commands.push(format!("address add {address} dev {name} {nodad}"));
        }
    }
    for (address, wire, link) in NEIGHBOURS {
        commands.push(format!(
            "neighbour replace {address} lladdr {} dev {} nud permanent",
            mac(*link),
            wire.name
        ));
        if NARROW.contains(address) {
            // Only a locked MTU counts for what is forwarded (net/ipv4/route.c).
            commands.push(format!("route add {address} dev {} mtu lock {NARROW_MTU}", wire.name));
        }
    }
    commands.push(format!("route add {ROUTED} via {ROUTER}"));
    commands.join("\n")
}

fn ip(commands: &str) {
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "ip -batch:\n{commands}");
}
