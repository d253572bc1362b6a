//! The screen in several sizes, against expected files; `UPDATE_EXPECTED=1` writes them anew.

use super::*;
use crate::cli::top::model::News;
use crate::cli::top::model::tests::news;
use crate::status::example;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use serde_json::json;
use std::path::Path;
use std::time::Instant;

#[test]
fn the_smallest_usual_terminal_shows_all_of_it() {
    matches("80x24", &text(&screen(&trouble(), 80, 24, false)));
}

#[test]
fn entries_are_broken_at_words_and_end_above_the_last_row() {
    let narrow = text(&screen(&trouble(), 60, 19, false));
    let rows: Vec<_> = narrow.lines().collect();
    assert_eq!(rows[14].trim_start(), "0.8s transition 10.0.0.12:6443 unhealthy to degraded:");
    assert_eq!(rows[15].trim_start(), "answers, but wants");
    assert!(rows[18].starts_with("q quit") && rows.len() == 19, "{narrow}");
}

#[test]
fn a_wide_one_shows_more_of_the_past() {
    matches("120x40", &text(&screen(&trouble(), 120, 40, false)));
}

#[test]
fn a_tiny_one_shows_the_verdict_and_says_what_it_lacks() {
    matches("tiny", &text(&screen(&trouble(), 40, 8, false)));
    for (width, height) in [(1, 1), (2, 50), (200, 1), (59, 12), (60, 11)] {
        screen(&trouble(), width, height, true);
    }
}

#[test]
fn an_agent_that_went_away_is_named_above_what_it_told() {
    let mut model = trouble();
    let at = start() + Duration::from_secs(20);
    let reason = "no agent is running: nobody answers on /run/nllb/admin.sock".to_owned();
    let status = example::status();
    model.hear(News { status: Err(reason), unix_ms: NOW_MS + 16_000, ..news(at, &status) });
    matches("gone", &text(&screen(&model, 80, 24, false)));
}

#[test]
fn before_the_first_answer_it_waits() {
    let empty = text(&screen(&Model::default(), 80, 24, false));
    assert!(empty.starts_with("nllb top\nwaiting for an agent; q quits"), "{empty}");
}

#[test]
fn the_selected_backend_is_always_on_the_screen() {
    let mut status = example::status();
    let pool = &mut status.pools[0].backends;
    for number in 13..30 {
        let address = format!("10.0.0.{number}:6443").parse().expect("an address");
        pool.push(Backend { address, ..pool[0].clone() });
    }
    let mut model = Model::default();
    model.hear(news(start(), &status));
    for step in 0..19 {
        let shown = text(&screen(&model, 80, 24, false));
        let address = model.backends()[step].1.address.to_string();
        assert!(shown.lines().any(|line| line.starts_with(&format!("{address} "))), "{shown}");
        assert!(shown.contains(&format!("{address}: of pool")), "{shown}");
        model.select(1);
    }
}

#[test]
fn states_are_coloured_unless_that_is_not_wanted() {
    let coloured = |colour| {
        let buffer = screen(&trouble(), 80, 24, colour);
        buffer.content().iter().any(|cell| cell.fg != Color::Reset)
    };
    assert!(coloured(true) && !coloured(false));
}

#[test]
fn a_graph_has_gaps_and_grows_with_the_tallest() {
    assert_eq!(bars(&[Some(0), None, Some(500), Some(1000)], 1000, 6), "  ▁·▄█");
    assert_eq!(bars(&[], 1000, 3), "   ");
}

/// One backend is dead and one has come back, seen by two documents.
fn trouble() -> Model {
    let mut model = Model::default();
    let mut status = example::status();
    let history = Some(example::history());
    model.hear(News { history, entries: entries(), ..news(start(), &status) });
    *status.counters.get_mut("translated").expect("counted") += 50;
    status.pools[0].backends[0].evidence.as_mut().expect("evidence").established += 42;
    let back = &mut status.pools[0].backends[1];
    back.state = "degraded".to_owned();
    back.reason = "answers, but wants credentials (401)".to_owned();
    back.transitions += 1;
    back.state_age_ms = 800;
    back.run = None;
    let status = Status { verdict: status.judge(), ..status };
    let at = start() + Duration::from_secs(4);
    model.hear(News { unix_ms: NOW_MS, ..news(at, &status) });
    model.select(1);
    model
}

/// When it was asked last, in unix milliseconds.
const NOW_MS: i64 = 1_800_000_000_000;

/// A failover, what belongs to it, and what a newer agent tells.
fn entries() -> Vec<Told> {
    let dead = "10.0.0.12:6443";
    let entries = [
        json!({"timeMs": NOW_MS - 7_300_000, "what": "started", "version": "0.1.0", "adopted": true, "pid": 4711}),
        json!({"timeMs": NOW_MS - 90_000, "what": "eclipse"}),
        json!({"timeMs": NOW_MS - 8200, "what": "transition", "pool": "apiserver", "backend": dead,
            "from": "healthy", "to": "unhealthy", "reason": "no answer to the connect", "durationMs": 180_588}),
        json!({"timeMs": NOW_MS - 8200, "what": "failover", "pool": "apiserver", "backend": dead,
            "reason": "no answer to the connect", "remaining": 1, "durationMs": 203}),
        json!({"timeMs": NOW_MS - 8100, "what": "closed", "backend": dead, "cause": "dead",
            "reason": "no answer to the connect, while 10.0.0.11:6443 answers", "sockets": 40, "durationMs": 4}),
        json!({"timeMs": NOW_MS - 800, "what": "transition", "pool": "apiserver", "backend": dead,
            "from": "unhealthy", "to": "degraded", "reason": "answers, but wants credentials (401)", "durationMs": 7400}),
    ];
    let numbered = entries.into_iter().zip(1..).map(|(mut entry, seq)| {
        entry["seq"] = json!(seq);
        Told::of(&entry)
    });
    numbered.collect()
}

/// Some moment of which there was an hour before.
fn start() -> Instant {
    use std::sync::LazyLock;
    static START: LazyLock<Instant> = LazyLock::new(|| Instant::now() + Duration::from_secs(3600));
    *START
}

fn screen(model: &Model, width: u16, height: u16, colour: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(frame, model, colour)).expect("drawn");
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content().chunks(width);
    let row = |row: &[ratatui::buffer::Cell]| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned() + "\n"
    };
    rows.map(row).collect()
}

fn matches(name: &str, text: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/top/draw");
    let file = dir.join(name).with_extension("txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&file, text).expect("writable");
    }
    assert_eq!(text, std::fs::read_to_string(&file).expect("readable"));
}
