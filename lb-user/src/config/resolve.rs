//! From the file as written to the model: sections are read one by one, then held against each other.

mod check;
mod check_kind;
mod fwmark;
mod global;
mod mark_rules;
mod options;
mod passive;
mod rules;
mod virtual_server;
mod vrrp;
mod vrrp_instance;
mod vrrp_key;
mod vrrp_mac;
mod vrrp_rules;
mod vrrp_track;

use toml::de::Error;

use super::{
    Host, document,
    file::{Mistakes, Section},
    model::Config,
    pieces::Pieces,
};
use options::Options;

/// The configuration that is meant, unless there are errors among the mistakes. `root` is what is not in pieces.
///
/// # Errors
/// The syntax errors of a piece.
pub(super) fn resolve(
    mut root: Section<'_>,
    pieces: &Pieces<'_>,
    mistakes: &Mistakes,
    host: &Host,
) -> Result<Option<Config>, Vec<Error>> {
    let global = root.require("global").and_then(|node| node.section(|global| global::read(global, host)));
    let api = root.section("api", global::read_api).unwrap_or_else(global::default_api);
    let router_id = global.as_ref().map_or(host.name.as_str(), |global| global.model.router_id.as_str());
    let built_in = Options::built_in();
    let defaults =
        root.section("defaults", |defaults| Options::read_defaults(defaults, &built_in, router_id));
    let defaults = defaults.unwrap_or(built_in);
    let fwmarks = root.sections("fwmark", fwmark::read).unwrap_or_default();
    let read = |server: &mut Section<'_>| virtual_server::read(server, &defaults, router_id);
    let mut servers = root.sections("virtual_server", read).unwrap_or_default();
    for piece in pieces.virtual_servers() {
        let piece = document(&piece)?;
        servers.extend(Section::root(&piece, mistakes).sections("virtual_server", read).unwrap_or_default());
    }
    let startup_delay = global.as_ref().map_or_else(Default::default, |global| global.vrrp_startup_delay);
    let vrrp = vrrp::read(&mut root, host, startup_delay);
    root.finish();

    rules::check(global.as_ref(), &fwmarks, &servers, mistakes);
    vrrp_rules::check(&vrrp, &servers, mistakes);
    let interfaces = global.as_ref().map_or(&[][..], |global| &global.model.interfaces);
    vrrp_mac::check(&vrrp.instances, interfaces, mistakes);
    let model = || {
        Some(Config {
            global: global?.model,
            api,
            fwmarks: fwmarks.into_iter().map(fwmark::Draft::into_model).collect::<Option<_>>()?,
            vrrp: vrrp.into_model()?,
            virtual_servers: servers
                .into_iter()
                .map(virtual_server::Draft::into_model)
                .collect::<Option<_>>()?,
        })
    };
    Ok(if mistakes.errors() > 0 { None } else { model() })
}

#[cfg(test)]
mod tests;
