//! `xlb completions`.

use anyhow::Context;
use clap_complete::env::Shells;

use super::output;

/// Print what makes a shell complete xlb's verbs, options and names
#[derive(Debug, clap::Args)]
#[command(after_help = "Bash: xlb completions bash > /etc/bash_completion.d/xlb")]
pub(super) struct Args {
    /// Which shell
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell).context("no such shell")?;
    let mut script = Vec::new();
    shell.write_registration("COMPLETE", "xlb", "xlb", "xlb", &mut script)?;
    Ok(output::print(&String::from_utf8(script)?)?)
}
