//! Lines over time.

use plotters::prelude::*;

use super::{Area, Drawn, FAINT, FRAME, Filled, Legend, words};
use crate::dashboard::STEPS;
use crate::sim::COLOURS;

/// A gap in a series this many steps long is one in its line.
const GAP: f64 = 1.5;

pub(super) fn lines<'a>(area: &Area<'a>, filled: &Filled, (start, end): (f64, f64)) -> Drawn<'a> {
    let config = &filled.panel.field_config;
    let usual = COLOURS.iter().cycle();
    let coloured: Vec<_> = filled
        .lines
        .iter()
        .zip(usual)
        .map(|((name, series), usual)| {
            let own = config.colour(name).map(words::colour);
            (name.as_str(), series, own.unwrap_or(*usual))
        })
        .collect();
    let legend = Legend::new(area, coloured.iter().map(|(name, _, colour)| (*name, *colour)));
    let (width, height) = area.dim_in_pixel();
    let unit = &config.defaults.unit;
    let values = filled.lines.iter().flat_map(|(_, series)| &series.points).map(|point| point.1);
    let top = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
    let top = if top > 0.0 { top * 1.1 } else { 1.0 };
    let plot = area.clone().shrink((0, 0), (width, height - legend.height.cast_unsigned()));
    let mut chart = ChartBuilder::on(&plot)
        .margin_right(6)
        .x_label_area_size(20)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..end - start, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(FRAME)
        .light_line_style(WHITE)
        .axis_style(FRAME)
        .label_style(("sans-serif", words::SMALL).into_font().color(&FAINT))
        .x_labels(6)
        .y_labels(4)
        .x_label_formatter(&|second| format!("{second:.0} s"))
        .y_label_formatter(&|value| words::value(*value, unit))
        .draw()?;
    for (_, series, colour) in &coloured {
        let points = series.points.iter().map(|(time, value)| (time - start, *value));
        for stretch in stretches(&points.collect::<Vec<_>>(), (end - start) / STEPS) {
            if let [point] = stretch {
                chart.draw_series([Circle::new(*point, 2, colour.filled())])?;
            } else {
                let line = LineSeries::new(stretch.iter().copied(), colour.stroke_width(2));
                chart.draw_series(line)?;
            }
        }
    }
    legend.draw(area)
}

/// The parts of a series without a gap, and without what is no number.
fn stretches(points: &[(f64, f64)], step: f64) -> Vec<&[(f64, f64)]> {
    let joined = |one: &(f64, f64), next: &(f64, f64)| {
        one.1.is_finite() && next.1.is_finite() && next.0 - one.0 < step * GAP
    };
    points.chunk_by(joined).filter(|stretch| stretch[0].1.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_a_gap_and_where_there_is_no_number() {
        let points = [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 4.0), (9.0, 5.0)];
        let lengths: Vec<_> = stretches(&points, 1.0).into_iter().map(<[_]>::len).collect();
        assert_eq!(lengths, [2, 1, 1]);
    }
}
