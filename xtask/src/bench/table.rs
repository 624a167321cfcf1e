//! A table of figures: for a terminal, for a document, for machines.

use std::fmt;

use comfy_table::{CellAlignment, TableStyle, presets};
use serde::Serialize;

/// One table, and what is drawn of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Table {
    /// What it is called in file names and in the documents' markers.
    pub(crate) name: &'static str,
    /// What it shows, in words.
    pub(crate) title: String,
    /// Its columns, without that of the rows' names.
    pub(crate) columns: Vec<Column>,
    /// Its rows.
    pub(crate) rows: Vec<Row>,
    /// The column whose figures are the chart's bars.
    pub(crate) drawn: usize,
    /// What a reader has to know besides, a sentence each; noise among it.
    pub(crate) notes: Vec<String>,
}

/// A column of figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Column {
    /// Its head.
    pub(crate) name: String,
    /// What its figures are counted in.
    pub(crate) unit: &'static str,
    /// How many digits stand behind the point.
    pub(crate) digits: usize,
}

impl Column {
    /// A column of this name and unit.
    pub(crate) fn new(name: &str, unit: &'static str, digits: usize) -> Self {
        Self { name: name.to_owned(), unit, digits }
    }

    /// Its head with its unit.
    pub(crate) fn head(&self) -> String {
        match self.unit {
            "" => self.name.clone(),
            unit => format!("{}, {unit}", self.name),
        }
    }
}

/// A row of figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    /// Whether it is xlb: the chart shows it in another colour.
    pub(crate) ours: bool,
    /// One figure for each column; none where there is nothing to say.
    pub(crate) figures: Vec<Option<f64>>,
}

impl Table {
    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        self.laid_out(presets::ASCII_MARKDOWN)
    }

    fn laid_out(&self, style: TableStyle) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(style);
        table.set_header(std::iter::once(String::new()).chain(self.columns.iter().map(Column::head)));
        for row in &self.rows {
            let figures = self.columns.iter().zip(&row.figures).map(|(column, figure)| match figure {
                Some(figure) => grouped(*figure, column.digits),
                None => "-".to_owned(),
            });
            table.add_row(std::iter::once(row.name.clone()).chain(figures));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        writeln!(f, "{}", self.laid_out(presets::UTF8_FULL_CONDENSED))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

/// A number with its thousands apart.
pub(super) fn grouped(figure: f64, digits: usize) -> String {
    let text = format!("{:.digits$}", figure.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    let sign = if figure < 0.0 && text.chars().any(|digit| ('1'..='9').contains(&digit)) { "-" } else { "" };
    format!("{sign}{out}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (figure, digits, text) in [
            (0.0, 0, "0"),
            (999.4, 0, "999"),
            (1000.0, 0, "1,000"),
            (1_234_567.89, 1, "1,234,567.9"),
            (-1500.0, 0, "-1,500"),
            (-0.2, 0, "0"),
        ] {
            assert_eq!(grouped(figure, digits), text);
        }
    }

    #[test]
    fn a_figure_that_is_missing_is_a_dash() {
        let table = Table {
            name: "packet",
            title: "Packets".into(),
            columns: vec![Column::new("median", "ns", 0), Column::new("share", "", 1)],
            rows: vec![Row { name: "xlb".into(), ours: true, figures: vec![Some(1500.0), None] }],
            drawn: 0,
            notes: vec![],
        };
        let markdown = table.markdown();
        let last: Vec<&str> = markdown.lines().last().unwrap().split('|').map(str::trim).collect();
        assert_eq!(last, ["", "xlb", "1,500", "-", ""]);
    }
}
