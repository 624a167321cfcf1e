//! `xlb check`.

use std::path::PathBuf;

use serde::Serialize;

use super::output;
use crate::{
    config::{
        self, ConfigError, FILE, Host,
        diagnostic::{Diagnostic, Report, Severity, count, line_and_column},
        model::Config,
    },
    dataplane::sizes::Sizes,
    host::interfaces::Interfaces,
};

/// Validate the configuration file without touching anything
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = FILE)]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    match config::load(&args.config, &Host::this()) {
        Ok((config, report)) => {
            let missing = missing_interfaces(&config, &Interfaces::read()?);
            match args.json {
                true => output::print_json(&Verdict::new(&report, &missing, Some(&config))),
                false => Ok(output::print(&words(&report, &missing, &config))?),
            }
        }
        Err(error) => {
            if let (true, ConfigError::Invalid(report)) = (args.json, &error) {
                output::print_json(&Verdict::new(report, &[], None))?;
            }
            Err(error.into())
        }
    }
}

/// The file may be meant for another machine: this is never an error.
fn missing_interfaces(config: &Config, interfaces: &Interfaces) -> Vec<String> {
    let missing = config.global.interfaces.iter().filter(|name| interfaces.get(name).is_none());
    missing.map(|name| format!("this machine has no interface {name} (global.interfaces)")).collect()
}

fn words(report: &Report, missing: &[String], config: &Config) -> String {
    let mut text = String::new();
    if !report.diagnostics.is_empty() {
        text += &format!("{}\n", report.styled());
    }
    for message in missing {
        text += &format!("{}\n", output::warning(message));
    }
    let Totals { virtual_servers, real_servers, connection_memory_bytes } = Totals::of(config);
    text += &format!(
        "{} is valid: {}, {}; the connection tables take {} MB of kernel memory\n",
        report.name,
        count(virtual_servers, "virtual server"),
        count(real_servers, "real server"),
        connection_memory_bytes.div_ceil(1_000_000),
    );
    if !config.fwmarks.is_empty() {
        text += "marks choose virtual servers; packets that go up to the kernel do not carry them\n";
    }
    text
}

/// What programs read.
#[derive(Serialize)]
struct Verdict<'a> {
    file: &'a str,
    valid: bool,
    diagnostics: Vec<Line<'a>>,
    #[serde(flatten)]
    totals: Option<Totals>,
}

#[derive(Serialize)]
struct Totals {
    virtual_servers: usize,
    real_servers: usize,
    connection_memory_bytes: u64,
}

/// A diagnostic; one about this machine has no place in the file.
#[derive(Serialize)]
struct Line<'a> {
    severity: Severity,
    code: &'a str,
    message: &'a str,
    #[serde(flatten)]
    place: Option<Place<'a>>,
    other_places: Vec<Place<'a>>,
    help: Option<&'a str>,
}

#[derive(Serialize)]
struct Place<'a> {
    line: usize,
    column: usize,
    label: &'a str,
}

impl<'a> Verdict<'a> {
    fn new(report: &'a Report, missing: &'a [String], config: Option<&Config>) -> Self {
        let place = |offset: usize, label: &'a str| {
            let (line, column) = line_and_column(&report.text, offset);
            Place { line, column, label }
        };
        let in_file = report.diagnostics.iter().map(|one: &Diagnostic| Line {
            severity: one.severity,
            code: one.code,
            message: &one.message,
            place: Some(place(one.span.start, &one.label)),
            other_places: one.places.iter().map(|(span, label)| place(span.start, label)).collect(),
            help: one.help.as_deref(),
        });
        let on_machine = missing.iter().map(|message| Line {
            severity: Severity::Warning,
            code: "no-such-interface",
            message,
            place: None,
            other_places: Vec::new(),
            help: None,
        });
        Self {
            file: &report.name,
            valid: config.is_some(),
            diagnostics: in_file.chain(on_machine).collect(),
            totals: config.map(Totals::of),
        }
    }
}

impl Totals {
    fn of(config: &Config) -> Self {
        Self {
            virtual_servers: config.virtual_servers.len(),
            real_servers: config.virtual_servers.iter().map(|server| server.real_servers.len()).sum(),
            connection_memory_bytes: Sizes::from(&config.global).connection_memory(),
        }
    }
}
