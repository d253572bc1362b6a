//! The demonstration on a terminal.
//!
//! The terminal stays in its ordinary mode: no key is read, and Ctrl-C stays a signal.

use std::io::{Stdout, stdout};
use std::time::Instant;

use anyhow::{Context, Result};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table};
use ratatui::{Frame, Terminal};

use super::ledger::{Health, Ledger, ms};

/// The alternate screen. Dropping it gives the terminal back as it was.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub(super) fn open() -> Result<Self> {
        execute!(stdout(), EnterAlternateScreen).context("cannot use the terminal")?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout()));
        Ok(Self { terminal: terminal.context("cannot use the terminal")? })
    }

    pub(super) fn draw(&mut self, ledger: &Ledger, now: Instant) -> Result<()> {
        self.terminal.draw(|frame| draw(frame, ledger, now)).context("cannot draw")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone needs no restoring.
        let _ = self.terminal.show_cursor();
        let _ = execute!(stdout(), LeaveAlternateScreen);
    }
}

fn draw(frame: &mut Frame<'_>, ledger: &Ledger, now: Instant) {
    let backends = u16::try_from(ledger.backends.len()).unwrap_or(u16::MAX);
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(backends.saturating_add(3)),
        Constraint::Length(5),
        Constraint::Min(3),
        Constraint::Length(1),
    ]);
    let [title, table, numbers, news, foot] = areas.areas(frame.area());
    frame.render_widget(Line::from("nllb: three API servers, one node, one VIP".bold()), title);
    frame.render_widget(servers(ledger, now), table);
    frame.render_widget(counts(ledger), numbers);
    frame.render_widget(story(ledger, usize::from(news.height.saturating_sub(2))), news);
    frame.render_widget(Line::from("Ctrl-C ends it and removes everything".dim()), foot);
}

fn servers(ledger: &Ledger, now: Instant) -> Table<'static> {
    let row = |health: &Health| {
        let Health { name, address, state, since, reason } = health;
        let answered = ledger.servers.get(name).copied().unwrap_or(0);
        Row::new([
            Span::from(name.clone()),
            Span::from(address.clone()),
            Span::styled(state.clone(), Style::new().fg(color(state))),
            Span::from(format!("{:.1} s", (now - *since).as_secs_f64())),
            Span::from(answered.to_string()),
            Span::from(reason.clone()),
        ])
    };
    let widths = [
        Constraint::Length(6),
        Constraint::Length(18),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Min(10),
    ];
    let head = ["server", "address", "health", "since", "connects", "reason"];
    Table::new(ledger.backends.iter().map(row).collect::<Vec<_>>(), widths)
        .header(Row::new(head).dim())
        .block(Block::bordered().title("backends"))
}

fn counts(ledger: &Ledger) -> Paragraph<'static> {
    let failover = match ledger.last_failover() {
        None => "none yet".to_owned(),
        Some((fault, time)) => format!(
            "{} after the {} of {}, {} failed",
            ms(time),
            fault.kind.label(),
            fault.victim,
            fault.failed
        ),
    };
    let lines = vec![
        Line::from(format!("connects/s     {}", ledger.per_second())),
        Line::from(format!("failed         {} of {}", ledger.failed, ledger.ok + ledger.failed)),
        Line::from(format!("last failover  {failover}")),
    ];
    Paragraph::new(lines).block(Block::bordered().title("a client in a loop"))
}

fn story(ledger: &Ledger, height: usize) -> Paragraph<'static> {
    let first = ledger.news.len().saturating_sub(height);
    let line = |(at, news): &(_, String)| Line::from(format!("{:6.2} s  {news}", seconds(*at)));
    let lines: Vec<_> = ledger.news[first..].iter().map(line).collect();
    Paragraph::new(lines).block(Block::bordered().title("what happened"))
}

fn seconds(at: std::time::Duration) -> f64 {
    at.as_secs_f64()
}

fn color(state: &str) -> Color {
    match state {
        "healthy" => Color::Green,
        "unhealthy" => Color::Red,
        _ => Color::Yellow,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::backend::TestBackend;

    use super::super::ledger::Kind;
    use super::*;

    #[test]
    fn the_screen_shows_backends_counts_and_what_happened() {
        let start = Instant::now();
        let mut ledger = Ledger::new(start);
        let health = Health {
            name: "cp0".to_owned(),
            address: "10.86.0.11:6443".to_owned(),
            state: "unhealthy".to_owned(),
            since: start,
            reason: "refused".to_owned(),
        };
        ledger.look(start, vec![health]);
        ledger.strike(start, Kind::Crash, "cp0");
        ledger.faults[0].failover = Some(Duration::from_micros(900));
        let mut terminal = Terminal::new(TestBackend::new(80, 20)).expect("a terminal");
        terminal.draw(|frame| draw(frame, &ledger, start)).expect("drawn");
        let text = terminal.backend().to_string();
        for wanted in
            ["10.86.0.11:6443", "unhealthy", "refused", "0.9 ms after the crash of cp0", "0.00 s"]
        {
            assert!(text.contains(wanted), "no {wanted} in\n{text}");
        }
    }
}
