//! Configurations of any size.

use std::fmt;

/// Virtual servers that are measured.
pub(super) const SIZES: [u32; 3] = [10, 1_000, 10_000];

/// Virtual servers, each with its own real servers: none are shared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pools {
    /// How many virtual servers.
    pub(super) servers: u32,
    /// How many real servers each of them has, up to 256.
    pub(super) real_servers: u32,
    /// Who chooses.
    pub(super) scheduler: &'static str,
    /// More lines of each virtual server.
    pub(super) more: &'static str,
    /// The first byte of real servers' addresses.
    pub(super) network: u8,
}

impl Pools {
    /// One virtual server of ten real servers, which nobody checks.
    pub(super) const fn small() -> Self {
        Self { servers: 1, real_servers: 10, scheduler: "wlc", more: "", network: 11 }
    }

    /// What a virtual server is called.
    pub(super) fn name(number: u32) -> String {
        format!("service-{number}")
    }

    /// Where a real server is.
    pub(super) fn real_server(&self, server: u32, real_server: u32) -> String {
        let [_, high, middle, low] = (server * self.real_servers + real_server).to_be_bytes();
        format!("{}.{high}.{middle}.{low}:8080", self.network)
    }
}

impl fmt::Display for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for server in 0..self.servers {
            let [.., high, low] = server.to_be_bytes();
            writeln!(f, "[[virtual_server]]\nname = \"{}\"", Self::name(server))?;
            writeln!(f, "address = \"172.16.{high}.{low}:80\"\nscheduler = \"{}\"", self.scheduler)?;
            writeln!(f, "{}\nreal_server = [", self.more)?;
            for real_server in 0..self.real_servers {
                writeln!(f, "  {{ address = \"{}\" }},", self.real_server(server, real_server))?;
            }
            writeln!(f, "]\n")?;
        }
        Ok(())
    }
}
