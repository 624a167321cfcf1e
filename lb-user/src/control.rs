//! How the daemon is asked: requests and replies, and HTTP with JSON as their carrier.
//!
//! The daemon takes [`Call`]s from one channel, one after another; [`server`] turns HTTP into calls and
//! [`client`] is what the commands use. Bodies, replies and failures are JSON.
//!
//! | method and path | does |
//! |---|---|
//! | `GET /v1/version` | the daemon's version |
//! | `GET /v1/status[?virtual_server=NAME]` | [`status::Status`] |
//! | `GET /v1/vrrp` | [`status::Vrrp`] of every instance |
//! | `GET /v1/diff` | [`Changes`] that a reload would make |
//! | `GET /v1/events[?follow=true]` | [`event::Event`]s as a list; followed, as a stream of server-sent events |
//! | `GET /v1/connections[?virtual_server=&client=&real_server=&state=&limit=]` | [`connections::Connection`]s, one JSON object per line |
//! | `GET /v1/drops` | [`drops::Dropped`] packets from now on, one JSON object per line |
//! | `GET /v1/explain?client=&vip=[&port=][&udp=true][&interface=]` | [`explain::Explanation`] |
//! | `GET /metrics`, `/healthz`, `/readyz` | for Prometheus and probes; text |
//! | `PUT /v1/virtual_servers/VS/real_servers/RS/weight` | `{"weight":50}` |
//! | `PUT /v1/virtual_servers/VS/real_servers/RS/state` | `{"state":"enabled"}`, `"disabled"`, or `{"state":"drain","timeout":"5m"}` |
//! | `POST /v1/virtual_servers/VS/real_servers` | `{"address":"10.0.0.13:8080","weight":1,"name":"web3"}` |
//! | `DELETE /v1/virtual_servers/VS/real_servers/RS` | removes it |
//! | `DELETE /v1/overrides[/VS[/RS]]` | reverts to the configuration |
//! | `POST /v1/vrrp[/NAME]/release` | gives the role to the peers |
//! | `POST /v1/reload`, `POST /v1/unload` | as the commands of that name |
//!
//! Writes answer with [`Changes`]. `If-Match: "7"` makes a write fail unless the configuration's generation is
//! still 7. RS is a real server's name or its address. Only the control socket takes writes; the TCP listener has
//! the `GET` half.

pub mod client;
mod connection;
pub mod connections;
mod desk;
pub mod drops;
pub mod event;
pub mod explain;
mod extract;
mod failure;
mod message;
mod permission;
mod rest;
mod routes;
pub mod server;
pub mod socket;
pub mod status;

pub use failure::{Code, Failure};
pub use message::{
    Action, Call, Caller, Change, Changes, NameError, Readiness, RealServerName, Reply, Request, Scope, Write,
};
