//! Configurations as users write them: the examples are good, and every mistake has its exact message.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside their functions")]

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lb_user::config::{ConfigError, Host, diagnostic::Report, load, model::Config, parse};
use proptest::prelude::*;

fn host() -> Host {
    Host {
        read: |path| match path.to_str() {
            Some("/etc/xlb/vrrp") => Ok(b"secret\n".to_vec()),
            Some("/run/load") => Ok(b"10\n".to_vec()),
            Some("/etc/xlb/hmac" | "/etc/xlb/hmac-new") => {
                Ok([b"hex:".as_slice(), &[b'7'; 64], b"\n"].concat())
            }
            Some("/etc/xlb/odd") => Ok(b"hex:123\n".to_vec()),
            Some("/etc/xlb/empty") => Ok(b"\n".to_vec()),
            Some("/etc/xlb/long") => Ok(b"far too long".to_vec()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        },
        runs: |program| !program.starts_with("/nowhere"),
        ..Host::imagined("lb1")
    }
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name);
    fs::read_to_string(path).unwrap()
}

/// The configuration of a text that must draw no error and no warning.
fn good(name: &str, text: String) -> Config {
    let (config, diagnostics) = parse(&text, &host());
    let report = Report { name: name.to_owned(), text, diagnostics };
    assert!(report.diagnostics.is_empty(), "{report}");
    config.unwrap()
}

#[test]
fn the_smallest_example_means_what_it_says() {
    let config = good("xlb.toml", example("xlb.toml"));
    insta::assert_debug_snapshot!(config);
}

#[test]
fn the_example_with_haproxy_has_an_instance_for_each_node() {
    let config = good("haproxy-ha.toml", example("haproxy-ha.toml"));
    let names: Vec<_> =
        config.vrrp.instances.iter().map(|each| (each.name.as_str(), each.priority.0)).collect();
    assert_eq!(names, [("first", 150), ("second", 100)]);
}

#[test]
fn the_full_example_means_what_it_says() {
    let config = good("full.toml", example("full.toml"));
    insta::assert_debug_snapshot!(config);
}

#[test]
fn the_example_of_marks_passes_the_check() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/fwmark.toml");
    let (config, report) = load(&path, &host()).unwrap();
    assert_eq!((config.fwmarks.len(), config.virtual_servers.len()), (2, 2));
    assert!(report.diagnostics.is_empty(), "{report}");
}

#[test]
fn every_default_that_the_full_example_shows_is_the_default() {
    let full = example("full.toml");
    let is_default = |line: &&str| line.contains("# default.") || line.contains("# default,");
    assert!(full.lines().filter(is_default).count() > 20);
    let without: Vec<_> = full.lines().filter(|line| !is_default(line)).collect();
    let without = good("full.toml without its defaults", without.join("\n"));
    assert_eq!(good("full.toml", full), without);
}

/// Every `lb-user/tests/config/*.toml` has its report in the `.snap` beside it.
#[test]
fn every_mistake_has_its_message() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 30);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("config");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for path in files {
            let text = fs::read_to_string(&path).unwrap();
            let (config, diagnostics) = parse(&text, &host());
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let report = Report { name, text, diagnostics };
            assert!(!report.diagnostics.is_empty(), "{} draws no diagnostic", report.name);
            assert_eq!(config.is_some(), report.counts().0 == 0, "a configuration and errors: {report}");
            insta::assert_snapshot!(path.file_stem().unwrap().to_str().unwrap(), report);
        }
    });
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xlb.toml");
    let error = load(&path, &host()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read the configuration {}", path.display()));
    assert!(error.source().unwrap().to_string().contains("No such file"));
}

#[test]
fn a_file_with_errors_is_refused_with_its_report() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xlb.toml");
    fs::write(&path, "[global]\ninterfaces = [\"eth0\"]\nfoo = 1\n").unwrap();
    let Err(ConfigError::Invalid(report)) = load(&path, &host()) else { panic!("accepted") };
    let lines: Vec<_> = report.lines().collect();
    assert_eq!(lines, [format!("{}:3:1: error[unknown-key]: unknown key `foo`", path.display())]);
    assert!(report.to_string().contains("1 error, 0 warnings"));
    assert!(!report.to_string().contains('\x1b') && report.styled().contains("\x1b["));
}

#[test]
fn a_report_of_very_many_errors_counts_the_last() {
    let text: String = (0..1000).map(|n| format!("key{n} = 1\n")).collect();
    let (_, diagnostics) = parse(&text, &host());
    let shown = Report { name: "xlb.toml".to_owned(), text, diagnostics }.to_string();
    assert_eq!(
        shown.matches("error[unknown-key]").count() + shown.matches("error[missing-key]").count(),
        100
    );
    assert!(shown.ends_with("... and 901 more\n\nxlb.toml: 1001 errors, 0 warnings"), "{shown}");
}

/// Parses and shows a text; there is a configuration exactly when there is no error.
fn survives(text: String) -> Result<(), TestCaseError> {
    let (config, diagnostics) = parse(&text, &host());
    let report = Report { name: "any.toml".to_owned(), text, diagnostics };
    prop_assert_eq!(config.is_some(), report.counts().0 == 0);
    prop_assert!(report.to_string().contains("any.toml"));
    prop_assert_eq!(report.lines().count(), report.diagnostics.len());
    Ok(())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,200}") {
        survives(text)?;
    }

    #[test]
    fn no_damage_to_a_good_file_makes_it_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..30usize, "(?s).{0,6}"), 1..4),
    ) {
        let mut text: Vec<char> = example("full.toml").chars().collect();
        for (at, length, instead) in cuts {
            let start = at.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, instead.chars());
        }
        survives(text.into_iter().collect())?;
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "a measurement of the optimised build")]
#[expect(clippy::disallowed_methods, reason = "measures a duration")]
fn ten_thousand_virtual_servers_are_resolved_in_less_than_a_second() {
    let mut text =
        "[global]\ninterfaces = [\"eth0\"]\nmax_virtual_servers = 10000\nmax_real_servers = 100000\n"
            .to_owned();
    for n in 0..10_000 {
        let (high, low) = (n / 250, n % 250 + 1);
        text += &format!(
            "[[virtual_server]]\nname = \"vs{n}\"\naddress = \"192.0.{high}.{low}:80\"\nquorum = 3\nreal_server = [\n"
        );
        for real in 0..10 {
            text += &format!(
                "  {{ name = \"rs{real}\", address = \"10.{real}.{high}.{low}:8080\", weight = 10 }},\n"
            );
        }
        text += "]\ncheck = { type = \"http\", path = \"/healthz\", interval = \"2s\", timeout = \"1s\", body = \"ok\" }\n";
    }
    let start = Instant::now();
    let (config, diagnostics) = parse(&text, &host());
    let elapsed = start.elapsed();
    assert_eq!(diagnostics, []);
    assert_eq!(config.unwrap().virtual_servers.len(), 10_000);
    println!("{} bytes in {elapsed:?}", text.len());
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
}
