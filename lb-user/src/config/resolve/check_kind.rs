//! What a health check asks: the keys that belong to each type.

use std::path::PathBuf;

use hyper::{
    Method,
    header::{HeaderName, HeaderValue},
    http::uri::{Authority, PathAndQuery},
};
use toml::{Spanned, de::DeValue};

use crate::config::{
    diagnostic::Diagnostic,
    file::Section,
    model::{CheckKind, HttpCheck, TlsVerify},
    value::{Wrong, boolean, range, string, text},
};

/// The word under `type`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Tcp,
    Http,
    Https,
    Udp,
    Dns,
    Smtp,
    Ping,
    Script,
}

pub(super) const TYPES: &[(&str, Type)] = &[
    ("tcp", Type::Tcp),
    ("http", Type::Http),
    ("https", Type::Https),
    ("udp", Type::Udp),
    ("dns", Type::Dns),
    ("smtp", Type::Smtp),
    ("ping", Type::Ping),
    ("script", Type::Script),
];

/// Keys that only some types have.
const KEYS: &[(&str, &str)] = &[
    ("path", "http, https"),
    ("host", "http, https"),
    ("method", "http, https"),
    ("headers", "http, https"),
    ("status", "http, https"),
    ("body", "http, https"),
    ("tls_verify", "https"),
    ("payload", "udp"),
    ("require_reply", "udp"),
    ("name", "dns"),
    ("record", "dns"),
    ("helo", "smtp"),
    ("command", "script"),
    ("dynamic_weight", "script"),
];

const RECORDS: &[&str] = &["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"];

impl Type {
    pub(super) fn of(kind: &CheckKind) -> Self {
        match kind {
            CheckKind::Tcp => Self::Tcp,
            CheckKind::Http(HttpCheck { tls: None, .. }) => Self::Http,
            CheckKind::Http(HttpCheck { tls: Some(_), .. }) => Self::Https,
            CheckKind::Udp { .. } => Self::Udp,
            CheckKind::Dns { .. } => Self::Dns,
            CheckKind::Smtp { .. } => Self::Smtp,
            CheckKind::Ping => Self::Ping,
            CheckKind::Script { .. } => Self::Script,
        }
    }
}

pub(super) fn type_names() -> String {
    TYPES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The check of this type; what `section` leaves out is `base`'s when that is of the same kind.
pub(super) fn read(
    section: &mut Section<'_>,
    kind: Type,
    base: Option<&CheckKind>,
    router_id: &str,
) -> Option<CheckKind> {
    let kind = match kind {
        Type::Tcp => Some(CheckKind::Tcp),
        Type::Http => Some(read_http(section, base, false)),
        Type::Https => Some(read_http(section, base, true)),
        Type::Udp => Some(read_udp(section, base)),
        Type::Dns => Some(read_dns(section, base)),
        Type::Smtp => Some(read_smtp(section, base, router_id)),
        Type::Ping => Some(CheckKind::Ping),
        Type::Script => read_script(section, base),
    };
    refuse_foreign(section);
    kind
}

/// Without a type nobody can say which keys belong here.
pub(super) fn ignore(section: &mut Section<'_>) {
    for (key, _) in KEYS {
        section.node(key);
    }
}

/// Keys that this type has not asked for and another one has.
fn refuse_foreign(section: &mut Section<'_>) {
    for (key, types) in KEYS {
        if !section.knows(key) && section.has(key) {
            let message = format!("`{key}` means nothing in a check of this type");
            let foreign = Diagnostic::error("foreign-key", section.key_span(key), message);
            section.push(foreign.help(format!("it belongs to type {types}")));
            section.node(key);
        }
    }
}

fn read_http(section: &mut Section<'_>, base: Option<&CheckKind>, tls: bool) -> CheckKind {
    let base = match base {
        Some(CheckKind::Http(base)) => base.clone(),
        _ => HttpCheck {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: None,
            headers: Vec::new(),
            status: vec![(200, 299)],
            body: None,
            tls: None,
        },
    };
    CheckKind::Http(HttpCheck {
        method: section.value_or("method", base.method, method),
        path: section.value_or("path", base.path, http_path),
        host: section.value("host", host).map(Spanned::into_inner).or(base.host),
        headers: section.value_or("headers", base.headers, headers),
        status: section
            .list("status", range("a status", 100, 599))
            .map_or(base.status, |list| list.into_iter().map(Spanned::into_inner).collect()),
        body: section.value("body", regex).map(Spanned::into_inner).or(base.body),
        tls: tls.then(|| section.value_or("tls_verify", base.tls.unwrap_or(TlsVerify::System), tls_verify)),
    })
}

fn read_udp(section: &mut Section<'_>, base: Option<&CheckKind>) -> CheckKind {
    let (before, required) = match base {
        Some(CheckKind::Udp { payload, require_reply }) => (payload.clone(), *require_reply),
        _ => (Vec::new(), false),
    };
    CheckKind::Udp {
        payload: section.value_or("payload", before, payload),
        require_reply: section.value_or("require_reply", required, boolean),
    }
}

fn read_dns(section: &mut Section<'_>, base: Option<&CheckKind>) -> CheckKind {
    let (before, base_record) = match base {
        Some(CheckKind::Dns { name, record }) => (name.clone(), record.clone()),
        _ => (".".to_owned(), "SOA".to_owned()),
    };
    CheckKind::Dns {
        name: section.value_or("name", before, domain),
        record: section.value_or("record", base_record, record),
    }
}

fn read_smtp(section: &mut Section<'_>, base: Option<&CheckKind>, router_id: &str) -> CheckKind {
    let before = match base {
        Some(CheckKind::Smtp { helo }) => helo.clone(),
        _ => router_id.to_owned(),
    };
    CheckKind::Smtp { helo: section.value_or("helo", before, domain) }
}

fn read_script(section: &mut Section<'_>, base: Option<&CheckKind>) -> Option<CheckKind> {
    let (before, dynamic) = match base {
        Some(CheckKind::Script { command, dynamic_weight }) => (Some(command.clone()), *dynamic_weight),
        _ => (None, false),
    };
    let written = match &before {
        Some(_) => section.value("command", command),
        None => section.required("command", command),
    };
    let dynamic_weight = section.value_or("dynamic_weight", dynamic, boolean);
    let command = written.map(Spanned::into_inner).or(before)?;
    Some(CheckKind::Script { command, dynamic_weight })
}

fn method(value: &DeValue<'_>) -> Result<String, Wrong> {
    const EXPECTED: &str = "an HTTP method in capitals";
    let text = string(value, EXPECTED)?;
    match text.parse::<Method>() {
        Ok(_) if text.bytes().all(|byte| byte.is_ascii_uppercase()) => Ok(text.to_owned()),
        _ => Err(Wrong::value(EXPECTED, "not one").help("write \"GET\" or \"HEAD\"")),
    }
}

fn http_path(value: &DeValue<'_>) -> Result<String, Wrong> {
    const EXPECTED: &str = "the path of a URL";
    let text = string(value, EXPECTED)?;
    match text.parse::<PathAndQuery>() {
        Ok(path) if text.starts_with('/') && path.as_str() == text => Ok(text.to_owned()),
        _ => Err(Wrong::value(EXPECTED, "not one").help("write it like \"/healthz?full=1\"")),
    }
}

fn host(value: &DeValue<'_>) -> Result<String, Wrong> {
    const EXPECTED: &str = "a host name, with a port if need be";
    let text = string(value, EXPECTED)?;
    match text.parse::<Authority>() {
        Ok(authority) if !authority.as_str().contains('@') => Ok(text.to_owned()),
        _ => Err(Wrong::value(EXPECTED, "not one").help("write it like \"www.example.org\"")),
    }
}

fn headers(value: &DeValue<'_>) -> Result<Vec<(String, String)>, Wrong> {
    const EXPECTED: &str = "a table of header fields, such as { Accept = \"text/html\" }";
    let table = value.as_table().ok_or_else(|| Wrong::kind(EXPECTED, value))?;
    let field = |name: &str, value: &DeValue<'_>| {
        let content = value.as_str().filter(|content| HeaderValue::from_str(content).is_ok());
        match (HeaderName::from_bytes(name.as_bytes()), content) {
            (Ok(_), Some(content)) => Ok((name.to_owned(), content.to_owned())),
            _ => Err(Wrong::value(EXPECTED, format!("`{name}` cannot be sent"))),
        }
    };
    table.iter().map(|(name, value)| field(name.get_ref(), value.get_ref())).collect()
}

fn regex(value: &DeValue<'_>) -> Result<String, Wrong> {
    const EXPECTED: &str = "a regular expression";
    let text = string(value, EXPECTED)?;
    match regex::Regex::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            // Its message draws the expression over several lines; the last one says what is wrong.
            let message = error.to_string();
            let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err(Wrong::value(EXPECTED, reason))
        }
    }
}

fn tls_verify(value: &DeValue<'_>) -> Result<TlsVerify, Wrong> {
    const EXPECTED: &str = "\"system\", \"none\", or the absolute path of a CA file";
    match string(value, EXPECTED)? {
        "system" => Ok(TlsVerify::System),
        "none" => Ok(TlsVerify::None),
        path if path.starts_with('/') => Ok(TlsVerify::File(PathBuf::from(path))),
        _ => Err(Wrong::value(EXPECTED, "none of them")),
    }
}

/// Text, or bytes in hexadecimal after `0x`.
fn payload(value: &DeValue<'_>) -> Result<Vec<u8>, Wrong> {
    let text = text(value)?;
    let Some(digits) = text.strip_prefix("0x") else { return Ok(text.into_bytes()) };
    let byte =
        |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let wrong = || Wrong::value("text, or pairs of hexadecimal digits after `0x`", "not such pairs");
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) || digits.len() % 2 != 0 {
        return Err(wrong());
    }
    digits.as_bytes().chunks(2).map(byte).collect::<Option<_>>().ok_or_else(wrong)
}

fn domain(value: &DeValue<'_>) -> Result<String, Wrong> {
    const EXPECTED: &str = "a domain name";
    let text = string(value, EXPECTED)?;
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let relative = text.strip_suffix('.').unwrap_or(text);
    if text == "." || (text.len() <= 254 && relative.split('.').all(label)) {
        Ok(text.to_owned())
    } else {
        Err(Wrong::value(EXPECTED, "not one").help("write it like \"www.example.org\""))
    }
}

fn record(value: &DeValue<'_>) -> Result<String, Wrong> {
    let expected = || format!("one of {}", RECORDS.join(", "));
    let text = string(value, &expected())?;
    if RECORDS.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(Wrong::value(expected(), "not one of them"))
    }
}

/// A list: there is no shell to split a string.
pub(super) fn command(value: &DeValue<'_>) -> Result<Vec<String>, Wrong> {
    const EXPECTED: &str = "a list of strings that begins with an absolute path";
    const HELP: &str = "write it like [\"/usr/bin/pidof\", \"nginx\"]; there is no shell";
    let list = value.as_array().ok_or_else(|| Wrong::kind(EXPECTED, value).help(HELP))?;
    let words: Option<Vec<_>> = list.iter().map(|word| word.get_ref().as_str().map(str::to_owned)).collect();
    match words {
        Some(words) if words.first().is_some_and(|program| program.starts_with('/')) => Ok(words),
        _ => Err(Wrong::value(EXPECTED, "not such a list").help(HELP)),
    }
}
