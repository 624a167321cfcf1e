//! The status as people read it. Colours are always in it; the output takes them out where nobody sees them.

use anstyle::Style;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use crate::control::status::{
    DataPlane, RealServer, RealServerState, Status, Traffic, VirtualServer, VirtualServerState, Vrrp,
    VrrpState,
};

const BOLD: Style = Style::new().bold();

/// Lines for a terminal this wide; without a width they are as long as they need to be.
pub(super) fn render(status: &Status, width: Option<u16>) -> String {
    let mut text = format!("{BOLD}{}{BOLD:#}  generation {}\n", status.name, status.generation);
    text += &data_plane(&status.data_plane);
    if !status.virtual_servers.is_empty() {
        text += &format!("\n{}", lines(pools(&status.virtual_servers, width)));
    }
    if !status.vrrp.is_empty() {
        text += &format!("\n{}", lines(instances(&status.vrrp, width)));
    }
    text
}

fn data_plane(data_plane: &DataPlane) -> String {
    let interfaces: Vec<_> = data_plane
        .interfaces
        .iter()
        .map(|interface| format!("{} {}", interface.name, interface.mode))
        .collect();
    let outcomes: Vec<_> = data_plane
        .outcomes
        .iter()
        .map(|(outcome, packets)| format!("{outcome} {}", short(*packets)))
        .collect();
    let connections = data_plane.connections;
    format!(
        "interfaces   {}\nconnections  {} established, {} half open, room for {}\npackets      {}\n",
        interfaces.join(", "),
        connections.established,
        connections.half_open,
        connections.capacity,
        outcomes.join(", "),
    )
}

fn pools(virtual_servers: &[VirtualServer], width: Option<u16>) -> Table {
    let header = [
        "NAME",
        "ADDRESS",
        "STATE",
        "WEIGHT",
        "CONN",
        "NEW",
        "PKTS IN",
        "PKTS OUT",
        "BYTES IN",
        "BYTES OUT",
        "CHECK",
    ];
    let mut table = empty(&header, width);
    for virtual_server in virtual_servers {
        table.add_row(virtual_server_row(virtual_server));
        table.add_rows(virtual_server.real_servers.iter().map(real_server_row));
    }
    for column in table.column_iter_mut().skip(3).take(7) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn virtual_server_row(server: &VirtualServer) -> Vec<Cell> {
    let colour = match server.state {
        VirtualServerState::Up => Color::Green,
        VirtualServerState::Down => Color::Red,
    };
    let mut row = vec![
        Cell::new(&server.name).add_attribute(Attribute::Bold),
        Cell::new(format!("{} {} {}", server.address, server.protocol, server.scheduler)),
        Cell::new(server.state).fg(colour),
        Cell::new(format!("{} (quorum {})", server.quorum.have, server.quorum.need)),
    ];
    row.extend(traffic(&server.traffic));
    row
}

fn real_server_row(server: &RealServer) -> Vec<Cell> {
    let colour = match server.state {
        RealServerState::Up => Color::Green,
        RealServerState::Down => Color::Red,
        RealServerState::Drain | RealServerState::Disabled => Color::Yellow,
    };
    let weight = match server.configured_weight {
        Some(configured) if configured == server.weight => server.weight.to_string(),
        Some(configured) => format!("{} (configured {configured})", server.weight),
        None => format!("{} (added)", server.weight),
    };
    let mut row = vec![
        Cell::new(format!("  {}", server.name)),
        Cell::new(&server.address),
        Cell::new(server.state).fg(colour),
        Cell::new(weight),
    ];
    row.extend(traffic(&server.traffic));
    row.extend(server.check.iter().map(|check| Cell::new(format!("{}: {}", check.kind, check.last))));
    row
}

fn traffic(traffic: &Traffic) -> impl Iterator<Item = Cell> + use<> {
    let Traffic { connections, packets_in, packets_out, bytes_in, bytes_out, new_connections } = *traffic;
    [connections, new_connections, packets_in, packets_out, bytes_in, bytes_out]
        .map(short)
        .map(Cell::new)
        .into_iter()
}

fn instances(instances: &[Vrrp], width: Option<u16>) -> Table {
    let mut table = empty(&["VRRP", "STATE", "PRIORITY", "MASTER", "TRANSITIONS", "ADDRESSES"], width);
    table.add_rows(instances.iter().map(|instance| {
        let colour = match instance.state {
            VrrpState::Master => Color::Green,
            VrrpState::Init | VrrpState::Backup => Color::Reset,
            VrrpState::Fault => Color::Red,
        };
        vec![
            Cell::new(&instance.name).add_attribute(Attribute::Bold),
            Cell::new(instance.state).fg(colour),
            Cell::new(instance.priority),
            Cell::new(instance.master.as_deref().unwrap_or("none")),
            Cell::new(instance.transitions),
            Cell::new(instance.addresses.join(" ")),
        ]
    }));
    table
}

fn empty(header: &[&str], width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).enforce_styling();
    // Else the spaces after a cell are styled too and cannot be trimmed.
    table.style_text_only();
    table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Dim)));
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

fn lines(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// At most six characters: exact below 100,000, then in thousands, millions and so on.
fn short(number: u64) -> String {
    if number < 100_000 {
        return number.to_string();
    }
    let (mut rest, mut units) = (number, "kMGTPE".chars());
    let mut unit = units.next();
    while rest >= 1_000_000 {
        rest /= 1000;
        unit = units.next();
    }
    format!("{}.{}{}", rest / 1000, rest % 1000 / 100, unit.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        for (number, text) in [
            (0, "0"),
            (99_999, "99999"),
            (100_000, "100.0k"),
            (999_999, "999.9k"),
            (1_000_000, "1.0M"),
            (9_500_000_000, "9.5G"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(short(number), text);
        }
    }
}
