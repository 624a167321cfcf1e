//! Values as written to values as meant: numbers, durations, names, choices.

use lb_common::limits::NAME;
use std::{path::PathBuf, time::Duration};

use toml::de::DeValue;

use super::file::nearest;

/// The longest duration that can be written, IPVS' own limit.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);
const SHORTEST: Duration = Duration::from_millis(1);

/// Why a value is not what its key needs.
pub(super) struct Wrong {
    pub(super) code: &'static str,
    /// Ends the sentence "`key` must be ...".
    pub(super) expected: String,
    /// Stands at the underlined text.
    pub(super) found: String,
    /// What to write instead.
    pub(super) help: Option<String>,
}

impl Wrong {
    /// The TOML type is another one.
    pub(super) fn kind(expected: impl Into<String>, value: &DeValue<'_>) -> Self {
        let article = if matches!(value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
        let found = format!("this is {article} {}", value.type_str());
        Self { code: "wrong-type", expected: expected.into(), found, help: None }
    }

    /// The type is right, its content is not.
    pub(super) fn value(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { code: "bad-value", expected: expected.into(), found: found.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A string; the error says what of.
pub(super) fn string<'v>(value: &'v DeValue<'_>, expected: &str) -> Result<&'v str, Wrong> {
    value.as_str().ok_or_else(|| Wrong::kind(expected, value))
}

/// Any string.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, Wrong> {
    string(value, "a string").map(str::to_owned)
}

/// The name of a server, as commands take it: `xlb weight NAME/NAME`.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, Wrong> {
    const EXPECTED: &str = "a name without spaces and `/`";
    let name = word(value, EXPECTED)?;
    // The data plane keeps it in a map of fixed size.
    if name.len() > NAME {
        Err(Wrong::value(EXPECTED, format!("longer than {NAME} bytes")))
    } else {
        Ok(name)
    }
}

/// The name of a network interface, within the kernel's limits.
pub(super) fn interface(value: &DeValue<'_>) -> Result<String, Wrong> {
    const EXPECTED: &str = "the name of a network interface";
    let name = word(value, EXPECTED)?;
    if name.len() > 15 { Err(Wrong::value(EXPECTED, "longer than 15 bytes")) } else { Ok(name) }
}

fn word(value: &DeValue<'_>, expected: &str) -> Result<String, Wrong> {
    let name = string(value, expected)?;
    let bad = |c: char| c == '/' || c.is_whitespace() || c.is_control();
    match name.chars().find(|c| bad(*c)) {
        Some(c) => Err(Wrong::value(expected, format!("contains {c:?}"))),
        None if name.is_empty() => Err(Wrong::value(expected, "is empty")),
        None => Ok(name.to_owned()),
    }
}

/// An absolute path.
pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, Wrong> {
    const EXPECTED: &str = "an absolute path";
    let path = PathBuf::from(string(value, EXPECTED)?);
    if path.is_absolute() { Ok(path) } else { Err(Wrong::value(EXPECTED, "does not begin with `/`")) }
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| Wrong::kind("true or false", value))
}

/// A whole number within bounds.
pub(super) fn number(least: u32, most: u32) -> impl Fn(&DeValue<'_>) -> Result<u32, Wrong> {
    move |value| {
        let expected = format!("a number from {least} to {most}");
        let integer = value.as_integer().ok_or_else(|| Wrong::kind(&expected, value))?;
        i128::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| Wrong::value(expected, "out of range"))
    }
}

/// As `number`, for what has 16 bits.
pub(super) fn short(least: u16) -> impl Fn(&DeValue<'_>) -> Result<u16, Wrong> {
    let number = number(u32::from(least), u32::from(u16::MAX));
    // Within 16 bits by the bound above.
    move |value| number(value).map(|number| u16::try_from(number).unwrap_or(u16::MAX))
}

/// A duration above zero.
pub(super) fn duration(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    match duration_or_zero(value)? {
        Duration::ZERO => Err(Wrong::value("a duration above zero", "is zero")),
        duration => Ok(duration),
    }
}

/// A duration; zero stands for "at once".
pub(super) fn duration_or_zero(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    const EXPECTED: &str = "a duration with its unit";
    const HELP: &str = "write it like \"500ms\", \"5s\", \"2m\", \"1h 30m\"";
    if let Some(number) = value.as_integer() {
        return Err(Wrong::kind(EXPECTED, value).help(format!("write \"{number}s\" if seconds are meant")));
    }
    let duration = humantime::parse_duration(string(value, EXPECTED)?)
        .map_err(|_| Wrong::value(EXPECTED, "not a number and a unit").help(HELP))?;
    if duration > LONGEST {
        return Err(Wrong::value("a duration of at most 31 days", "is longer"));
    }
    if duration < SHORTEST && !duration.is_zero() {
        return Err(Wrong::value("a duration of at least 1ms", "is shorter"));
    }
    Ok(duration)
}

/// A duration, or `"off"` as zero.
pub(super) fn duration_or_off(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    if value.as_str() == Some("off") { Ok(Duration::ZERO) } else { duration(value) }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, Wrong> {
    move |value| {
        let names = || words.iter().map(|(name, _)| *name);
        let expected = || match words {
            [(only, _)] => format!("\"{only}\""),
            _ => format!("one of {}", names().collect::<Vec<_>>().join(", ")),
        };
        let written = value.as_str().ok_or_else(|| Wrong::kind(expected(), value))?;
        if let Some((_, meant)) = words.iter().find(|(name, _)| *name == written) {
            return Ok(*meant);
        }
        let wrong = Wrong::value(expected(), "not known");
        Err(match nearest(&written.to_lowercase(), names()) {
            Some(near) => wrong.help(format!("write \"{near}\"")),
            None => wrong,
        })
    }
}

/// Numbers such as `80` or `"8000-8099"`, an inclusive range.
pub(super) fn range(
    what: &'static str,
    least: u16,
    most: u16,
) -> impl Fn(&DeValue<'_>) -> Result<(u16, u16), Wrong> {
    move |value| {
        let expected = || format!("{what} from {least} to {most}, or a range such as \"{least}-{most}\"");
        let bound = |text: &str| text.trim().parse().ok().filter(|number| (least..=most).contains(number));
        if value.is_integer() {
            return number(u32::from(least), u32::from(most))(value)
                .map_err(|wrong| Wrong { expected: expected(), ..wrong })
                .map(|number| u16::try_from(number).map_or((most, most), |number| (number, number)));
        }
        let text = value.as_str().ok_or_else(|| Wrong::kind(expected(), value))?;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (bound(first), bound(last)) {
            (Some(first), Some(last)) if first <= last => Ok((first, last)),
            (Some(_), Some(_)) => Err(Wrong::value(expected(), "ends before it begins")),
            _ => Err(Wrong::value(expected(), "not such a number or range")),
        }
    }
}
