//! The reply of `xlb connections`: one JSON object to a line, and what may be asked for.

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::rest::segment;

/// Which connections are asked for; what is none asks for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Of this virtual server.
    pub virtual_server: Option<String>,
    /// Of this client.
    pub client: Option<IpAddr>,
    /// To the real server with this name or this address and port.
    pub real_server: Option<String>,
    /// In this state.
    pub state: Option<State>,
    /// At most so many.
    pub limit: Option<u64>,
}

impl Query {
    /// As the query of a URL, with its question mark.
    #[must_use]
    pub fn encoded(&self) -> String {
        let mut text = String::new();
        let fields = [
            ("virtual_server", self.virtual_server.clone()),
            ("client", self.client.map(|client| client.to_string())),
            ("real_server", self.real_server.clone()),
            ("state", self.state.map(|state| state.to_string())),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ];
        for (name, value) in fields {
            let Some(value) = value else { continue };
            let mark = if text.is_empty() { '?' } else { '&' };
            // Writing into a string does not fail.
            let _ = write!(text, "{mark}{name}={}", segment(&value));
        }
        text
    }
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Who opened it.
    pub client: SocketAddr,
    /// What the client talks to.
    pub vip: SocketAddr,
    /// Who answers.
    pub real_server: SocketAddr,
    /// Name of the virtual server; none when it is gone from the configuration and its index forgotten.
    pub virtual_server: Option<String>,
    /// Name of the real server, as `virtual_server`.
    pub name: Option<String>,
    /// Where it stands.
    pub state: State,
    /// Since its last packet, in whole seconds; noted once a second at most.
    pub idle_seconds: u64,
    /// Until it is forgotten, if it stays idle and keeps its state.
    pub expires_in_seconds: u64,
    /// Its handshake is not proven: it is in the table that evicts.
    pub half_open: bool,
    /// Taken over without having seen its beginning.
    pub adopted: bool,
    /// The client's address is translated too.
    pub source_nat: bool,
}

/// States as IPVS names them (`ipvsadm -Lnc`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Adopted, and the real server has not gone along yet.
    None,
    /// The client's SYN was seen.
    SynSent,
    /// The real server has answered it.
    SynRecv,
    /// Open in both directions.
    Established,
    /// The client has sent its FIN.
    CloseWait,
    /// The real server has sent its FIN.
    FinWait,
    /// Both have.
    TimeWait,
    /// A reset was seen.
    Close,
    /// UDP knows no states.
    Udp,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "NONE",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::CloseWait => "CLOSE_WAIT",
            Self::FinWait => "FIN_WAIT",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::Udp => "UDP",
        })
    }
}
