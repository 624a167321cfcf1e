//! Our router as a process: the test binary runs itself with this test, inside a namespace.

use std::{io::BufRead, time::Duration};

use lb_user::{
    config::vrrp::{
        Announce, Authentication, Checksum, Kind, Notify, Priority, Scope, Script, SyncGroup, Tracked,
        Version, VirtualAddress, VirtualMac, Vrrp, VrrpInstance,
    },
    vrrp::task::{Command, run},
};
use serde_json::Value;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

fn config(json: &Value) -> Vrrp {
    let mut instances: Vec<_> = json["instances"].as_array().unwrap().iter().map(instance).collect();
    let group = instances.iter().map(|instance| instance.name.clone()).collect();
    let sync_groups = if json["sync"] == true {
        vec![SyncGroup { name: "all".into(), group, notify: Notify::default() }]
    } else {
        vec![]
    };
    let scripts = json["script"].as_object().map(|script| Script {
        name: "script".into(),
        command: strings(&script["command"]),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 2,
    });
    let weight = |json: &Value| i16::try_from(json["script"]["weight"].as_i64().unwrap()).unwrap();
    let tracked = || Tracked { kind: Kind::Script, name: "script".into(), weight: weight(json) };
    let scripts: Vec<_> = scripts.into_iter().collect();
    for instance in &mut instances {
        instance.trackers = scripts.iter().map(|_| tracked()).collect();
    }
    Vrrp { instances, sync_groups, scripts, processes: vec![], files: vec![], startup_delay: Duration::ZERO }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|each| each.as_str().unwrap().into()).collect()
}

fn instance(json: &Value) -> VrrpInstance {
    let number = |key: &str| json[key].as_u64().unwrap();
    let id = u8::try_from(number("id")).unwrap();
    let ipv6 = json["ipv6"] == true;
    let virtual_mac = (json["vmac"] == true).then(|| VirtualMac {
        device: VirtualMac::default_device(id, ipv6),
        parent: "eth0".into(),
        address: VirtualMac::address(id, ipv6),
        ipv6,
    });
    let device = virtual_mac.as_ref().map_or("eth0", |mac| &mac.device).to_owned();
    let address = |address: &String| VirtualAddress {
        address: address.parse().unwrap(),
        device: device.clone(),
        scope: Scope::Global,
    };
    let password = |password: &str| {
        let mut bytes = [0; 8];
        bytes[..password.len()].copy_from_slice(password.as_bytes());
        Authentication::Pass(bytes)
    };
    VrrpInstance {
        name: json["name"].as_str().unwrap().into(),
        interface: "eth0".into(),
        virtual_router_id: id,
        priority: Priority(u8::try_from(number("priority")).unwrap()),
        version: if number("version") == 2 { Version::V2 } else { Version::V3 },
        advert_interval: Duration::from_millis(number("interval")),
        virtual_ipaddress: strings(&json["addresses"]).iter().map(address).collect(),
        virtual_mac: virtual_mac.clone(),
        virtual_routes: vec![],
        virtual_rules: vec![],
        preempt: json["preempt"].as_bool().unwrap(),
        preempt_delay: Duration::ZERO,
        unicast_peers: strings(&json["peers"]).iter().map(|peer| peer.parse().unwrap()).collect(),
        source_address: None,
        checksum: Checksum::PseudoHeader,
        authentication: json["password"].as_str().map(password),
        trackers: vec![],
        announce: Announce::default(),
        notify: Notify::default(),
    }
}

#[tokio::test]
#[ignore = "is run by the other tests, in a process and a namespace of its own"]
async fn our_router() {
    let Ok(text) = std::env::var("XLB_INTEROP") else { return };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let config = |text: &str| config(&serde_json::from_str(text).unwrap());
    let (commands, inbox) = mpsc::channel(16);
    let (events, _outbox) = mpsc::unbounded_channel();
    let task = tokio::spawn(run(config(&text), None, inbox, events));
    commands.send(Command::Ready).await.unwrap();
    let mut end = signal(SignalKind::terminate()).unwrap();
    let (lines, mut asked) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    loop {
        tokio::select! {
            _ = end.recv() => break,
            line = asked.recv() => match line.as_deref() {
                Some("status") => {
                    let (reply, status) = oneshot::channel();
                    commands.send(Command::Status(reply)).await.unwrap();
                    println!("@{}", serde_json::to_string(&status.await.unwrap()).unwrap());
                }
                Some("release") => {
                    let (reply, known) = oneshot::channel();
                    commands.send(Command::Release { name: None, known: reply }).await.unwrap();
                    println!("@{}", known.await.unwrap());
                }
                Some(text) => {
                    commands.send(Command::Apply(config(text))).await.unwrap();
                    println!("@true");
                }
                None => break,
            },
        }
    }
    commands.send(Command::Stop).await.unwrap();
    task.await.unwrap().unwrap();
    std::process::exit(0);
}
