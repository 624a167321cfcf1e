//! VRRP as people read it.

use comfy_table::{Cell, Color, Table, presets};

use crate::control::status::{Vrrp, VrrpState, VrrpTracker};

const HEADER: [&str; 7] = ["NAME", "STATE", "PRIORITY", "MASTER", "ADDRESSES", "TRANSITIONS", "LAST CHANGE"];

/// A table of all instances, and below it what each has sent and heard.
pub(super) fn render(instances: &[Vrrp]) -> String {
    if instances.is_empty() {
        return "no VRRP instance is configured\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEADER);
    for instance in instances {
        let color = match instance.state {
            VrrpState::Master => Color::Green,
            VrrpState::Init | VrrpState::Backup => Color::Reset,
            VrrpState::Fault => Color::Red,
        };
        table.add_row([
            Cell::new(&instance.name),
            Cell::new(instance.state).fg(color),
            Cell::new(priority(instance)),
            Cell::new(instance.master.as_deref().unwrap_or("-")),
            Cell::new(addresses(&instance.addresses)),
            Cell::new(instance.transitions),
            Cell::new(
                instance.since.map_or("-".to_owned(), |at| humantime::format_rfc3339_seconds(at).to_string()),
            ),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let rows: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let mut text = format!("{}\n", rows.join("\n"));
    for instance in instances {
        text += &format!("\n{}  {}\n", instance.name, adverts(instance));
        if let Some(mac) = &instance.virtual_mac {
            text += &format!("  virtual MAC {}  on {}\n", mac.address, mac.device);
        }
        for (address, peer) in &instance.peers {
            text += &format!("  peer {address}  priority {}", peer.priority);
            for mismatch in &peer.mismatches {
                text += &format!(", {mismatch}");
            }
            text.push('\n');
        }
        for tracker in &instance.trackers {
            text += &format!("  tracks {}\n", tracked(tracker));
        }
    }
    text
}

/// The one in force, and the configured one where trackers have changed it.
fn priority(instance: &Vrrp) -> String {
    match instance.priority == instance.configured_priority {
        true => instance.priority.to_string(),
        false => format!("{} of {}", instance.priority, instance.configured_priority),
    }
}

/// The first, and how many more there are.
fn addresses(all: &[String]) -> String {
    match all {
        [first, rest @ ..] if !rest.is_empty() => format!("{first} +{}", rest.len()),
        _ => all.join(""),
    }
}

fn tracked(tracker: &VrrpTracker) -> String {
    let VrrpTracker { kind, name, weight, state, number } = tracker;
    let mut text = format!("{kind} {name}  {state}");
    if let Some(number) = number {
        text += &format!(", {number}");
    }
    if *weight != 0 {
        text += &format!(", weight {weight}");
    }
    text
}

fn adverts(instance: &Vrrp) -> String {
    let adverts = &instance.adverts;
    let mut words = vec![format!("adverts sent {}", adverts.sent), format!("heard {}", adverts.received)];
    if adverts.failed > 0 {
        words.push(format!("not sent {}", adverts.failed));
    }
    words.extend(adverts.rejected.iter().map(|(reason, count)| format!("dropped {count}: {reason}")));
    if instance.blocked {
        words.push("blocked by a tracker".to_owned());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::vrrp::{Kind, Priority},
        control::status::{VirtualMacStatus, VrrpTrackerState},
        vrrp::{
            reject::{Mismatch, Reject},
            status::{Adverts, Peer},
        },
    };

    #[test]
    fn an_instance_reads_like_this() {
        let peer = Peer { priority: Priority(90), mismatches: vec![Mismatch::Addresses] };
        let instance = Vrrp {
            name: "outside".into(),
            state: VrrpState::Master,
            priority: 80,
            configured_priority: 100,
            master: Some("198.51.100.1".into()),
            addresses: vec!["192.0.2.10/24".into(), "192.0.2.11/24".into()],
            virtual_mac: Some(VirtualMacStatus {
                address: "00:00:5e:00:01:33".into(),
                device: "vrrp.51".into(),
            }),
            routes: Vec::new(),
            rules: Vec::new(),
            transitions: 3,
            since: Some(std::time::UNIX_EPOCH),
            trackers: vec![
                VrrpTracker {
                    kind: Kind::VirtualServer,
                    name: "web".into(),
                    weight: 0,
                    state: VrrpTrackerState::Up,
                    number: None,
                },
                VrrpTracker {
                    kind: Kind::File,
                    name: "load".into(),
                    weight: -2,
                    state: VrrpTrackerState::Up,
                    number: Some(10),
                },
            ],
            blocked: false,
            adverts: Adverts { sent: 12, failed: 0, received: 4, rejected: [(Reject::HopLimit, 2)].into() },
            peers: [([198, 51, 100, 2].into(), peer)].into(),
        };
        let text = anstream::adapter::strip_str(&render(&[instance])).to_string();
        let wanted = "\
NAME     STATE   PRIORITY   MASTER        ADDRESSES         TRANSITIONS  LAST CHANGE
outside  master  80 of 100  198.51.100.1  192.0.2.10/24 +1  3            1970-01-01T00:00:00Z

outside  adverts sent 12, heard 4, dropped 2: hop limit is not 255
  virtual MAC 00:00:5e:00:01:33  on vrrp.51
  peer 198.51.100.2  priority 90, lists other virtual addresses
  tracks virtual server web  up
  tracks file load  up, 10, weight -2
";
        assert_eq!(text, wanted);
        assert_eq!(render(&[]), "no VRRP instance is configured\n");
    }
}
