//! The status as people read it. Colours are always in it; the output takes them out where nobody sees them.

use anstyle::Style;
use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, presets,
};

use crate::control::status::{
    DataPlane, RealServer, RealServerState, Status, Traffic, VirtualServer, VirtualServerState, Vrrp,
    VrrpState,
};

const BOLD: Style = Style::new().bold();

/// Spaces between columns.
const GAP: u16 = 2;

/// Columns of a pool, the most wanted first.
const HEADER: [&str; 11] = [
    "NAME",
    "ADDRESS",
    "STATE",
    "WEIGHT",
    "CONN",
    "CHECK",
    "NEW",
    "PKTS IN",
    "PKTS OUT",
    "BYTES IN",
    "BYTES OUT",
];

/// As many of them as a line always has.
const ALWAYS: usize = 5;

/// Where numbers are.
const RIGHT: [usize; 7] = [3, 4, 6, 7, 8, 9, 10];

/// Lines for a terminal this wide; without a width there is room for everything.
pub(super) fn render(status: &Status, width: Option<u16>) -> String {
    let mut text = format!("{BOLD}{}{BOLD:#}  generation {}\n", status.name, status.generation);
    text += &data_plane(&status.data_plane);
    if !status.virtual_servers.is_empty() {
        let mut table = pools(&status.virtual_servers);
        width.iter().for_each(|width| narrow(&mut table, *width));
        text += &format!("\n{}", lines(table));
    }
    if !status.vrrp.is_empty() {
        text += &format!("\n{}", lines(instances(&status.vrrp)));
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
        "interfaces   {}\nconnections  {} established, {} closing, {} half open, {} with source NAT, room for {}\npackets      {}\n",
        interfaces.join(", "),
        connections.established,
        connections.closing,
        connections.half_open,
        connections.source_nat,
        connections.capacity,
        outcomes.join(", "),
    )
}

fn pools(virtual_servers: &[VirtualServer]) -> Table {
    let mut table = empty(&HEADER);
    for virtual_server in virtual_servers {
        table.add_row(virtual_server_row(virtual_server));
        table.add_rows(virtual_server.real_servers.iter().map(real_server_row));
    }
    for (_, column) in table.column_iter_mut().enumerate().filter(|(index, _)| RIGHT.contains(index)) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Takes columns away, the least wanted first, until lines fit.
fn narrow(table: &mut Table, width: u16) {
    let widths = table.column_max_content_widths();
    let mut wide: usize = widths.iter().map(|column| usize::from(column + GAP)).sum();
    for (column, its_width) in table.column_iter_mut().zip(widths).skip(ALWAYS).rev() {
        if wide <= usize::from(width) + usize::from(GAP) {
            break;
        }
        column.set_constraint(ColumnConstraint::Hidden);
        wide -= usize::from(its_width + GAP);
    }
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
    let bound = server.persistent_clients.map(|clients| format!("{} clients bound", short(clients)));
    row.extend(traffic(&server.traffic, bound.unwrap_or_default()));
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
    let passive = server.passive.as_ref().map(|passive| format!("passive: {passive}"));
    let check = server.check.as_ref().map(|check| format!("{}: {}", check.kind, check.last));
    let check = passive.or(check);
    row.extend(traffic(&server.traffic, check.unwrap_or_default()));
    row
}

/// The cells after the weight.
fn traffic(traffic: &Traffic, check: String) -> [Cell; 7] {
    let Traffic { connections, packets_in, packets_out, bytes_in, bytes_out, new_connections } = *traffic;
    let number = |number| Cell::new(short(number));
    [
        number(connections),
        Cell::new(check),
        number(new_connections),
        number(packets_in),
        number(packets_out),
        number(bytes_in),
        number(bytes_out),
    ]
}

fn instances(instances: &[Vrrp]) -> Table {
    let mut table = empty(&["VRRP", "STATE", "PRIORITY", "MASTER", "TRANSITIONS", "ADDRESSES"]);
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

fn empty(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).enforce_styling();
    // Else the spaces after a cell are styled too and cannot be trimmed.
    table.style_text_only();
    table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Dim)));
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn lines(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
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
    fn a_narrow_terminal_gets_fewer_columns_and_no_wrapped_lines() {
        let row = HEADER.map(|_| "123456789");
        for (width, columns) in [(1000, 11), (119, 11), (118, 10), (64, 6), (63, 5), (10, 5)] {
            let mut table = empty(&HEADER);
            table.add_row(row);
            narrow(&mut table, width);
            let text = anstream::adapter::strip_str(&lines(table)).to_string();
            let line = text.lines().last().unwrap();
            assert_eq!(line.matches("123456789").count(), columns, "{width}");
            assert_eq!(text.lines().count(), 2, "{width}");
        }
    }

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
