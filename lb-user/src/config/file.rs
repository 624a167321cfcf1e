//! The file as written: its tables read key by key, every value with its place; what nobody asks for is unknown.

use std::cell::{Cell, RefCell};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostic::{Diagnostic, Severity, Span},
    keepalived::translated,
    value::Wrong,
};

/// Where mistakes are collected; reading goes on after each.
#[derive(Default)]
pub(super) struct Mistakes {
    all: RefCell<Vec<Diagnostic>>,
    errors: Cell<usize>,
}

impl Mistakes {
    pub(super) fn push(&self, diagnostic: Diagnostic) {
        self.errors.set(self.errors.get() + usize::from(diagnostic.severity == Severity::Error));
        self.all.borrow_mut().push(diagnostic);
    }

    pub(super) fn errors(&self) -> usize {
        self.errors.get()
    }

    /// In the order of the file, without repetition.
    pub(super) fn into_sorted(self) -> Vec<Diagnostic> {
        let mut all = self.all.into_inner();
        all.sort_by_key(|one| (one.span.start, one.span.end));
        all.dedup();
        all
    }
}

/// A value under its key.
#[derive(Clone)]
pub(super) struct Node<'t> {
    key: &'static str,
    value: &'t Spanned<DeValue<'t>>,
    mistakes: &'t Mistakes,
}

impl<'t> Node<'t> {
    pub(super) fn span(&self) -> Span {
        self.value.span()
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// A list's values; a single value is a list of one.
    pub(super) fn items(&self) -> Vec<Self> {
        match self.value.get_ref() {
            DeValue::Array(items) => items.iter().map(|value| Self { value, ..self.clone() }).collect(),
            _ => vec![self.clone()],
        }
    }

    /// As `items`; that there is none is a mistake.
    pub(super) fn some_items(&self, help: &str) -> Vec<Self> {
        let items = self.items();
        if items.is_empty() {
            let message = format!("`{}` must not be empty", self.key);
            self.mistakes.push(Diagnostic::error("empty-list", self.span(), message).help(help));
        }
        items
    }

    /// Whether the value is one that `test` knows.
    pub(super) fn is(&self, test: impl FnOnce(&DeValue<'_>) -> bool) -> bool {
        test(self.value.get_ref())
    }

    pub(super) fn convert<T>(
        &self,
        convert: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Spanned<T>> {
        match convert(self.value.get_ref()) {
            Ok(value) => Some(Spanned::new(self.span(), value)),
            Err(wrong) => {
                let message = format!("`{}` must be {}", self.key, wrong.expected);
                let mut diagnostic = Diagnostic::error(wrong.code, self.span(), message).label(wrong.found);
                diagnostic.help = wrong.help;
                self.mistakes.push(diagnostic);
                None
            }
        }
    }

    /// Reads a table; keys that `read` does not ask for are mistakes.
    pub(super) fn section<T>(&self, read: impl FnOnce(&mut Section<'t>) -> T) -> Option<T> {
        let DeValue::Table(table) = self.value.get_ref() else {
            return self.convert(|value| Err(Wrong::kind("a table", value))).map(Spanned::into_inner);
        };
        let mut section = Section { table, span: self.span(), mistakes: self.mistakes, known: Vec::new() };
        let result = read(&mut section);
        section.finish();
        Some(result)
    }
}

/// A table that is being read.
pub(super) struct Section<'t> {
    table: &'t DeTable<'t>,
    span: Span,
    mistakes: &'t Mistakes,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn root(document: &'t Spanned<DeTable<'t>>, mistakes: &'t Mistakes) -> Self {
        // What is missing in the file itself is missing at its beginning.
        Self { table: document.get_ref(), span: 0..0, mistakes, known: Vec::new() }
    }

    /// The header, or the whole of an inline table.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn push(&self, diagnostic: Diagnostic) {
        self.mistakes.push(diagnostic);
    }

    /// How many there are so far, in the whole file.
    pub(super) fn errors(&self) -> usize {
        self.mistakes.errors()
    }

    pub(super) fn knows(&self, key: &str) -> bool {
        self.known.contains(&key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Every reading goes through here: the key becomes a known one.
    pub(super) fn node(&mut self, key: &'static str) -> Option<Node<'t>> {
        self.known.push(key);
        self.table.get(key).map(|value| Node { key, value, mistakes: self.mistakes })
    }

    /// The key's own place, for mistakes about its presence.
    pub(super) fn key_span(&self, key: &str) -> Span {
        self.table.get_key_value(key).map_or_else(|| self.span(), |(key, _)| key.span())
    }

    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        convert: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Spanned<T>> {
        self.node(key)?.convert(convert)
    }

    /// The value, or the default when it is not there or wrong.
    pub(super) fn value_or<T>(
        &mut self,
        key: &'static str,
        default: T,
        convert: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> T {
        self.value(key, convert).map_or(default, Spanned::into_inner)
    }

    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        convert: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Spanned<T>> {
        self.require(key)?.convert(convert)
    }

    /// As `node`; that the key is not there is a mistake.
    pub(super) fn require(&mut self, key: &'static str) -> Option<Node<'t>> {
        let node = self.node(key);
        if node.is_none() {
            self.push(Diagnostic::error("missing-key", self.span(), format!("`{key}` is missing here")));
        }
        node
    }

    /// The values of a list that could be converted; the list must not be empty.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        convert: impl Fn(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Vec<Spanned<T>>> {
        let items = self.node(key)?.some_items("write at least one, or leave the key out");
        Some(items.iter().filter_map(|item| item.convert(&convert)).collect())
    }

    pub(super) fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.node(key)?.section(read)
    }

    /// The tables of a list.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Self) -> T,
    ) -> Option<Vec<T>> {
        let items = self.node(key)?.items();
        Some(items.iter().filter_map(|item| item.section(&mut read)).collect())
    }

    /// Reports what was not asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.table.iter().filter(|(key, _)| !self.knows(key.get_ref())) {
            let mut unknown =
                Diagnostic::error("unknown-key", key.span(), format!("unknown key `{}`", key.get_ref()));
            let near = || nearest(key.get_ref(), self.known.iter().copied()).map(|near| format!("`{near}`"));
            unknown.help = Some(match translated(key.get_ref()).map(str::to_owned).or_else(near) {
                Some(instead) => format!("write {instead}"),
                None => format!("known here: {}", self.known.join(", ")),
            });
            self.mistakes.push(unknown);
        }
    }
}

/// The name that was probably meant.
pub(super) fn nearest<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names
        .map(|name| (strsim::jaro_winkler(written, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
