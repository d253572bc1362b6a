//! Numbers and tables: how things are now.

use plotters::prelude::*;

use super::{Area, Drawn, FAINT, Filled, INK, text, words};
use crate::dashboard::model::Defaults;
use crate::prometheus::Series;

/// One number, in the colour that it has by the thresholds.
pub(super) fn stat<'a>(area: &Area<'a>, filled: &Filled) -> Drawn<'a> {
    let defaults = &filled.panel.field_config.defaults;
    let Some(value) = filled.lines.first().and_then(|(_, series)| last(series)) else {
        return text(area, "no data", (4, 24), 20, FAINT);
    };
    let said = words::value(value, &defaults.unit);
    text(area, &said, (4, 22), 36, threshold(defaults, value))
}

fn threshold(defaults: &Defaults, value: f64) -> RGBColor {
    let mut falling = defaults.thresholds.steps.iter().rev();
    let reached = falling.find(|step| step.value.is_none_or(|from| value >= from));
    reached.map_or(INK, |step| words::colour(&step.color))
}

/// A line for each series, its value at the end.
pub(super) fn table<'a>(area: &Area<'a>, filled: &Filled) -> Drawn<'a> {
    if filled.lines.is_empty() {
        return text(area, "none", (0, 4), 13, FAINT);
    }
    let right = area.dim_in_pixel().0.cast_signed() - 40;
    for ((name, series), top) in filled.lines.iter().zip((4..).step_by(20)) {
        text(area, name, (0, top), 13, INK)?;
        let value = last(series).unwrap_or(f64::NAN);
        text(area, &words::value(value, "short"), (right, top), 13, INK)?;
    }
    Ok(())
}

fn last(series: &Series) -> Option<f64> {
    series.points.last().map(|point| point.1)
}
