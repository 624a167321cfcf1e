//! A table as bars, in SVG.

use anyhow::{Result, anyhow};
use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontDesc, FontFamily, FontStyle, RGBColor, TextStyle};

use super::table::{Table, grouped};

const WIDTH: u32 = 820;
const ROW: i32 = 24;
const BAR: i32 = 16;
const HEAD: i32 = 44;
/// Where bars begin, and where the longest ends.
const LEFT: i32 = 320;
const RIGHT: i32 = 740;

/// Readable on white and on the dark ground of code hosting sites.
const INK: RGBColor = RGBColor(110, 118, 129);
const OURS: RGBColor = RGBColor(9, 105, 218);
const OTHERS: RGBColor = RGBColor(175, 184, 193);

/// Draws the figures of the table's drawn column, a bar for each row.
pub(crate) fn draw(table: &Table) -> Result<String> {
    let rows: Vec<_> =
        table.rows.iter().filter_map(|row| Some((row, (*row.figures.get(table.drawn)?)?))).collect();
    let height = HEAD + ROW * i32::try_from(rows.len())? + 12;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height.cast_unsigned())).into_drawing_area();
        let column = table.columns.get(table.drawn).ok_or_else(|| anyhow!("nothing is drawn"))?;
        let title = format!("{}: {}", table.title, column.head());
        write(&area, &title, (12, HEAD / 2), HPos::Left, 15)?;
        let longest = rows.iter().map(|(_, figure)| *figure).fold(f64::MIN_POSITIVE, f64::max);
        let mut top = HEAD;
        for (row, figure) in rows {
            let end = LEFT + (f64::from(RIGHT - LEFT) * figure.max(0.0) / longest).round() as i32;
            let colour = if row.ours { OURS } else { OTHERS };
            area.draw(&Rectangle::new([(LEFT, top), (end.max(LEFT + 1), top + BAR)], colour.filled()))
                .map_err(|error| anyhow!("cannot draw: {error}"))?;
            let middle = top + BAR / 2;
            write(&area, &row.name, (LEFT - 8, middle), HPos::Right, 13)?;
            write(&area, &grouped(figure, column.digits), (end + 6, middle), HPos::Left, 13)?;
            top += ROW;
        }
        area.present().map_err(|error| anyhow!("cannot draw: {error}"))?;
    }
    Ok(svg)
}

fn write(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    text: &str,
    at: (i32, i32),
    side: HPos,
    size: u32,
) -> Result<()> {
    let font = FontDesc::new(FontFamily::SansSerif, f64::from(size), FontStyle::Normal);
    let style = TextStyle::from(font).color(&INK).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text, at, style)).map_err(|error| anyhow!("cannot draw: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::table::{Column, Row};
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share_of_the_longest() {
        let row = |name: &str, figure| Row { name: name.into(), ours: name == "xlb", figures: vec![figure] };
        let table = Table {
            name: "forward",
            title: "Forwarding".into(),
            columns: vec![Column::new("median", "ns", 0)],
            rows: vec![row("xlb", Some(100.0)), row("nftables", Some(400.0)), row("absent", None)],
            drawn: 0,
            notes: vec![],
        };
        let svg = draw(&table).unwrap();
        let widths: Vec<&str> = svg
            .lines()
            .filter(|line| line.starts_with("<rect"))
            .filter_map(|line| line.split("width=\"").nth(1)?.split('"').next())
            .collect();
        assert_eq!(widths, ["105", "420"]);
        assert!(svg.contains("nftables") && !svg.contains("absent"), "{svg}");
    }
}
