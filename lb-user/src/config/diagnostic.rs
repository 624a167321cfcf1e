//! What is wrong with a configuration, as data and as people read it.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// Bytes of the file's text.
pub type Span = Range<usize>;

/// More than this many are counted, not shown.
const SHOWN: usize = 100;

/// Whether the configuration can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, and would surprise.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One mistake and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the configuration can be used.
    pub severity: Severity,
    /// Stable name of the rule, such as `unknown-key`.
    pub code: &'static str,
    /// What is wrong with what.
    pub message: String,
    /// The offending text.
    pub span: Span,
    /// Stands at the underlined text; may be empty.
    pub label: String,
    /// Other places that have to do with it.
    pub places: Vec<(Span, String)>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    pub(super) fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        let (message, label) = (message.into(), String::new());
        Self { severity: Severity::Error, code, message, span, label, places: Vec::new(), help: None }
    }

    pub(super) fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(super) fn place(mut self, span: Span, label: impl Into<String>) -> Self {
        self.places.push((span, label.into()));
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All diagnostics of one file, in its order.
#[derive(Clone, Debug)]
pub struct Report {
    /// The file's name as the user gave it.
    pub name: String,
    /// What the spans point into.
    pub text: String,
    /// In the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// How many errors and how many warnings there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let errors = self.diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
        (errors, self.diagnostics.len() - errors)
    }

    /// Each diagnostic as one line for a log: `FILE:LINE:COLUMN: error[CODE]: MESSAGE`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.diagnostics.iter().map(|one| {
            let (line, column) = line_and_column(&self.text, one.span.start);
            format!("{}:{line}:{column}: {}[{}]: {}", self.name, one.severity, one.code, one.message)
        })
    }

    /// The whole report with colours; print it through `anstream`, which drops them where there is no terminal.
    #[must_use]
    pub fn styled(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let mut out = String::new();
        for one in self.diagnostics.iter().take(SHOWN) {
            out.push_str(&self.render_one(renderer, one));
            out.push_str("\n\n");
        }
        if let Some(hidden) = self.diagnostics.len().checked_sub(SHOWN).filter(|hidden| *hidden > 0) {
            out.push_str(&format!("... and {hidden} more\n\n"));
        }
        let (errors, warnings) = self.counts();
        out.push_str(&format!("{}: {}, {}", self.name, count(errors, "error"), count(warnings, "warning")));
        out
    }

    fn render_one(&self, renderer: &Renderer, one: &Diagnostic) -> String {
        let level = match one.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let spans = || std::iter::once(&one.span).chain(one.places.iter().map(|(span, _)| span));
        // Only the lines that are concerned: a renderer reads all the text it is given, for each diagnostic.
        let start = spans().map(|span| span.start).min().unwrap_or(0);
        let start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = spans().map(|span| self.line_end(span.start)).max().unwrap_or(start);
        let within =
            |span: &Span| span.start - start..span.end.clamp(span.start, self.line_end(span.start)) - start;

        let primary = AnnotationKind::Primary.span(within(&one.span)).label(not_empty(&one.label));
        let snippet = Snippet::source(&self.text[start..end])
            .line_start(line_and_column(&self.text, start).0)
            .path(&self.name)
            .annotation(primary)
            .annotations(
                one.places
                    .iter()
                    .map(|(span, label)| AnnotationKind::Context.span(within(span)).label(not_empty(label))),
            );
        let mut group = level.primary_title(&one.message).id(one.code).element(snippet);
        if let Some(help) = &one.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }

    /// Where the line of `offset` ends: of a mistake that spans lines, the first is shown.
    fn line_end(&self, offset: usize) -> usize {
        self.text[offset..].find('\n').map_or(self.text.len(), |newline| offset + newline)
    }
}

impl fmt::Display for Report {
    /// The whole report, plain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

/// Line and column (in characters) of a byte of the text, both from 1.
#[must_use]
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// A number and what it counts: `1 error`, `2 errors`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn not_empty(label: &str) -> Option<&str> {
    (!label.is_empty()).then_some(label)
}
