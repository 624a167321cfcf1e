//! The metrics in OpenMetrics text, of one moment.

mod vrrp;

use std::fmt;

use lb_common::outcome::Outcome;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use crate::{
    control::status::{RealServer, RealServerState, Status, Traffic, VirtualServer, VirtualServerState},
    health::counters::{BUCKETS, Counts},
};

/// Everything that is shown.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// Of all virtual servers.
    pub status: Status,
    /// Packets of every interface the program is attached to, by their end.
    pub packets: Vec<(String, Vec<(Outcome, u64)>)>,
    /// What checks add up to.
    pub checks: Counts,
    /// Whether the file was applied when it was last read.
    pub reloaded: bool,
}

/// The type of [`text()`], for HTTP.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text that Prometheus reads.
///
/// # Errors
///
/// None that a string as the destination could cause.
pub fn text(scrape: Scrape) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("xlb");
    registry.register_collector(Box::new(scrape));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.daemon(&mut families)?;
        self.virtual_servers(&mut families)?;
        self.real_servers(&mut families)?;
        self.checks(&mut families)?;
        self.vrrp(&mut families)?;
        self.data_plane(&mut families)
    }
}

impl Scrape {
    fn daemon(&self, families: &mut Families<'_>) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        families.gauges("build_info", "The running program", [(version, 1)])?;
        families.gauge(
            "config_last_reload_successful",
            "Whether the configuration file was applied when it was last read",
            u64::from(self.reloaded),
        )
    }

    fn virtual_servers(&self, families: &mut Families<'_>) -> fmt::Result {
        let all = || self.status.virtual_servers.iter();
        families.gauges(
            "virtual_server_up",
            "Whether the quorum is met",
            all().map(|server| {
                let up = server.state == VirtualServerState::Up;
                ([("virtual_server", &*server.name)], u64::from(up))
            }),
        )?;
        families.gauges(
            "virtual_server_info",
            "What is configured",
            all().map(|server| (description(server), 1)),
        )?;
        families.gauges(
            "virtual_server_persistent_clients",
            "Clients that persistence binds to a real server, as last counted",
            all()
                .filter_map(|server| Some(([("virtual_server", &*server.name)], server.persistent_clients?))),
        )
    }

    fn real_servers(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauges(
            "real_server_state",
            "1 for the state it is in, 0 for the others",
            self.each_real_server().flat_map(|(server, real)| {
                let [virtual_server, real_server] = labels(server, real);
                STATES.map(|(state, name)| {
                    ([virtual_server, real_server, ("state", name)], u64::from(real.state == state))
                })
            }),
        )?;
        families.gauges(
            "real_server_weight",
            "The weight in force",
            self.each_real_server().map(|(server, real)| (labels(server, real), u64::from(real.weight))),
        )?;
        families.gauges(
            "real_server_connections_active",
            "Connections now",
            self.each_real_server().map(|(server, real)| (labels(server, real), real.traffic.connections)),
        )?;
        families.counters(
            "real_server_connections",
            "Connections opened",
            self.each_real_server()
                .map(|(server, real)| (labels(server, real), real.traffic.new_connections)),
        )?;
        self.both_ways(families, "real_server_packets", "IP packets", |traffic| {
            [traffic.packets_in, traffic.packets_out]
        })?;
        self.both_ways(families, "real_server_bytes", "Bytes of IP packets", |traffic| {
            [traffic.bytes_in, traffic.bytes_out]
        })
    }

    fn both_ways(
        &self,
        families: &mut Families<'_>,
        family: &str,
        help: &str,
        values: impl Fn(&Traffic) -> [u64; 2],
    ) -> fmt::Result {
        let help = format!("{help} from clients (in) and to clients (out)");
        let samples = self.each_real_server().flat_map(|(server, real)| {
            let [virtual_server, real_server] = labels(server, real);
            let [incoming, outgoing] = values(&real.traffic);
            [("in", incoming), ("out", outgoing)]
                .map(|(way, value)| ([virtual_server, real_server, ("direction", way)], value))
        });
        families.counters(family, &help, samples)
    }

    fn checks(&self, families: &mut Families<'_>) -> fmt::Result {
        let Counts { success, failure, error, buckets, duration, late } = &self.checks;
        let results = [("success", *success), ("failure", *failure), ("error", *error)];
        families.counters(
            "check_results",
            "Checks that have run",
            results.map(|(result, count)| ([("result", result)], count)),
        )?;
        let help = "Checks that began more than a tenth of their interval after they were due";
        families.counter("check_late", help, *late)?;
        let bounds = BUCKETS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(buckets.iter().copied()).collect();
        families.seconds("check_duration", "How long checks took", *duration, &buckets)
    }

    fn data_plane(&self, families: &mut Families<'_>) -> fmt::Result {
        families.counters(
            "packets",
            "Packets that arrived on an interface, by what became of them",
            self.packets.iter().flat_map(|(interface, packets)| {
                packets.iter().map(move |(outcome, count)| {
                    ([("interface", interface.as_str()), ("outcome", outcome.name())], *count)
                })
            }),
        )?;
        families.counters(
            "reconciled",
            "What was changed by hand and put right",
            self.status.data_plane.reconciled.iter().map(|(what, count)| ([("what", what.as_str())], *count)),
        )?;
        let table = self.status.data_plane.connections;
        families.gauge(
            "connection_table_entries",
            "Established connections, as last counted",
            table.established,
        )?;
        families.gauge(
            "connection_table_max_entries",
            "Established connections there is room for in each address family",
            table.capacity,
        )
    }

    fn each_real_server(&self) -> impl Iterator<Item = (&VirtualServer, &RealServer)> {
        let servers = self.status.virtual_servers.iter();
        servers.flat_map(|server| server.real_servers.iter().map(move |real| (server, real)))
    }
}

/// Every state under the name it has everywhere.
const STATES: [(RealServerState, &str); 4] = [
    (RealServerState::Up, "up"),
    (RealServerState::Down, "down"),
    (RealServerState::Drain, "drain"),
    (RealServerState::Disabled, "disabled"),
];

fn labels<'a>(server: &'a VirtualServer, real: &'a RealServer) -> [(&'static str, &'a str); 2] {
    [("virtual_server", &server.name), ("real_server", &real.name)]
}

fn description(server: &VirtualServer) -> [(&'static str, &str); 5] {
    let (address, fwmark) = match server.address.strip_prefix("fwmark ") {
        Some(mark) => ("", mark),
        None => (&*server.address, ""),
    };
    [
        ("virtual_server", &server.name),
        ("address", address),
        ("protocol", &server.protocol),
        ("fwmark", fwmark),
        ("scheduler", &server.scheduler),
    ]
}

/// Writes families of metrics.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        samples
            .into_iter()
            .try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// The format adds `_total` to the name of every sample.
    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        samples.into_iter().try_for_each(|(labels, value)| {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    /// A histogram of durations; `buckets` are counts by their upper bound, not cumulative.
    fn seconds(&mut self, name: &str, help: &str, sum: f64, buckets: &[(f64, u64)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        let count = buckets.iter().map(|(_, count)| count).sum();
        family.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
    }
}

#[cfg(test)]
mod tests;
