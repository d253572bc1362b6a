//! How the text is laid out: columns, broken and shortened sentences, times.

use crate::cli::paint::Paint;

/// Columns of the screen.
pub(super) const WIDTH: usize = 100;

/// Columns as wide as their widest cell, two spaces apart, none after the last.
pub(super) fn grid<const N: usize>(out: &mut String, paint: Paint, rows: &[[String; N]]) {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        // Nothing stands behind the last cell that is not empty.
        let last = row.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
        for (cell, width) in row[..last].iter().zip(widths) {
            out.push_str(&paint.word(cell, cell));
            out.push_str(&" ".repeat(width + 2 - cell.chars().count()));
        }
        out.push_str(&paint.word(&row[last], &row[last]));
        out.push('\n');
    }
}

/// A sentence below a table, on one line whatever it takes.
pub(super) fn cut(out: &mut String, text: &str) {
    out.push_str("  ");
    out.push_str(&shortened(text, WIDTH - 2));
    out.push('\n');
}

/// As much of a text as there is room for.
pub(in crate::cli) fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let start: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{}…", start.trim_end())
}

/// A sentence below a table, broken at words.
pub(super) fn wrap(out: &mut String, text: &str) {
    for (index, line) in broken(text, WIDTH - 2, WIDTH - 4).iter().enumerate() {
        out.push_str(if index == 0 { "  " } else { "    " });
        out.push_str(line);
        out.push('\n');
    }
}

/// A text in lines, broken at words, by the room of the first and of the others; a word that is longer has a line of
/// its own.
pub(in crate::cli) fn broken(text: &str, first: usize, others: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let room = if lines.len() == 1 { first } else { others };
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A duration in two digits or so: 0.3s, 12s, 3m, 5h, 2d.
pub(in crate::cli) fn age(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        10_000..120_000 => format!("{}s", ms / 1000),
        120_000..7_200_000 => format!("{}m", ms / 60_000),
        7_200_000..172_800_000 => format!("{}h", ms / 3_600_000),
        _ => format!("{}d", ms / 86_400_000),
    }
}

pub(in crate::cli) fn micros(us: u64) -> String {
    format!("{}.{}ms", us / 1000, us % 1000 / 100)
}
