//! Health checks: the virtual server's, a real server's own, and `[defaults.check]`.

use std::{net::SocketAddr, time::Duration};

use toml::Spanned;

use super::check_kind::{self, Type};
use crate::config::{
    address::endpoint,
    diagnostic::{Diagnostic, Span},
    file::Section,
    model::{Check, CheckKind},
    value::{choice, duration, number, short},
};

const TIMEOUT: Duration = Duration::from_secs(3);

/// A check as written, before it is one of a certain real server.
#[derive(Clone)]
pub(super) struct CheckOptions {
    pub(super) span: Span,
    /// None in a `[defaults.check]` that only sets times, and when it was written wrong.
    kind: Option<CheckKind>,
    address: Option<SocketAddr>,
    port: Option<u16>,
    interval: Duration,
    /// None when nobody wrote one.
    timeout: Option<Duration>,
    rise: u32,
    fall: u32,
}

impl CheckOptions {
    pub(super) fn built_in() -> Self {
        Self {
            span: 0..0,
            kind: None,
            address: None,
            port: None,
            interval: Duration::from_secs(5),
            timeout: None,
            rise: 1,
            fall: 3,
        }
    }

    /// The check that `section` describes; what it leaves out is `base`'s.
    pub(super) fn read(section: &mut Section<'_>, base: &Self, router_id: &str) -> Self {
        let written = section.value("type", choice(check_kind::TYPES)).map(Spanned::into_inner);
        let kind = match written.or(base.kind.as_ref().map(Type::of)) {
            Some(kind) => check_kind::read(section, kind, base.kind.as_ref(), router_id),
            None => {
                check_kind::ignore(section);
                None
            }
        };
        let address = section.value("address", endpoint);
        let port = section.value("port", short(1));
        if let (Some(address), Some(port)) = (&address, &port)
            && address.get_ref().port() != 0
        {
            let message = "the check's port is given twice";
            section.push(
                Diagnostic::error("conflicting-keys", port.span(), message)
                    .place(address.span(), "and here")
                    .help("take one of them out"),
            );
        }
        // An address with a port is more than a port from further out.
        let base_port =
            base.port.filter(|_| address.as_ref().is_none_or(|address| address.get_ref().port() == 0));
        let interval = section.value("interval", duration);
        let timeout = section.value("timeout", duration);
        let times_at = timeout.as_ref().map(Spanned::span).or_else(|| interval.as_ref().map(Spanned::span));
        let check = Self {
            span: section.span(),
            kind,
            address: address.map(Spanned::into_inner).or(base.address),
            port: port.map(Spanned::into_inner).or(base_port),
            interval: interval.as_ref().map_or(base.interval, |interval| *interval.get_ref()),
            timeout: timeout.map(Spanned::into_inner).or(base.timeout),
            rise: section.value_or("rise", base.rise, number(1, 1000)),
            fall: section.value_or("fall", base.fall, number(1, 1000)),
        };
        if let Some(timeout) = check.timeout.filter(|timeout| *timeout > check.interval) {
            let (interval, timeout) =
                (humantime::format_duration(check.interval), humantime::format_duration(timeout));
            let message = format!("a check may take {timeout}, longer than the interval of {interval}");
            let at = times_at.unwrap_or_else(|| section.span());
            section.push(
                Diagnostic::warning("timeout-exceeds-interval", at, message)
                    .help("the next check waits for the one before; write a shorter `timeout`"),
            );
        }
        check
    }

    /// The checks under the key `check`: one or a list; none when the key is not there.
    pub(super) fn read_all(section: &mut Section<'_>, base: &Self, router_id: &str) -> Option<Vec<Self>> {
        section.sections("check", |check| {
            let options = Self::read(check, base, router_id);
            if !check.has("type") && base.kind.is_none() {
                let missing = Diagnostic::error("missing-key", check.span(), "`type` is missing here");
                check.push(missing.help(format!("write one of {}", check_kind::type_names())));
            }
            options
        })
    }

    /// Whether failures may change a real server's weight instead of taking it down.
    pub(super) fn changes_weight(&self) -> bool {
        matches!(self.kind, Some(CheckKind::Script { dynamic_weight: true, .. }))
    }

    /// Whether servers without a check of their own get this one.
    pub(super) fn is_complete(&self) -> bool {
        self.kind.is_some()
    }

    /// The check of one real server; `port` is the virtual server's, if it has exactly one.
    ///
    /// None when nothing gives a port, or the kind was written wrong.
    pub(super) fn of(&self, real_server: SocketAddr, port: Option<u16>) -> Option<Check> {
        let kind = self.kind.clone()?;
        let ip = self.address.map_or(real_server.ip(), |address| address.ip());
        let port = match kind {
            CheckKind::Ping | CheckKind::Script { .. } => 0,
            _ => [self.port, self.address.map(|address| address.port()), Some(real_server.port()), port]
                .into_iter()
                .flatten()
                .find(|port| *port != 0)?,
        };
        Some(Check {
            kind,
            target: SocketAddr::new(ip, port),
            interval: self.interval,
            timeout: self.timeout.unwrap_or(TIMEOUT.min(self.interval)),
            rise: self.rise,
            fall: self.fall,
        })
    }
}
