//! `authentication` of an instance: the keys are read when the configuration is.

use std::path::{Path, PathBuf};

use toml::Spanned;

use super::rules::unique;
use crate::config::{
    Host,
    diagnostic::{Diagnostic, Span},
    file::Section,
    value::{choice, number, path},
    vrrp::{Authentication, Hmac, Key, Mode},
};

/// What the 8 bytes of version 2's password can hold.
const PASSWORD: usize = 8;
/// Bytes of a key, as keepalived takes them.
const KEY: std::ops::RangeInclusive<usize> = 32..=64;
/// Before a key in hexadecimal digits, as in keepalived's files.
const HEX: &str = "hex:";

const MODES: &[(&str, Mode)] =
    &[("enforce", Mode::Enforce), ("permissive", Mode::Permissive), ("receive-only", Mode::ReceiveOnly)];

pub(super) fn authentication(section: &mut Section<'_>, host: &Host) -> Option<Spanned<Authentication>> {
    let at = section.key_span("authentication");
    let read = section.section("authentication", |table| {
        let signs = table.value("type", choice(&[("pass", false), ("hmac-sha256", true)]));
        if signs.is_some_and(Spanned::into_inner) {
            hmac(table, host).map(Authentication::Hmac)
        } else {
            secret(table, host, password).map(Authentication::Pass)
        }
    })?;
    read.map(|read| Spanned::new(at, read))
}

fn hmac(table: &mut Section<'_>, host: &Host) -> Option<Hmac> {
    let own = key(table, host);
    let mode = table.value_or("mode", Mode::Enforce, choice(MODES));
    let accepted = table.sections("accept", |other| key(other, host)).unwrap_or_default();
    let keys: Vec<_> = std::iter::once(own).chain(accepted).collect::<Option<_>>()?;
    unique(keys.iter().map(|(key, at)| (key.id, at.clone())), |id, at, first| {
        let twice = Diagnostic::error("duplicate-key-id", at, format!("there are two keys {id}"));
        table.push(twice.place(first, "here").help("a new key needs a new id"));
    });
    Some(Hmac { keys: keys.into_iter().map(|(key, _)| key).collect(), mode })
}

fn key(table: &mut Section<'_>, host: &Host) -> Option<(Key, Span)> {
    let id = table.required("key_id", number(1, 255));
    let secret = secret(table, host, secret_key)?;
    let (id, at) = id.map(|id| (u8::try_from(*id.get_ref()), id.span()))?;
    // Within 8 bits by the bound above.
    Some((Key { id: id.unwrap_or(u8::MAX), secret }, at))
}

fn secret<T>(table: &mut Section<'_>, host: &Host, read: fn(&[u8]) -> Result<T, Unusable>) -> Option<T> {
    let file = table.required("secret_file", path)?;
    let text = (host.read)(file.get_ref()).map_err(Unusable::Read);
    let secret = text.and_then(|text| match text.trim_ascii_end() {
        [] => Err(Unusable::Empty),
        text => read(text),
    });
    secret.map_err(|wrong| table.push(wrong.into_diagnostic(file.get_ref(), file.span()))).ok()
}

/// Why a key cannot be used. Going on without it, or with a part of it, would leave two masters.
enum Unusable {
    Read(std::io::Error),
    Empty,
    TooLong(usize),
    Length(usize),
    NotHex,
}

impl Unusable {
    fn into_diagnostic(self, file: &Path, at: Span) -> Diagnostic {
        const MAKE: &str = "make one: (printf hex:; openssl rand -hex 32) > FILE, the same on all nodes";
        let file: PathBuf = file.into();
        let (message, help) = match self {
            Self::Read(error) => (
                format!("cannot read the key in {}", file.display()),
                format!("{}: make the file, readable for xlb only", crate::config::plain(&error)),
            ),
            Self::Empty => (format!("{} is empty", file.display()), "write the password into it".to_owned()),
            Self::TooLong(length) => (
                format!("the key in {} has {length} bytes, {PASSWORD} is the most", file.display()),
                "use the first 8: keepalived leaves out the rest, silently in older versions".to_owned(),
            ),
            Self::Length(length) => (
                format!("the key in {} has {length} bytes, it must have 32 to 64", file.display()),
                MAKE.to_owned(),
            ),
            Self::NotHex => (
                format!(
                    "the key in {} begins with `{HEX}` and goes on without pairs of digits",
                    file.display()
                ),
                MAKE.to_owned(),
            ),
        };
        Diagnostic::error("unusable-key", at, message).help(help)
    }
}

fn password(text: &[u8]) -> Result<[u8; PASSWORD], Unusable> {
    let mut key = [0; PASSWORD];
    key.get_mut(..text.len()).ok_or(Unusable::TooLong(text.len()))?.copy_from_slice(text);
    Ok(key)
}

/// The text itself, or bytes in hexadecimal digits.
fn secret_key(text: &[u8]) -> Result<Vec<u8>, Unusable> {
    let key = match text.strip_prefix(HEX.as_bytes()) {
        None => text.to_vec(),
        Some(digits) => {
            let byte = |pair: &[u8]| match *pair {
                [high, low] => Some(char::from(high).to_digit(16)? << 4 | char::from(low).to_digit(16)?),
                _ => None,
            };
            let bytes = digits.chunks(2).map(|pair| byte(pair).and_then(|byte| u8::try_from(byte).ok()));
            bytes.collect::<Option<_>>().ok_or(Unusable::NotHex)?
        }
    };
    if KEY.contains(&key.len()) { Ok(key) } else { Err(Unusable::Length(key.len())) }
}
