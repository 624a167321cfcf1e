//! Configurations as users write them: the examples are good, and every mistake has its exact message.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lb_user::config::{Host, diagnostic::Report, model::Config, parse};

fn host() -> Host {
    Host { name: "lb1".to_owned() }
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
fn the_full_example_means_what_it_says() {
    let config = good("full.toml", example("full.toml"));
    insta::assert_debug_snapshot!(config);
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
