//! Persistence: a client's new connections go where its last ones went, as long as that real server takes them.

use lb_common::{limits::ATTEMPTS, template::Template};

use crate::{
    desk::Desk,
    ip::Ip,
    select::{self, Choice, NONE, Selection},
    tables::Tables,
};

/// The real server that the client of a persistent virtual server is bound to; binds it when it is not, or to one that
/// takes nothing new. [`NONE`] when there is nobody to bind it to.
///
/// The binding is made before the connection: of several that a client opens at once, on several CPUs, one makes it and
/// the others follow.
#[inline(never)]
pub(crate) fn bind<A: Ip, T: Tables<A>>(
    tables: &mut T,
    desk: &mut Desk<A>,
    virtual_server: u32,
    choice: Choice,
) -> u32 {
    let Some(server) = tables.virtual_server(virtual_server).copied() else { return NONE };
    let now = desk.arrival.now;
    let source = &desk.arrival.datagram.key.source;
    let mut selection = Selection::new(virtual_server, &server, &desk.arrival.datagram.key, choice);
    desk.template.client.copy_from(&source.masked(server.client_prefix));
    desk.template.virtual_server = virtual_server;
    let key = &desk.template;
    let mut bound = NONE;
    if let Some(template) = tables.template(key) {
        bound = template.real_server;
        template.last_used = now;
    }
    if bound != NONE {
        if takes(tables, virtual_server, bound) {
            return bound;
        }
        tables.remove_template(key);
    }
    for attempt in 0..ATTEMPTS {
        selection.attempt = attempt;
        let chosen = tables.choose(&selection);
        if chosen == NONE {
            break;
        }
        selection.tried = [chosen, selection.tried[0], selection.tried[1]];
        if takes(tables, virtual_server, chosen) {
            return match tables.insert_template(key, &Template { real_server: chosen, last_used: now }) {
                Ok(()) => chosen,
                Err(_) => tables.template(key).map_or(chosen, |template| template.real_server),
            };
        }
    }
    NONE
}

/// Whether a real server takes new connections of this virtual server. One that has another's index is not asked for.
#[inline(always)]
fn takes<A: Ip, T: Tables<A>>(tables: &mut T, virtual_server: u32, real_server: u32) -> bool {
    let Some(real) = tables.real_server(real_server).copied() else { return false };
    // Down, drained, removed and relieved real servers all have no weight.
    if real.weight == 0 || real.virtual_server != virtual_server {
        return false;
    }
    tables.load(real_server).is_none_or(|load| !select::is_full(real.max_connections, load))
}
