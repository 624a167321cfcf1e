//! Where each write lives in HTTP: method, path and body, for the client's side and the server's.

use std::{net::SocketAddr, time::Duration};

use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{RealServerName, Scope, Write};

/// Body of `PUT .../weight`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WeightBody {
    pub(super) weight: u16,
}

/// Body of `PUT .../state`.
#[derive(Debug, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum StateBody {
    Enabled {},
    Disabled {},
    Drain {
        #[serde(default, with = "humantime_serde")]
        timeout: Option<Duration>,
    },
}

/// Body of `POST .../real_servers`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddBody {
    pub(super) address: SocketAddr,
    #[serde(default = "weight_one")]
    pub(super) weight: u16,
    pub(super) name: Option<String>,
}

fn weight_one() -> u16 {
    1
}

/// Method, path and body of a write.
pub(super) fn encode(write: &Write) -> (Method, String, Option<Value>) {
    match write {
        Write::SetWeight { real_server, weight } => {
            (Method::PUT, format!("{}/weight", path(real_server)), Some(json!({ "weight": weight })))
        }
        Write::Drain { real_server, timeout: None } => state(real_server, json!({ "state": "drain" })),
        Write::Drain { real_server, timeout: Some(timeout) } => {
            let timeout = humantime::format_duration(*timeout).to_string();
            state(real_server, json!({ "state": "drain", "timeout": timeout }))
        }
        Write::Disable(real_server) => state(real_server, json!({ "state": "disabled" })),
        Write::Enable(real_server) => state(real_server, json!({ "state": "enabled" })),
        Write::Revert(Scope::Everything) => (Method::DELETE, "/v1/overrides".to_owned(), None),
        Write::Revert(Scope::VirtualServer(name)) => {
            (Method::DELETE, format!("/v1/overrides/{}", segment(name)), None)
        }
        Write::Revert(Scope::RealServer(name)) => {
            let (vs, rs) = (segment(&name.virtual_server), segment(&name.real_server));
            (Method::DELETE, format!("/v1/overrides/{vs}/{rs}"), None)
        }
        Write::Add { virtual_server, address, weight, name } => (
            Method::POST,
            format!("/v1/virtual_servers/{}/real_servers", segment(virtual_server)),
            Some(json!({ "address": address, "weight": weight, "name": name })),
        ),
        Write::Remove(real_server) => (Method::DELETE, path(real_server), None),
        Write::Release(None) => (Method::POST, "/v1/vrrp/release".to_owned(), None),
        Write::Release(Some(name)) => (Method::POST, format!("/v1/vrrp/{}/release", segment(name)), None),
        Write::Reload => (Method::POST, "/v1/reload".to_owned(), None),
        Write::Unload => (Method::POST, "/v1/unload".to_owned(), None),
    }
}

/// A name as one segment of a path, or as a value in a query.
pub(super) fn segment(name: &str) -> impl std::fmt::Display + '_ {
    const SET: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');
    utf8_percent_encode(name, SET)
}

fn path(name: &RealServerName) -> String {
    format!(
        "/v1/virtual_servers/{}/real_servers/{}",
        segment(&name.virtual_server),
        segment(&name.real_server)
    )
}

fn state(name: &RealServerName, state: Value) -> (Method, String, Option<Value>) {
    (Method::PUT, format!("{}/state", path(name)), Some(state))
}
