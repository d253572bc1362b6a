//! What is not lines: numbers, tables, states over time, and round trips by class.

use plotters::prelude::*;

use super::super::model::{Defaults, Mapping, Word};
use super::{Area, Drawn, FAINT, Filled, INK, Legend, text, words};
use crate::prometheus::Series;

/// Left of the states.
const NAMES: i32 = 150;
/// Left of the classes.
const BOUNDS: i32 = 80;

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

/// A bar for each series, coloured by its state.
pub(super) fn timeline<'a>(area: &Area<'a>, filled: &Filled, range: (f64, f64)) -> Drawn<'a> {
    let words_of = |value: f64| -> Option<&Word> {
        let mappings: &[Mapping] = &filled.panel.field_config.defaults.mappings;
        mappings.iter().find_map(|mapping| mapping.options.get(&value.to_string()))
    };
    let (_, height) = area.dim_in_pixel();
    let rows = i32::try_from(filled.lines.len()).unwrap_or(1).max(1);
    let space = height.cast_signed() - words::LEADING - 18;
    let across = across(area, range, NAMES);
    for ((name, series), row) in filled.lines.iter().zip(0..) {
        let (top, bottom) = (row * space / rows + 2, (row + 1) * space / rows - 3);
        text(area, name, (0, i32::midpoint(top, bottom) - 6), words::SMALL, INK)?;
        for stretch in series.points.chunk_by(|one, next| one.1.to_bits() == next.1.to_bits()) {
            let (from, until) = (stretch[0].0, stretch[stretch.len() - 1].0);
            let colour = words_of(stretch[0].1).map_or(FAINT, |word| words::colour(&word.color));
            let step = (range.1 - range.0) / super::super::STEPS;
            let bar = [(across(from), top), (across(until + step), bottom)];
            area.draw(&Rectangle::new(bar, colour.filled()))?;
        }
    }
    times(area, range, (NAMES, space))?;
    let all = filled.panel.field_config.defaults.mappings.iter().flat_map(|it| it.options.values());
    Legend::new(area, all.map(|word| (word.text.as_str(), words::colour(&word.color)))).draw(area)
}

/// How many were in each class in each moment: the darker, the more.
pub(super) fn heatmap<'a>(area: &Area<'a>, filled: &Filled, range: (f64, f64)) -> Drawn<'a> {
    let mut classes: Vec<(f64, &Series)> = filled
        .lines
        .iter()
        .filter_map(|(_, series)| Some((series.labels.get("le")?.parse().ok()?, series)))
        .collect();
    classes.sort_by(|one, other| one.0.total_cmp(&other.0));
    // Each counts what is in those before it, too.
    let counts: Vec<Vec<(f64, f64)>> = (0..classes.len())
        .map(|index| {
            let below = index.checked_sub(1).map(|index| &classes[index].1.points);
            let count = |(place, (time, value)): (usize, &(f64, f64))| {
                let below = below.and_then(|points| points.get(place)).map_or(0.0, |it| it.1);
                (*time, value - below)
            };
            classes[index].1.points.iter().enumerate().map(count).collect()
        })
        .collect();
    let some = |counts: &Vec<(f64, f64)>| counts.iter().any(|(_, count)| *count > 0.5);
    let first = counts.iter().position(some).unwrap_or(0);
    let end = counts.iter().rposition(some).unwrap_or(0) + 1;
    let most = counts.iter().flatten().map(|(_, count)| *count).fold(1.0, f64::max);
    let space = area.dim_in_pixel().1.cast_signed() - 18;
    let across = across(area, range, BOUNDS);
    let rows = i32::try_from(end - first).unwrap_or(1).max(1);
    let step = (range.1 - range.0) / super::super::STEPS;
    let shown = classes.iter().zip(&counts).skip(first).take(end - first);
    for (((bound, _), counts), row) in shown.zip(0..) {
        let (top, bottom) = ((rows - row - 1) * space / rows, (rows - row) * space / rows);
        let name = if bound.is_finite() { words::value(*bound, "s") } else { "more".to_owned() };
        text(
            area,
            &format!("up to {name}"),
            (0, i32::midpoint(top, bottom) - 6),
            words::SMALL,
            FAINT,
        )?;
        for (time, count) in counts.iter().filter(|(_, count)| *count > 0.5) {
            let mix = BLUE.mix(0.1 + 0.9 * (count / most).sqrt());
            let cell = [(across(*time), top), (across(time + step), bottom - 1)];
            area.draw(&Rectangle::new(cell, mix.filled()))?;
        }
    }
    times(area, range, (BOUNDS, space))
}

/// Where a unix time is from left to right.
fn across(area: &Area<'_>, (start, end): (f64, f64), left: i32) -> impl Fn(f64) -> i32 {
    let width = f64::from(area.dim_in_pixel().0) - f64::from(left);
    #[expect(clippy::cast_possible_truncation, reason = "a place in the picture")]
    move |time| left + (((time - start) / (end - start)).min(1.0) * width) as i32
}

/// Some seconds below the bars.
fn times<'a>(area: &Area<'a>, range: (f64, f64), (left, top): (i32, i32)) -> Drawn<'a> {
    let across = across(area, range, left);
    let seconds = range.1 - range.0;
    let step = (seconds / 5.0 / 10.0).ceil() * 10.0;
    let mut second = 0.0;
    while second < seconds - step / 4.0 {
        let said = format!("{second:.0} s");
        text(area, &said, (across(range.0 + second), top + 2), words::SMALL, FAINT)?;
        second += step;
    }
    Ok(())
}

fn last(series: &Series) -> Option<f64> {
    series.points.last().map(|point| point.1)
}
