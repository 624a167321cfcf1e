//! The reply of `xlb explain`, and what is asked.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::rest::segment;
use crate::config::model::Protocol;

/// The first packet of a connection, as somebody imagines it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Who sends it.
    pub client: IpAddr,
    /// From which port; none leaves the choice to the daemon.
    pub port: Option<u16>,
    /// Where to.
    pub vip: SocketAddr,
    /// Over UDP, not TCP.
    #[serde(default)]
    pub udp: bool,
    /// Interface it arrives on; none is the first of `global.interfaces`.
    pub interface: Option<String>,
}

impl Question {
    /// Its protocol.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        if self.udp { Protocol::Udp } else { Protocol::Tcp }
    }

    /// As the query of a URL, with its question mark.
    #[must_use]
    pub fn encoded(&self) -> String {
        let vip = self.vip.to_string();
        let mut text = format!("?client={}&vip={}&udp={}", self.client, segment(&vip), self.udp);
        if let Some(port) = self.port {
            text += &format!("&port={port}");
        }
        if let Some(interface) = &self.interface {
            text += &format!("&interface={}", segment(interface));
        }
        text
    }
}

/// What would become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Who sends it.
    pub client: SocketAddr,
    /// Where to.
    pub vip: SocketAddr,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Interface it arrives on.
    pub interface: String,
    /// How it would end, by the name that is counted.
    pub outcome: String,
    /// Name of the virtual server; none when none listens there.
    pub virtual_server: Option<String>,
    /// Where it would go; none when it would not be forwarded.
    pub real_server: Option<SocketAddr>,
    /// Name of that real server.
    pub name: Option<String>,
    /// Whether its connection is known already.
    pub known: bool,
    /// Why, step by step, in words.
    pub reasons: Vec<String>,
}
