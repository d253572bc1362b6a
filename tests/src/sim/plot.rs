//! The runs as one SVG: a row for each, with probes, new connections and the imbalance over time.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::measure::Kind;
use super::result::{PROBES, Run};

const WIDTH: u32 = 1260;
const ROW: u32 = 190;
/// Points of a line: more cannot be told apart at this width.
const POINTS: usize = 180;
/// From the palette of Okabe and Ito, which the colour-blind can tell apart.
pub(crate) const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// A line of a chart: a value for each second.
type Line = Vec<f64>;

/// Draws the runs.
pub(super) fn draw(runs: &[Run], path: &Path) -> Result<()> {
    let rows = u32::try_from(runs.len())?;
    let area = SVGBackend::new(path, (WIDTH, ROW * rows)).into_drawing_area();
    let drawn = |error: &dyn std::error::Error| anyhow!("cannot draw {}: {error}", path.display());
    area.fill(&WHITE).map_err(|error| drawn(&error))?;
    let cells = area.split_evenly((runs.len(), 3));
    for (run, cells) in runs.iter().zip(cells.chunks(3)) {
        let name = format!("{}, {} backends", run.scenario.name(), run.backends);
        let lines = |kinds: &[Kind]| -> Vec<Line> {
            let rate = |backend| run.counts.rate(backend, kinds);
            let of = |backend| rate(backend).iter().map(|count| f64::from(*count)).collect();
            (0..run.backends).map(of).collect()
        };
        let imbalance = run.counts.imbalance().iter().map(|share| share * 100.0).collect();
        let charts = [
            (format!("{name}: probes/s"), lines(&PROBES)),
            (String::from("new connections/s"), lines(&[Kind::Connects])),
            (String::from("imbalance, %"), vec![imbalance]),
        ];
        for (cell, (title, lines)) in cells.iter().zip(charts) {
            chart(cell, &title, &lines).map_err(|error| drawn(&error))?;
        }
    }
    area.present().map_err(|error| drawn(&error))
}

type Cell<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn chart<'a>(cell: &Cell<'a>, title: &str, lines: &[Line]) -> Result<(), Failure<'a>> {
    let seconds = lines.iter().map(Vec::len).max().unwrap_or(1);
    let top = lines.iter().flatten().copied().fold(1.0, f64::max) * 1.05;
    let mut chart = ChartBuilder::on(cell)
        .caption(title, ("sans-serif", 14))
        .margin(6)
        .x_label_area_size(22)
        .y_label_area_size(44)
        .build_cartesian_2d(0..seconds, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(8)
        .y_labels(5)
        .x_label_formatter(&|second| format!("{second} s"))
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        chart.draw_series(LineSeries::new(thin(line), colour))?;
    }
    Ok(())
}

/// Of each stretch of seconds the highest: a peak is what one looks for.
fn thin(line: &[f64]) -> Vec<(usize, f64)> {
    let stretch = line.len().div_ceil(POINTS).max(1);
    let highest = |(index, values): (usize, &[f64])| {
        let second: Range<usize> = index * stretch..(index + 1) * stretch;
        (second.start, (values.iter().copied().fold(0.0, f64::max) * 10.0).round() / 10.0)
    };
    line.chunks(stretch).enumerate().map(highest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_keeps_its_peaks() {
        let mut line = vec![1.0; 1000];
        line[777] = 50.0;
        let thin = thin(&line);
        assert!(thin.len() <= POINTS);
        assert!(thin.iter().any(|(second, value)| (773..=777).contains(second) && *value > 49.0));
    }
}
