//! The result as SVG: a chart of ratios to direct for each figure, and one of the faults.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

use super::failover::{Figure, Reaction, What};
use super::figures::{Cost, Metric};
use super::peer::Peer;
use super::report::Report;
use crate::sim::COLOURS;

const CELL: (u32, u32) = (420, 230);
const COLUMNS: u32 = 3;
const FAULT_ROW: u32 = 66;
const FAULT_WIDTH: u32 = 1_000;
/// Less than this is drawn as this, since the scale is logarithmic, in milliseconds.
const LEAST_MS: f64 = 1.0;
const MOST_MS: f64 = 100_000.0;

/// Draws `peers-cost.svg` and `peers-failover.svg` into a directory.
pub(super) fn draw(report: &Report, directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).context("cannot create the directory for plots")?;
    let cost = directory.join("peers-cost.svg");
    draw_costs(report, &cost)
        .map_err(|error| anyhow!("cannot draw {}: {error}", cost.display()))?;
    if report.rows.is_empty() {
        return Ok(());
    }
    let failover = directory.join("peers-failover.svg");
    draw_faults(&report.rows, &failover)
        .map_err(|error| anyhow!("cannot draw {}: {error}", failover.display()))
}

type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;
type Cell<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn colour(peer: Peer) -> RGBColor {
    let place = Peer::ALL.iter().position(|other| *other == peer).unwrap_or(0);
    COLOURS[place % COLOURS.len()]
}

fn draw_costs<'a>(report: &Report, path: &'a Path) -> Result<(), Failure<'a>> {
    let rows = u32::try_from(Metric::ALL.len()).unwrap_or(COLUMNS).div_ceil(COLUMNS);
    let size = (CELL.0 * COLUMNS, CELL.1 * rows);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;
    let Some(direct) = report.direct() else { return area.present() };
    for (metric, cell) in
        Metric::ALL.into_iter().zip(area.split_evenly((rows as usize, COLUMNS as usize)))
    {
        draw_metric(&report.costs, direct, metric, &cell)?;
    }
    area.present()
}

/// A bar for each peer, and a line between its quartiles.
fn draw_metric<'a>(
    costs: &[Cost],
    direct: &Cost,
    metric: Metric,
    cell: &Cell<'a>,
) -> Result<(), Failure<'a>> {
    let ratios: Vec<_> =
        costs.iter().map(|cost| (cost.peer, cost.ratios(metric, direct))).collect();
    let top = ratios.iter().map(|(_, ratio)| ratio.q3).fold(1.0, f64::max) * 1.12;
    let count = i32::try_from(costs.len()).unwrap_or(1);
    let title = metric.title().split(',').next().unwrap_or_default();
    let mut chart = ChartBuilder::on(cell)
        .caption(format!("{title}, times direct's"), ("sans-serif", 14))
        .margin(6)
        .x_label_area_size(22)
        .y_label_area_size(36)
        .build_cartesian_2d((0..count).into_segmented(), 0.0..top)?;
    let name = |value: &SegmentValue<i32>| match value {
        SegmentValue::CenterOf(index) => usize::try_from(*index)
            .ok()
            .and_then(|index| ratios.get(index))
            .map_or_else(String::new, |(peer, _)| peer.to_string()),
        SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .y_labels(5)
        .x_labels(costs.len() + 1)
        .x_label_formatter(&name)
        .draw()?;
    let bars = ratios.iter().zip(0..).map(|((peer, ratio), index)| {
        let corners =
            [(SegmentValue::Exact(index), 0.0), (SegmentValue::Exact(index + 1), ratio.median)];
        let mut bar = Rectangle::new(corners, colour(*peer).filled());
        bar.set_margin(0, 0, 8, 8);
        bar
    });
    chart.draw_series(bars)?;
    let spreads = ratios.iter().zip(0..).map(|((_, ratio), index)| {
        let at = SegmentValue::CenterOf(index);
        PathElement::new([(at.clone(), ratio.q1), (at, ratio.q3)], BLACK.stroke_width(2))
    });
    chart.draw_series(spreads)?;
    Ok(())
}

/// A row for each fault with a bar for each peer: the blackout, or, where that is the same of all, until new
/// connects had left or until what was established was closed.
fn draw_faults<'a>(rows: &[Reaction], path: &'a Path) -> Result<(), Failure<'a>> {
    let mut faults: Vec<_> = rows.iter().map(|row| row.fault).collect();
    faults.dedup();
    let count = u32::try_from(faults.len()).unwrap_or(1);
    let area = SVGBackend::new(path, (FAULT_WIDTH, FAULT_ROW * count + 70)).into_drawing_area();
    area.fill(&WHITE)?;
    let bottom = f64::from(count);
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "until clients are rid of a fault; pale to the edge: not within the window",
            ("sans-serif", 15),
        )
        .margin(8)
        .x_label_area_size(30)
        .y_label_area_size(8)
        .build_cartesian_2d((LEAST_MS..MOST_MS).log_scale(), bottom..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_label_formatter(&|ms| {
            if *ms < 1_000.0 { format!("{ms} ms") } else { format!("{} s", ms / 1e3) }
        })
        .draw()?;
    for (fault, place) in faults.iter().zip(0_u32..) {
        let top = f64::from(place);
        let struck: Vec<_> = rows.iter().filter(|row| row.fault == *fault).collect();
        let (what, step) =
            (principal(&struck), 0.72 / f64::from(u32::try_from(struck.len()).unwrap_or(1)));
        let title = format!("{fault}: {}", what.map_or("", What::title));
        let style = ("sans-serif", 13).into_font();
        chart.draw_series([Text::new(title, (LEAST_MS * 1.05, top + 0.02), style)])?;
        for (row, number) in struck.iter().zip(0_u32..) {
            let begin = top + 0.24 + f64::from(number) * step;
            let Some(figure) = what.and_then(|what| row.figure(what)) else { continue };
            let (end, style) = match figure {
                Figure::Is(ms) => (ms.clamp(LEAST_MS * 1.1, MOST_MS), colour(row.peer).filled()),
                Figure::Beyond(_) => (MOST_MS, colour(row.peer).mix(0.35).filled()),
            };
            let bar = Rectangle::new([(LEAST_MS, begin), (end, begin + step * 0.9)], style);
            chart.draw_series([bar])?;
            let text = format!("{}  {figure}", row.peer);
            let place = (end.min(MOST_MS / 12.0) * 1.05, begin);
            chart.draw_series([Text::new(text, place, ("sans-serif", 10).into_font())])?;
        }
    }
    area.present()
}

/// What a fault is about: the first of these in which nllb and the peers differ.
fn principal(struck: &[&Reaction]) -> Option<What> {
    let noise_ms = struck.iter().map(|row| row.noise_ms()).fold(0.0, f64::max);
    let differs = |what: &What| {
        let mut figures = struck.iter().filter_map(|row| row.figure(*what));
        let first = figures.next();
        first.is_some_and(|first| figures.any(|figure| !figure.is_same_as(first, noise_ms)))
    };
    [What::Blackout, What::Left, What::Closed].into_iter().find(differs)
}
