//! A long step that shows it is alive and is quiet unless it fails.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// Runs `command` under `label`: a spinner with the last line of output on a terminal, a plain line elsewhere.
/// All it printed is in the error when it fails.
pub(crate) fn run(label: &str, mut command: Command) -> Result<()> {
    let spinner = spinner(label);
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().with_context(|| format!("{label}: {program} did not start"))?;
    // The command holds the writing ends; the pipe ends only when they are closed.
    drop(command);

    let mut output = String::new();
    for line in BufReader::new(reader).lines() {
        let line = line.unwrap_or_default();
        spinner.set_message(line.trim().to_owned());
        output.push_str(&line);
        output.push('\n');
    }
    let status = child.wait()?;
    let seconds = spinner.elapsed().as_secs_f32();
    spinner.finish_and_clear();
    if !status.success() {
        bail!("{label}: {program} failed ({status})\n{output}");
    }
    if spinner.is_hidden() {
        eprintln!("{label}: done in {seconds:.1} s");
    } else {
        eprintln!("✓ {label} ({seconds:.1} s)");
    }
    Ok(())
}

/// Runs `command` with its output shown as it comes.
pub(crate) fn show(label: &str, mut command: Command) -> Result<()> {
    eprintln!("{label}");
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("{label}: {program} did not start"))?;
    if !status.success() {
        bail!("{label}: {program} failed ({status})");
    }
    Ok(())
}

fn spinner(label: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if spinner.is_hidden() {
        eprintln!("{label} ...");
        return spinner;
    }
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg:.dim}") {
        spinner.set_style(style);
    }
    spinner.set_prefix(label.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
