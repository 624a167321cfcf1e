//! `[global]` and `[api]`.

use std::{net::SocketAddr, time::Duration};

use toml::{Spanned, de::DeValue};

use crate::config::{
    Host, PIN_DIR, STATE_DIR,
    diagnostic::{Diagnostic, Span},
    file::Section,
    model::{Api, Global, SysctlPolicy, XdpMode},
    value::{Wrong, choice, duration_or_zero, interface, name, number, path, string, text},
};

const XDP_MODES: &[(&str, XdpMode)] =
    &[("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)];

const SYSCTL_POLICIES: &[(&str, SysctlPolicy)] =
    &[("apply", SysctlPolicy::Apply), ("check", SysctlPolicy::Check), ("off", SysctlPolicy::Off)];

/// The section, and the places that rules point at.
pub(super) struct Draft {
    pub(super) model: Global,
    pub(super) max_virtual_servers_at: Span,
    pub(super) max_real_servers_at: Span,
    pub(super) vrrp_startup_delay: Duration,
}

pub(super) fn read(section: &mut Section<'_>, host: &Host) -> Draft {
    let interfaces = interfaces(section);
    let model = Global {
        router_id: section.value_or("router_id", host.name.clone(), name),
        interfaces,
        xdp_mode: section.value_or("xdp_mode", XdpMode::Auto, choice(XDP_MODES)),
        sysctl: section.value_or("sysctl", SysctlPolicy::Apply, choice(SYSCTL_POLICIES)),
        max_connections: section.value_or("max_connections", 262_144, number(1024, 1 << 26)),
        max_virtual_servers: section.value_or("max_virtual_servers", 4096, number(1, 1 << 16)),
        max_real_servers: section.value_or("max_real_servers", 16_384, number(1, 1 << 20)),
        cluster_secret_file: section.value("cluster_secret_file", path).map(Spanned::into_inner),
        state_dir: section.value_or("state_dir", STATE_DIR.into(), path),
        pin_dir: section.value_or("pin_dir", PIN_DIR.into(), path),
        script_user: section.value_or("script_user", "xlb-script".into(), name),
    };
    Draft {
        model,
        max_virtual_servers_at: section.key_span("max_virtual_servers"),
        max_real_servers_at: section.key_span("max_real_servers"),
        vrrp_startup_delay: section.value_or("vrrp_startup_delay", Duration::ZERO, duration_or_zero),
    }
}

fn interfaces(section: &mut Section<'_>) -> Vec<String> {
    let Some(node) = section.require("interfaces") else { return Vec::new() };
    let items = node.some_items("name every interface that clients' or real servers' packets use");
    let mut unique: Vec<Spanned<String>> = Vec::new();
    for item in items.iter().filter_map(|item| item.convert(interface)) {
        match unique.iter().find(|earlier| **earlier == item) {
            Some(earlier) => {
                let message = format!("interface `{}` is listed twice", item.get_ref());
                let twice = Diagnostic::error("duplicate-interface", item.span(), message);
                section.push(twice.place(earlier.span(), "first here"));
            }
            None => unique.push(item),
        }
    }
    unique.into_iter().map(Spanned::into_inner).collect()
}

pub(super) fn default_api() -> Api {
    Api {
        socket: "/run/xlb/xlb.sock".into(),
        socket_group: None,
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 9440))),
    }
}

pub(super) fn read_api(section: &mut Section<'_>) -> Api {
    let default = default_api();
    Api {
        socket: section.value_or("socket", default.socket, path),
        socket_group: section.value("socket_group", text).map(Spanned::into_inner),
        listen: section.value_or("listen", default.listen, listener),
    }
}

/// An address with its port, or nothing.
fn listener(value: &DeValue<'_>) -> Result<Option<SocketAddr>, Wrong> {
    const EXPECTED: &str = "an address with a port, or \"\"";
    let text = string(value, EXPECTED)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| Wrong::value(EXPECTED, "neither").help("write it like \"127.0.0.1:9440\""))
}
