//! `xlb man`.

use super::{definition, output};
use clap_mangen::Man;

/// Print the manual page, of xlb or of one verb
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which verb
    verb: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let mut command = definition();
    command.build();
    let command = match &args.verb {
        None => command,
        Some(verb) => match command.find_subcommand(verb) {
            Some(verb) => verb.clone(),
            None => anyhow::bail!("no verb named {verb}: `xlb help` lists them"),
        },
    };
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(output::print(&String::from_utf8(page)?)?)
}
