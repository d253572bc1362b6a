//! Bars over time: states, and round trips by class.

use plotters::prelude::*;

use super::{Area, Drawn, FAINT, Filled, INK, Legend, text, words};
use crate::dashboard::STEPS;
use crate::dashboard::model::{Mapping, Word};
use crate::prometheus::Series;

/// Left of the states.
const NAMES: i32 = 150;
/// Left of the classes.
const BOUNDS: i32 = 80;
/// What Prometheus extrapolates is no whole number; from here on it is one at least.
const SOME: f64 = 0.5;

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
            let step = (range.1 - range.0) / STEPS;
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
    let classes = classes(filled.lines.iter().map(|(_, series)| series));
    let some = |(_, counts): &Class| counts.iter().any(|(_, count)| *count > SOME);
    let first = classes.iter().position(some).unwrap_or(0);
    let end = classes.iter().rposition(some).map_or(first, |last| last + 1);
    let shown = &classes[first..end];
    let counts = shown.iter().flat_map(|(_, counts)| counts);
    let most = counts.map(|(_, count)| *count).fold(1.0, f64::max);
    let space = area.dim_in_pixel().1.cast_signed() - 18;
    let across = across(area, range, BOUNDS);
    let rows = i32::try_from(shown.len()).unwrap_or(1).max(1);
    let step = (range.1 - range.0) / STEPS;
    for ((bound, counts), row) in shown.iter().zip(0..) {
        let (top, bottom) = ((rows - row - 1) * space / rows, (rows - row) * space / rows);
        let name = match bound.is_finite() {
            true => format!("up to {}", words::value(*bound, "s")),
            false => "more".to_owned(),
        };
        text(area, &name, (0, i32::midpoint(top, bottom) - 6), words::SMALL, FAINT)?;
        for (time, count) in counts.iter().filter(|(_, count)| *count > SOME) {
            let mix = BLUE.mix(0.1 + 0.9 * (count / most).sqrt());
            let cell = [(across(*time), top), (across(time + step), bottom - 1)];
            area.draw(&Rectangle::new(cell, mix.filled()))?;
        }
    }
    times(area, range, (BOUNDS, space))
}

/// Upper bound of a class, and how many were in it in each moment.
type Class = (f64, Vec<(f64, f64)>);

/// The classes of a histogram, by their bounds. Each of its series counts what is in those before it, too.
fn classes<'a>(series: impl Iterator<Item = &'a Series>) -> Vec<Class> {
    let bounded = series.filter_map(|one| Some((one.labels.get("le")?.parse().ok()?, one)));
    let mut bounded: Vec<(f64, &Series)> = bounded.collect();
    bounded.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut below: &[(f64, f64)] = &[];
    let own = |(bound, series): (f64, &'a Series)| {
        let points = series.points.iter().enumerate();
        let before = std::mem::replace(&mut below, &series.points);
        let less = |place: usize| before.get(place).map_or(0.0, |point| point.1);
        (bound, points.map(|(place, (time, count))| (*time, count - less(place))).collect())
    };
    bounded.into_iter().map(own).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_what_those_below_it_have_not() {
        let series = [("+Inf", 9.0), ("0.1", 2.0), ("0.5", 7.0)].map(|(bound, count)| Series {
            labels: [("le".to_owned(), bound.to_owned())].into(),
            points: vec![(1.0, count)],
        });
        let expected = [(0.1, 2.0), (0.5, 5.0), (f64::INFINITY, 2.0)];
        assert_eq!(classes(series.iter()), expected.map(|(bound, own)| (bound, vec![(1.0, own)])));
    }
}
