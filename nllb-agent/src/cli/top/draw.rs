//! One screen of `nllb top`, from what is known and the size of the terminal.
//!
//! Plain lines, no boxes: every column of a small terminal shows something, and a copy of the screen can
//! be pasted into a ticket.

use super::model::Model;
use crate::cli::events::Told;
use crate::cli::paint::{Tone, tone};
use crate::cli::status::table::{age, broken, micros, remarks, shortened, verdict, vip};
use crate::status::{Backend, GuestState, Sandboxes, Status};
use crate::units::millis;
use nllb_common::maps::VipOutcome;
use ratatui::Frame;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use std::time::Duration;

/// Below this nothing can be made out.
const SMALLEST: (u16, u16) = (60, 12);
/// Levels of the graph.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A graph whose tallest round trip is below this does not fill its row: the rest is noise.
const TALLEST_US: u64 = 1_000;
/// Seconds of a column of the graph.
const SLOT: u64 = nllb_core::rtt::RTT_SLOT.as_secs();

/// Draws it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, colour: bool) {
    let area = frame.area();
    let lines =
        Page { model, colour, width: usize::from(area.width) }.lines(area.width, area.height);
    frame.render_widget(Text::from(lines), area);
}

struct Page<'a> {
    model: &'a Model,
    colour: bool,
    width: usize,
}

impl Page<'_> {
    fn lines(&self, width: u16, height: u16) -> Vec<Line<'static>> {
        let (least_width, least_height) = SMALLEST;
        if width < least_width || height < least_height {
            let asks = format!(
                "{width}x{height} is too small: nllb top wants {least_width}x{least_height}"
            );
            return vec![self.title(), self.plain(&asks)];
        }
        let mut lines = vec![self.title()];
        let Some(status) = self.model.status() else {
            lines.push(self.plain("waiting for an agent; q quits"));
            return lines;
        };
        lines.push(self.plain(&self.numbers(status)));
        lines.extend(self.vip(status));
        lines.extend(self.guests(status));
        lines.push(Line::default());
        let height = usize::from(height);
        lines.extend(self.table(height / 2));
        lines.push(Line::default());
        lines.extend(self.details());
        lines.push(Line::default());
        lines.push(self.heading("WHAT HAPPENED"));
        let room = (height - 1).saturating_sub(lines.len());
        lines.extend(self.entries(room));
        lines.resize(height - 1, Line::default());
        lines.push(self.dim("q quit   ↑ ↓ or k j: another backend"));
        lines
    }

    /// The verdict, or that there is nobody to ask.
    fn title(&self) -> Line<'static> {
        if let Some((reason, old)) = self.model.absence() {
            let old = old.map(|age| format!(", this is {} old", short(age))).unwrap_or_default();
            let line = shortened(&format!("no answer{old}: {reason}"), self.width);
            return Line::styled(line, self.style(Some(Tone::Bad)).add_modifier(Modifier::BOLD));
        }
        let Some(status) = self.model.status() else { return self.plain("nllb top") };
        let tone = tone(status.verdict.state.label());
        let style = self.style(tone).add_modifier(Modifier::BOLD);
        Line::styled(verdict(status, self.width), style)
    }

    fn numbers(&self, status: &Status) -> String {
        let rate = |labels: &[&str]| match self.model.rate(labels) {
            Some(rate) => format!("{rate:.1}/s"),
            None => "-".to_owned(),
        };
        format!(
            "connects {}  failed {}  in panic {}  closed {}  lease {}  up {}",
            rate(&["translated", "panic", "node_address_moved"]),
            rate(&["connect_reset", "connect_aborted", "refused"]),
            rate(&["panic"]),
            rate(&["closed"]),
            age(status.lease.remaining_ms),
            age(status.agent.uptime_ms),
        )
    }

    /// Who answers for the control-plane VIP, and where its packets go.
    fn vip(&self, status: &Status) -> Vec<Line<'static>> {
        let Some(vip) = &status.vip else { return Vec::new() };
        let rate = |labels: &[VipOutcome]| {
            let labels: Vec<_> = labels.iter().map(|one| one.label()).collect();
            self.model.packets(&labels).map_or("-".to_owned(), |rate| format!("{rate:.1}/s"))
        };
        let owner = vip::owner(status.vip_ownership.as_ref());
        let owner = owner.unwrap_or_else(|| format!("by {}", vip.ownership));
        let (serving, all) = vip::serving(status, vip);
        let (addresses, place) = (vip::addresses(vip), vip::place(vip));
        let here = rate(&[VipOutcome::Local]);
        let others = rate(&[VipOutcome::Forwarded, VipOutcome::SecondChance]);
        let dropped = rate(&VipOutcome::DROPPED);
        vec![
            self.plain(&format!("vip {addresses}  {owner}  members {serving} of {all}  {place}")),
            self.plain(&format!("    packets here {here}  to others {others}  dropped {dropped}")),
        ]
    }

    /// The interfaces of guests, those with trouble first.
    fn guests(&self, status: &Status) -> Option<Line<'static>> {
        let Sandboxes { interfaces, problem, .. } = status.sandboxes.as_ref()?;
        let flows = self.model.guest_flows();
        let flows = flows.map_or("-".to_owned(), |rate| format!("{rate:.1}/s"));
        let mut sorted: Vec<_> = interfaces.iter().map(|it| (it.state(), it)).collect();
        sorted.sort_by_key(|(state, it)| (*state == GuestState::Served, &it.name));
        let names = sorted.into_iter().map(|(state, it)| match state {
            GuestState::Served => it.name.clone(),
            GuestState::OneWay | GuestState::Failed => format!("{} ({})", it.name, state.label()),
        });
        let names = names.collect::<Vec<_>>().join(", ");
        let names = if names.is_empty() { "no interface now" } else { &names };
        let line = match problem {
            Some(problem) => format!("guests not served: {problem}"),
            None => format!("guests flows {flows}  on {names}"),
        };
        Some(self.plain(&line))
    }

    /// The backends around the selected one, at most so many rows.
    fn table(&self, most: usize) -> Vec<Line<'static>> {
        let backends = self.model.backends();
        let longest = |backend: &Backend| backend.address.to_string().len();
        let addresses = backends.iter().map(|(_, backend)| longest(backend)).max().unwrap_or(0);
        let addresses = addresses.clamp("BACKEND".len(), self.longest_address());
        let fixed =
            cells(addresses, ["BACKEND", "STATE", "SINCE", "RTT", "CONN/S", "ACTIVE", "FAILS"]);
        let room = self.width.saturating_sub(fixed.chars().count() + 1);
        let graphs: Vec<Vec<Option<u64>>> = backends
            .iter()
            .map(|(pool, backend)| self.model.round_trips(pool, backend, room))
            .collect();
        let tallest = graphs.iter().flatten().flatten().copied().max().unwrap_or(0).max(TALLEST_US);
        let of = u64::try_from(room).unwrap_or(0) * SLOT * 1000;
        let legend = shortened(&format!("RTT to {}, {}", micros(tallest), age(of)), room);
        let mut lines = vec![self.heading(&format!("{fixed} {legend}"))];
        let most = most.max(2) - 1;
        let first = (self.model.selected() + 1).saturating_sub(most);
        for (index, ((_, backend), graph)) in backends.iter().zip(&graphs).enumerate() {
            if (first..first + most).contains(&index) {
                let is_selected = index == self.model.selected();
                lines.push(self.row(backend, addresses, &bars(graph, tallest, room), is_selected));
            }
        }
        lines
    }

    fn row(
        &self,
        backend: &Backend,
        addresses: usize,
        graph: &str,
        selected: bool,
    ) -> Line<'static> {
        let none = || "-".to_owned();
        let evidence = backend.evidence.as_ref();
        let text = cells(
            addresses,
            [
                &shortened(&backend.address.to_string(), addresses),
                &backend.state,
                &age(backend.state_age_ms),
                &backend.rtt_us.map_or_else(none, micros),
                &self.model.established(backend).map_or_else(none, |rate| format!("{rate:.1}")),
                &evidence.map_or_else(none, |evidence| evidence.active.to_string()),
                &evidence.map_or_else(none, |evidence| evidence.fail_streak.to_string()),
            ],
        );
        let mut style = self.style(tone(&backend.state));
        if selected {
            style = style.add_modifier(Modifier::REVERSED);
        }
        Line::from(vec![Span::styled(text, style), Span::raw(format!(" {graph}"))])
    }

    /// What a row cannot say of the selected backend.
    fn details(&self) -> Vec<Line<'static>> {
        let backends = self.model.backends();
        let Some((pool, backend)) = backends.get(self.model.selected()) else { return Vec::new() };
        let version = backend.version.as_deref().unwrap_or("of unknown version");
        let mut said =
            vec![format!("of pool {pool}, {version}, sentinel {}", backend.sentinel.state)];
        let remarks = remarks(backend);
        said.push(if remarks.is_empty() { backend.reason.clone() } else { remarks.join("; ") });
        let said = said.into_iter().map(|line| format!("{}: {line}", backend.address));
        said.map(|line| self.plain(&line)).collect()
    }

    /// The newest of the journal in so many rows: how long ago, what, of whom, and the rest broken at words, since
    /// cause and duration are worth a second row.
    fn entries(&self, room: usize) -> Vec<Line<'static>> {
        let shown: Vec<_> = self.model.entries().take(room).collect();
        let widest = |text: fn(&Told) -> &str| {
            let widths = shown.iter().map(|(_, told)| text(told).chars().count());
            widths.max().unwrap_or(0).min(self.longest_address())
        };
        let (what, whose) = (widest(|told| &told.what), widest(|told| &told.whose));
        let fixed = "12.3s".len() + what + whose + 3;
        let left = self.width.saturating_sub(fixed);
        let mut lines = Vec::new();
        for (ago, told) in shown {
            let who = shortened(&told.whose, whose);
            let word = shortened(&told.what, what);
            let mut start = format!("{:>5} {word:<what$} {who:<whose$} ", short(ago));
            for text in broken(&told.text, left, left) {
                lines.push(self.plain(&format!("{start}{text}")));
                start = " ".repeat(fixed);
            }
        }
        lines.truncate(room);
        lines
    }

    /// What a terminal of this width has room for.
    const fn longest_address(&self) -> usize {
        if self.width < 100 { 24 } else { 48 }
    }

    fn heading(&self, text: &str) -> Line<'static> {
        Line::styled(shortened(text, self.width), Style::new().add_modifier(Modifier::BOLD))
    }

    fn dim(&self, text: &str) -> Line<'static> {
        Line::styled(shortened(text, self.width), Style::new().add_modifier(Modifier::DIM))
    }

    fn plain(&self, text: &str) -> Line<'static> {
        Line::raw(shortened(text, self.width))
    }

    fn style(&self, tone: Option<Tone>) -> Style {
        let colour = tone.filter(|_| self.colour).map(|tone| match tone {
            Tone::Good => Color::Green,
            Tone::Warning => Color::Yellow,
            Tone::Bad => Color::Red,
        });
        colour.map_or_else(Style::new, |colour| Style::new().fg(colour))
    }
}

/// The columns left of the graph.
fn cells(addresses: usize, cells: [&str; 7]) -> String {
    let [address, state, since, rtt, rate, active, fails] = cells;
    format!("{address:<addresses$} {state:<9} {since:<5} {rtt:>7} {rate:>6} {active:>6} {fails:>5}")
}

/// A graph that ends at the right; a dot where there was no round trip.
fn bars(round_trips: &[Option<u64>], tallest: u64, room: usize) -> String {
    let bar = |us: &Option<u64>| match us {
        Some(us) => {
            let level = us.saturating_mul(7) / tallest.max(1);
            LEVELS[usize::try_from(level).unwrap_or(7).min(7)]
        }
        None => '·',
    };
    let bars: String = round_trips.iter().map(bar).collect();
    format!("{bars:>room$}")
}

fn short(duration: Duration) -> String {
    age(millis(duration))
}

#[cfg(test)]
mod tests;
