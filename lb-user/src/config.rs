//! The configuration: file (as written) -> resolve (all mistakes, each with its place) -> model (as meant).

pub mod diagnostic;
pub mod model;
pub mod vrrp;

mod address;
mod file;
mod keepalived;
mod pieces;
mod resolve;
mod syntax;
mod value;
mod vrrp_key;
mod vrrp_mac;
mod vrrp_routes;
mod vrrp_track;
mod vrrp_value;
mod vrrp_words;

use std::{
    io,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, Error},
};

use crate::plan::{self, PlanError};

use self::{
    diagnostic::{Diagnostic, Report},
    file::{Mistakes, Section},
    model::Config,
    pieces::Pieces,
};

/// Where `xlb` looks for the file unless it is told otherwise.
pub const FILE: &str = "/etc/xlb/xlb.toml";
/// The default of `global.state_dir`.
pub const STATE_DIR: &str = "/var/lib/xlb";
/// The default of `global.pin_dir`.
pub const PIN_DIR: &str = "/sys/fs/bpf/xlb";

/// What the configuration's defaults take from the machine.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name, the default of `global.router_id`.
    pub name: String,
    /// Reads a file that the configuration names.
    pub read: fn(&Path) -> io::Result<Vec<u8>>,
    /// Whether a command's program is there to be run.
    pub runs: fn(&Path) -> bool,
}

impl Host {
    /// The machine this runs on.
    #[must_use]
    pub fn this() -> Self {
        let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        Self {
            name: name.filter(|name| !name.is_empty()).unwrap_or_else(|| "xlb".to_owned()),
            read: |path| std::fs::read(path),
            runs: |program| nix::unistd::access(program, nix::unistd::AccessFlags::X_OK).is_ok(),
        }
    }

    /// A machine of this name where no file can be read and every program is there.
    #[must_use]
    pub fn imagined(name: &str) -> Self {
        Self { name: name.to_owned(), read: |_| Err(io::ErrorKind::NotFound.into()), runs: |_| true }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is right, but this version cannot do what it says.
    #[error("{}: {}", .path.display(), .missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NotAvailable {
        /// The file.
        path: PathBuf,
        /// What is missing, never empty.
        missing: Vec<PlanError>,
    },
    /// The file was read and says something that cannot be meant; shown line by line with its places.
    #[error("{0}")]
    Invalid(Report),
}

/// Reads and resolves a file; the report holds the warnings.
///
/// # Errors
/// When the file cannot be read, or has at least one error: then the report holds all of them and the warnings.
pub fn load(path: &Path, host: &Host) -> Result<(Config, Report), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let (config, diagnostics) = parse(&text, host);
    let report = Report { name: path.display().to_string(), text, diagnostics };
    let Some(config) = config else { return Err(ConfigError::Invalid(report)) };
    match plan::unavailable(&config) {
        missing if missing.is_empty() => Ok((config, report)),
        missing => Err(ConfigError::NotAvailable { path: path.to_owned(), missing }),
    }
}

/// Resolves a configuration's text: there is one exactly when no diagnostic is an error.
///
/// Syntax errors are reported without the mistakes that come after them: what a broken line hides cannot be judged.
#[must_use]
pub fn parse(text: &str, host: &Host) -> (Option<Config>, Vec<Diagnostic>) {
    let in_pieces = Pieces::cut(text).and_then(|pieces| read(&pieces, host).ok());
    in_pieces.unwrap_or_else(|| {
        // What is wrong with the syntax, the whole file says best.
        read(&Pieces::whole(text), host).unwrap_or_else(|broken| (None, syntax::diagnose(&broken, text)))
    })
}

/// Resolves what may be in pieces; the syntax errors, if there are any, of the first piece that has some. There are none when
/// the pieces are not all of the virtual servers.
fn read(pieces: &Pieces<'_>, host: &Host) -> Result<(Option<Config>, Vec<Diagnostic>), Vec<Error>> {
    let mistakes = Mistakes::default();
    let rest = pieces.rest();
    let rest = document(&rest)?;
    if !pieces.is_whole() && rest.get_ref().contains_key("virtual_server") {
        return Err(Vec::new());
    }
    let config = resolve::resolve(Section::root(&rest, &mistakes), pieces, &mistakes, host)?;
    Ok((config, mistakes.into_sorted()))
}

fn document(text: &str) -> Result<Spanned<DeTable<'_>>, Vec<Error>> {
    let (document, broken) = DeTable::parse_recoverable(text);
    if broken.is_empty() { Ok(document) } else { Err(broken) }
}

/// What went wrong, without the system's number for it.
fn plain(error: &io::Error) -> String {
    let words = error.to_string();
    words.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file that is a test of its own, right or wrong, and the examples.
    fn files() -> Vec<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let all = [root.join("tests/config"), root.join("../config")].map(|directory| {
            let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
            paths.filter(|path| path.extension().is_some_and(|it| it == "toml")).collect::<Vec<_>>()
        });
        all.concat().iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }

    #[test]
    fn a_file_in_pieces_means_what_it_means_as_a_whole_with_every_mistake_at_its_place() {
        let host = Host::imagined("lb1");
        let mut in_pieces = 0;
        for text in files() {
            // Mistakes between virtual servers need two of them.
            for text in
                [text.clone(), text.replacen("[global]", "[[virtual_server]]\nname = \"é\"\n[global]", 1)]
            {
                for size in [1, 300] {
                    let Some(pieces) = Pieces::of_size(&text, size) else { continue };
                    let Ok(read_in_pieces) = read(&pieces, &host) else { continue };
                    let whole = read(&Pieces::whole(&text), &host).unwrap();
                    assert_eq!(read_in_pieces, whole, "{text}");
                    in_pieces += 1;
                }
            }
        }
        assert!(in_pieces > 50, "only {in_pieces}");
    }

    #[test]
    fn what_looks_like_a_header_inside_a_value_is_none() {
        for text in [
            "a = \"\"\"\n[[virtual_server]]\n\"\"\"\n",
            "a = [\n[[virtual_server]],\n]\n",
            "# [[virtual_server]]\n",
            "[[virtual_server]",
        ] {
            assert!(Pieces::of_size(text, 1).is_none(), "{text}");
        }
    }
}
