//! `[[virtual_server]]` with its real servers.

use std::net::SocketAddr;

use toml::Spanned;

use super::{check::CheckOptions, options::Options, passive};
use crate::config::{
    address::{group, unicast},
    diagnostic::{Diagnostic, Span},
    file::Section,
    model::{Listen, Protocol, RealServer, VirtualServer},
    value::{name, number, short, string},
};

/// A virtual server whose parts may be missing, and the places that rules point at.
pub(super) struct Draft {
    pub(super) span: Span,
    pub(super) name: Option<Spanned<String>>,
    /// Every address of the group, at the place it was written.
    pub(super) addresses: Vec<Spanned<SocketAddr>>,
    pub(super) fwmark: Option<Spanned<u32>>,
    pub(super) options: Options,
    pub(super) real_servers: Vec<RealServerDraft>,
    /// Every part was read: sums over them mean something.
    pub(super) whole: bool,
    /// A script may set weights that the file does not know.
    pub(super) dynamic_weights: bool,
}

/// A usable real server, and the places that rules point at.
pub(super) struct RealServerDraft {
    pub(super) model: RealServer,
    pub(super) name_at: Span,
    pub(super) address_at: Span,
}

impl Draft {
    pub(super) fn into_model(self) -> Option<VirtualServer> {
        let addresses: Vec<_> = self.addresses.into_iter().map(Spanned::into_inner).collect();
        Some(VirtualServer {
            name: self.name?.into_inner(),
            listen: match self.fwmark {
                Some(mark) => Listen::Fwmark(mark.into_inner()),
                None => Listen::Addresses(addresses),
            },
            protocol: self.options.protocol,
            scheduler: self.options.scheduler,
            persistence: self.options.persistence(),
            quorum: self.options.quorum(),
            hysteresis: self.options.hysteresis(),
            initial_state: self.options.initial_state,
            on_down: self.options.on_down,
            without_state: self.options.without_state,
            drain_timeout: self.options.drain_timeout,
            slow_start: self.options.slow_start,
            timeouts: self.options.timeouts,
            passive: self.options.passive.filter(|_| self.options.protocol == Protocol::Tcp),
            sorry_server: self.options.sorry_server.map(Spanned::into_inner),
            real_servers: self.real_servers.into_iter().map(|real| real.model).collect(),
        })
    }
}

pub(super) fn read(section: &mut Section<'_>, defaults: &Options, router_id: &str) -> Draft {
    let before = section.errors();
    let name = section.required("name", name);
    let (addresses, fwmark) = read_listen(section);
    let options = Options::read(section, defaults);
    if section.has("persistence_granularity") && options.persistence().is_none() {
        let at = section.key_span("persistence_granularity");
        let unused = Diagnostic::warning("unused-key", at, "a granularity without persistence means nothing");
        section.push(unused.help("write `persistence_timeout = \"5m\"`, or take it out"));
    }
    passive::ensure_tcp(section, options.protocol, options.passive);
    let checks = CheckOptions::read_all(section, &defaults.check, router_id).unwrap_or_else(|| {
        defaults.check.is_complete().then(|| defaults.check.clone()).into_iter().collect()
    });
    let context = Context { checks: &checks, defaults, port: only_port(&addresses), router_id };

    let mut dynamic_weights = false;
    let mut real_servers = Vec::new();
    if let Some(node) = section.require("real_server") {
        for item in node.some_items("write { address = \"ADDRESS:PORT\" } for each") {
            let real = item.section(|real| read_real_server(real, &context, &mut dynamic_weights));
            real_servers.extend(real.flatten());
        }
    }
    let whole = section.errors() == before;
    Draft { span: section.span(), name, addresses, fwmark, options, real_servers, whole, dynamic_weights }
}

/// Address or mark, and not both.
fn read_listen(section: &mut Section<'_>) -> (Vec<Spanned<SocketAddr>>, Option<Spanned<u32>>) {
    let groups = section.node("address").map(|node| node.some_items("write \"ADDRESS:PORT\""));
    let groups = groups.into_iter().flatten().filter_map(|item| item.convert(group));
    let fwmark = section.value("fwmark", number(1, u32::MAX));
    match (section.has("address"), section.has("fwmark")) {
        (true, true) => section.push(
            Diagnostic::error(
                "address-and-fwmark",
                section.key_span("fwmark"),
                "both `fwmark` and `address`",
            )
            .place(section.key_span("address"), "and here")
            .help("take one of them out; for both, make two virtual servers"),
        ),
        (false, false) => section.push(
            Diagnostic::error("missing-key", section.span(), "`address` is missing here")
                .help("write `address = \"ADDRESS:PORT\"`, or `fwmark = NUMBER`"),
        ),
        _ => {}
    }
    let each = |group: Spanned<Vec<SocketAddr>>| {
        let span = group.span();
        group.into_inner().into_iter().map(move |address| Spanned::new(span.clone(), address))
    };
    (groups.flat_map(each).collect(), fwmark)
}

/// The port of all addresses, when they have but one.
fn only_port(addresses: &[Spanned<SocketAddr>]) -> Option<u16> {
    let mut ports = addresses.iter().map(|address| address.get_ref().port());
    let first = ports.next()?;
    ports.all(|port| port == first).then_some(first)
}

/// What a real server takes from its virtual server.
struct Context<'v> {
    checks: &'v [CheckOptions],
    defaults: &'v Options,
    port: Option<u16>,
    router_id: &'v str,
}

fn read_real_server(
    section: &mut Section<'_>,
    context: &Context<'_>,
    dynamic_weights: &mut bool,
) -> Option<RealServerDraft> {
    let address = section.required("address", |value| {
        let address = unicast(value)?;
        Ok((address, string(value, "an address")?.to_owned()))
    });
    let name = section.value("name", name);
    let weight = section.value_or("weight", 1, short(0));
    let max_connections = section.value("max_connections", number(1, u32::MAX)).map(Spanned::into_inner);
    let own = CheckOptions::read_all(section, &context.defaults.check, context.router_id);
    let options = own.as_deref().unwrap_or(context.checks);
    *dynamic_weights |= options.iter().any(CheckOptions::changes_weight);

    let address_at = address.as_ref()?.span();
    let (address, written) = address?.into_inner();
    let mut checks = Vec::new();
    for check in options.iter().filter(|check| check.is_complete()) {
        match check.of(address, context.port) {
            Some(check) => checks.push(check),
            None => section.push(
                Diagnostic::error(
                    "check-without-port",
                    address_at.clone(),
                    "there is no port to check this server at",
                )
                .place(check.span.clone(), "for this check")
                .help("write `port = 80`, or whichever it is, in the check"),
            ),
        }
    }
    let name_at = name.as_ref().map_or_else(|| address_at.clone(), Spanned::span);
    let name = name.map_or(written, Spanned::into_inner);
    let model = RealServer { name, address, weight, max_connections, checks };
    Some(RealServerDraft { model, name_at, address_at })
}
