//! The page: every panel at its place on Grafana's grid.

mod bars;
mod chart;
mod tiles;
mod words;

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::Filled;
use super::model::Grid;

/// Of a column of the grid.
const COLUMN: u32 = 60;
/// Of a line of the grid.
const LINE: u32 = 32;
/// Above the grid.
const HEAD: u32 = 56;
/// Between panels.
const GAP: u32 = 6;
const COLUMNS: u32 = 24;

const PAGE: RGBColor = RGBColor(244, 245, 245);
const FRAME: RGBColor = RGBColor(216, 217, 218);
const INK: RGBColor = RGBColor(36, 41, 46);
const FAINT: RGBColor = RGBColor(110, 116, 122);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// Draws the panels over a range of unix times into a file.
pub(super) fn draw(panels: &[Filled], range: (f64, f64), file: &Path) -> Result<()> {
    let bottom = |filled: &Filled| filled.panel.grid_pos.y + filled.panel.grid_pos.h;
    let lines = panels.iter().map(bottom).max().unwrap_or(0);
    let size = (COLUMNS * COLUMN + GAP, HEAD + lines * LINE + GAP);
    let page = SVGBackend::new(file, size).into_drawing_area();
    let drawn = page.fill(&PAGE).and_then(|()| head(&page, range));
    let drawn = drawn.and_then(|()| panels.iter().try_for_each(|it| panel(&page, it, range)));
    drawn
        .and_then(|()| page.present())
        .map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))
}

fn head<'a>(page: &Area<'a>, (start, end): (f64, f64)) -> Drawn<'a> {
    text(page, "nllb: deploy/monitoring/dashboard.json over a run in the lab", (14, 10), 20, INK)?;
    let how = format!(
        "drawn by nllb-lab from what Prometheus answered to the dashboard's queries ({:.0} s, one node); no picture of Grafana",
        end - start
    );
    text(page, &how, (14, 35), 12, FAINT)
}

fn panel<'a>(page: &Area<'a>, filled: &Filled, range: (f64, f64)) -> Drawn<'a> {
    let Grid { x, y, w, h } = filled.panel.grid_pos;
    let corner = (x * COLUMN + GAP, HEAD + y * LINE);
    let size = (w * COLUMN - GAP, h * LINE - GAP);
    let area = page.clone().shrink(corner, size);
    if filled.panel.kind == "row" {
        return text(&area, &filled.panel.title, (4, 7), 15, INK);
    }
    area.fill(&WHITE)?;
    let far = (size.0.cast_signed() - 1, size.1.cast_signed() - 1);
    area.draw(&Rectangle::new([(0, 0), far], FRAME))?;
    text(&area, &filled.panel.title, (9, 7), 13, INK)?;
    let inside = area.shrink((8, 26), (size.0 - 16, size.1 - 32));
    match filled.panel.kind.as_str() {
        "stat" => tiles::stat(&inside, filled),
        "table" => tiles::table(&inside, filled),
        "state-timeline" => bars::timeline(&inside, filled, range),
        "heatmap" => bars::heatmap(&inside, filled, range),
        _ => chart::lines(&inside, filled, range),
    }
}

/// Text with its upper left corner at `at`.
fn text<'a>(area: &Area<'a>, text: &str, at: (i32, i32), size: u32, colour: RGBColor) -> Drawn<'a> {
    let style = ("sans-serif", size).into_text_style(area).color(&colour);
    area.draw(&Text::new(text.to_owned(), at, style))
}

/// Names with their colours, line by line below a panel.
struct Legend<'a> {
    names: Vec<(&'a str, RGBColor, (i32, i32))>,
    height: i32,
}

impl<'a> Legend<'a> {
    /// Places them.
    fn new(area: &Area<'_>, names: impl IntoIterator<Item = (&'a str, RGBColor)>) -> Self {
        let width = area.dim_in_pixel().0.cast_signed();
        let (mut at, mut placed) = ((0, 0), Vec::new());
        for (name, colour) in names {
            let takes = words::width(name) + 22;
            if at.0 > 0 && at.0 + takes > width {
                at = (0, at.1 + words::LEADING);
            }
            placed.push((name, colour, at));
            at.0 += takes;
        }
        Self { names: placed, height: at.1 + words::LEADING }
    }

    /// Draws them at the bottom.
    fn draw<'b>(&self, area: &Area<'b>) -> Drawn<'b> {
        let top = area.dim_in_pixel().1.cast_signed() - self.height;
        for (name, colour, (x, y)) in &self.names {
            let (x, y) = (*x, top + y);
            area.draw(&Rectangle::new([(x, y + 5), (x + 9, y + 8)], colour.filled()))?;
            text(area, name, (x + 13, y), words::SMALL, FAINT)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::deployed;
    use crate::dashboard::model::Dashboard;
    use crate::prometheus::Series;

    #[test]
    fn every_panel_is_drawn_with_data_and_without() {
        let series = |bound: &str, points: &[(f64, f64)]| {
            let labels = [("le".to_owned(), bound.to_owned())].into();
            (format!("up to {bound}"), Series { labels, points: points.to_vec() })
        };
        let some = [
            series("0.1", &[(0.0, 4.0), (1.0, f64::NAN), (2.0, 3.0), (9.0, 7.0)]),
            series("+Inf", &[(0.0, 4.0), (1.0, 5.0), (2.0, 3.0), (9.0, 7.0)]),
        ];
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("dashboard.svg");
        for lines in [Vec::new(), some.to_vec()] {
            let dashboard = Dashboard::read(&deployed("dashboard.json")).expect("readable");
            let fill = |panel| Filled { panel, lines: lines.clone() };
            let panels: Vec<_> = dashboard.panels.into_iter().map(fill).collect();
            draw(&panels, (0.0, 10.0), &file).expect("drawn");
            let picture = std::fs::read_to_string(&file).expect("readable");
            for Filled { panel, .. } in &panels {
                assert!(picture.contains(&panel.title), "no {}", panel.title);
            }
        }
    }
}
