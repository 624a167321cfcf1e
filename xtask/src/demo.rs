//! `cargo xtask demo`: xlb at work on this machine, in network namespaces that are gone afterwards.

mod download;
mod say;
mod story;
mod takeover;
mod view;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lb_tests::{Shape, Site};

use crate::{build, remove, setup};

/// Shows the demo with `program`, or with one that is built first; `keep` leaves everything standing.
#[expect(clippy::disallowed_methods, reason = "the last line says how long the demo took")]
pub(crate) fn run(program: Option<PathBuf>, keep: bool) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the demo makes network namespaces and loads a program into the kernel, which needs root: run it as root"
    );
    setup::run()?;
    let program = match program {
        Some(program) => {
            program.canonicalize().with_context(|| format!("no program {}", program.display()))?
        }
        None => build::run()?,
    };
    let start = Instant::now();
    let script = remove::script(std::process::id());
    remove::when_interrupted(&script)?;

    let site = Site::create(Shape::default()).context("demo failed")?;
    let mut daemon = None;
    let told = story::tell(&site, &program, &mut daemon);
    if told.is_err() {
        say::log(&site);
    }
    if keep {
        let path = site.directory().join("remove.sh");
        std::fs::write(&path, script)?;
        say::what_to_try(&site, &program, &path);
        // Nothing is dropped, so nothing is removed.
        std::mem::forget((site, daemon));
    }
    let figures = told.context("demo failed")?;
    let takeover = takeover::tell(&program).context("demo failed")?;
    println!("demo passed: {figures}; {takeover}, {} s", start.elapsed().as_secs());
    Ok(())
}
