//! Draws a view. What is on the screen depends on the view and the size alone.

use intakt_operators::dataflow::{Alert, Rate, Scope, WINDOWS_US, Window};
use intakt_pipelines::sinks::{CameraStatus, LiveStatus, RunState, StageStatus};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::{Found, View};

/// Age from which a status is old: it is written every second.
const OLD_US: u64 = 5_000_000;

/// Rows that stages and rates take at most, with their header: as many stages as there are.
const LOWER_ROWS_MAX: u16 = 9;

/// Fewer rows than this for cameras, and there is no room for stages and rates.
const CAMERA_ROWS_MIN: u16 = 4;

/// Columns of camera names, and of everything before the rates.
const NAME_COLUMNS: usize = 17;
const STAGE_COLUMNS: u16 = 42;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const LOUD: Style = Style::new().add_modifier(Modifier::REVERSED);

impl View {
    /// Draws the view within `area`.
    pub(crate) fn draw(&self, area: Rect, buffer: &mut Buffer) {
        let mut page = Page { area, buffer };
        let status = match &self.found {
            Found::Status(status) => status,
            Found::None(reason) => {
                let lines = (0..).zip(reason.lines().chain(["q quits"]));
                return lines.for_each(|(row, line)| page.write(row, 0, line, BOLD));
            }
        };
        page.write(
            0,
            0,
            &headline(status, self.now_us),
            headline_style(status, self.now_us),
        );
        page.write(1, 0, &time_line(status), Style::new());
        if let Some(line) = alert_line(status) {
            page.write(2, 0, &line, LOUD);
        }
        let first = self.first_camera.min(status.cameras.len().saturating_sub(1));
        let (top, footer) = (3, area.height.saturating_sub(1));
        let lower_rows = lower_rows(status, footer.saturating_sub(top));
        let room = footer.saturating_sub(top + 2 + lower_rows);
        let shown = cameras(&mut page, top, room, first, status);
        if lower_rows > 0 {
            let below = top + 3 + shown;
            stages(&mut page, below, lower_rows - 1, &status.stages);
            rates(&mut page, below, lower_rows - 1, first, status);
        }
        page.write(footer, 0, &foot_line(status, first, usize::from(shown)), DIM);
    }
}

/// Rows of stages and rates with a blank one before them, if there is room.
fn lower_rows(status: &LiveStatus, room: u16) -> u16 {
    let longest = status.stages.len().max(status.rates.len()) as u16;
    let rows = 1 + longest.saturating_add(1).min(LOWER_ROWS_MAX);
    if room >= rows + 2 + CAMERA_ROWS_MIN.min(status.cameras.len() as u16) {
        rows
    } else {
        0
    }
}

fn age_us(status: &LiveStatus, now_us: u64) -> u64 {
    now_us.saturating_sub(status.said_at_us)
}

fn is_old(status: &LiveStatus, now_us: u64) -> bool {
    !status.state.is_over() && age_us(status, now_us) > OLD_US
}

fn headline(status: &LiveStatus, now_us: u64) -> String {
    let age = duration(age_us(status, now_us));
    if is_old(status, now_us) {
        return format!("OLD: the run last said something {age} ago; it was killed, or hangs");
    }
    match status.state {
        RunState::Starting => "the run is starting".to_owned(),
        RunState::Running => "running".to_owned(),
        RunState::Ending => "ending: frames under way are still judged".to_owned(),
        RunState::Ended => format!("ENDED {age} ago: these are its last figures"),
        RunState::Interrupted => format!("INTERRUPTED {age} ago: with `--resume` it goes on"),
    }
}

fn headline_style(status: &LiveStatus, now_us: u64) -> Style {
    match status.state {
        RunState::Ended | RunState::Interrupted => LOUD,
        _ if is_old(status, now_us) => LOUD,
        _ => BOLD,
    }
}

fn time_line(status: &LiveStatus) -> String {
    let lag = match status.frontier_lag_seconds {
        None => "–".to_owned(),
        Some(lag @ ..1_000.0) => format!("{lag:.1} s"),
        // The log stands still.
        Some(lag) => duration((lag * 1e6) as u64),
    };
    let waiting: u64 = status.cameras.iter().map(|camera| camera.waiting).sum();
    format!("log {lag} behind   {} frames under way", short(waiting))
}

/// The alerts that are open, as far as a line goes.
fn alert_line(status: &LiveStatus) -> Option<String> {
    let one = |alert: &Alert| match &alert.scope {
        Scope::Camera(name) | Scope::Line(name) => format!("{} ({name})", alert.rule),
        Scope::All => alert.rule.to_string(),
    };
    let all: Vec<String> = status.alerts.iter().map(one).collect();
    (!all.is_empty()).then(|| format!("ALERT {}: {}", all.len(), all.join(", ")))
}

fn foot_line(status: &LiveStatus, first: usize, shown: usize) -> String {
    let in_trouble = status.cameras.iter().find_map(|camera| {
        let trouble = camera.last_trouble.as_ref().filter(|trouble| !trouble.over)?;
        Some(format!("! {}: {}", camera.camera, trouble.reason))
    });
    let place = match status.cameras.len() {
        all if all > shown => format!("↑↓ cameras {}–{} of {all}   ", first + 1, first + shown),
        _ => String::new(),
    };
    format!("q quits   {place}{}", in_trouble.unwrap_or_default())
}

/// Writes the table of cameras into two rows and `room` further ones, and says how many of these it took.
fn cameras(page: &mut Page<'_>, top: u16, room: u16, first: usize, status: &LiveStatus) -> u16 {
    let header = format!(
        "{:NAME_COLUMNS$}{:>9}{:>9}{:>9}{:>8}{:>8}{:>8}{:>10}",
        "camera", "captured", "judged", "rejected", "unread.", "dropped", "waiting", "1 min rej"
    );
    page.write(top, 0, &header, BOLD);
    let all = sum(&status.cameras);
    page.write(top + 1, 0, &format!("all {}", status.cameras.len()), Style::new());
    page.write(top + 1, NAME_COLUMNS as u16, &figures(&all, None), Style::new());
    let shown = status.cameras.iter().skip(first).take(usize::from(room));
    let mut rows = 0;
    for camera in shown {
        let (row, style) = (top + 2 + rows, if is_in_trouble(camera) { LOUD } else { Style::new() });
        page.write_within(row, 0, NAME_COLUMNS - 1, &camera.camera, style);
        page.write(
            row,
            NAME_COLUMNS as u16,
            &figures(camera, last_minute(status, camera)),
            Style::new(),
        );
        rows += 1;
    }
    rows
}

fn is_in_trouble(camera: &CameraStatus) -> bool {
    camera.last_trouble.as_ref().is_some_and(|trouble| !trouble.over)
}

fn figures(camera: &CameraStatus, last_minute: Option<f64>) -> String {
    format!(
        "{:>9}{:>9}{:>9}{:>8}{:>8}{:>8}{:>10}",
        short(camera.captured),
        short(camera.judged),
        short(camera.rejected),
        short(camera.unreadable),
        short(camera.dropped_total()),
        short(camera.waiting),
        percent(last_minute)
    )
}

fn sum(cameras: &[CameraStatus]) -> CameraStatus {
    let mut all = CameraStatus::default();
    for camera in cameras {
        all.captured += camera.captured;
        all.judged += camera.judged;
        all.rejected += camera.rejected;
        all.unreadable += camera.unreadable;
        all.dropped.extend(&camera.dropped);
        all.waiting += camera.waiting;
    }
    all
}

fn last_minute(status: &LiveStatus, camera: &CameraStatus) -> Option<f64> {
    let minute = Window::Sliding {
        length_us: WINDOWS_US[0],
    };
    let of_camera = |rate: &&Rate| {
        let its = matches!(&rate.key.scope, Scope::Camera(name) if *name == camera.camera);
        its && rate.key.window == minute
    };
    status.rates.iter().find(of_camera)?.after.reject_rate()
}

fn stages(page: &mut Page<'_>, top: u16, rows: u16, stages: &[StageStatus]) {
    let header = format!("{:11}{:>9}{:>10}{:>10}", "stage", "runs", "p50 ms", "p99 ms");
    page.write(top, 0, &header, BOLD);
    for (row, stage) in (top + 1..top + rows).zip(stages) {
        let millis = |micros: u64| format!("{:.2}", micros as f64 / 1e3);
        page.write_within(row, 0, 10, &stage.stage, Style::new());
        let figures = format!(
            "{:>9}{:>10}{:>10}",
            short(stage.count),
            millis(stage.micros_p50),
            millis(stage.micros_p99)
        );
        page.write(row, 11, &figures, Style::new());
    }
}

/// Those of all and of lines first, then those of the cameras from the first one that is shown.
fn rates(page: &mut Page<'_>, top: u16, rows: u16, first: usize, status: &LiveStatus) {
    let header = format!("{:13}{:>8}{:>8}{:>9}", "rates", "window", "frames", "rejects");
    page.write(top, STAGE_COLUMNS, &header, BOLD);
    let from = status.cameras.get(first).map(|camera| &camera.camera);
    let wide = status
        .rates
        .iter()
        .filter(|rate| !matches!(rate.key.scope, Scope::Camera(_)));
    let of_cameras = status.rates.iter().filter(|rate| match &rate.key.scope {
        Scope::Camera(name) => from.is_none_or(|from| name >= from),
        _ => false,
    });
    for (row, rate) in (top + 1..top + rows).zip(wide.chain(of_cameras)) {
        page.write_within(row, STAGE_COLUMNS, 12, &rate.key.scope.to_string(), Style::new());
        let window = rate.key.window.to_string();
        let frames = short(rate.after.frames.unsigned_abs());
        let figures = format!("{window:>8.8}{frames:>8}{:>9}", percent(rate.after.reject_rate()));
        page.write(row, STAGE_COLUMNS + 13, &figures, Style::new());
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or("–".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// At most seven characters.
fn short(count: u64) -> String {
    match count {
        0..10_000_000 => count.to_string(),
        10_000_000..10_000_000_000 => format!("{:.1}M", count as f64 / 1e6),
        _ => format!("{:.1}G", count as f64 / 1e9),
    }
}

fn duration(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

/// What is drawn on. What does not fit is left out.
struct Page<'a> {
    area: Rect,
    buffer: &'a mut Buffer,
}

impl Page<'_> {
    fn write(&mut self, row: u16, column: u16, text: &str, style: Style) {
        self.write_within(row, column, usize::MAX, text, style);
    }

    fn write_within(&mut self, row: u16, column: u16, columns: usize, text: &str, style: Style) {
        if row < self.area.height && column < self.area.width {
            let columns = columns.min(usize::from(self.area.width - column));
            let (x, y) = (self.area.x + column, self.area.y + row);
            self.buffer.set_stringn(x, y, text, columns, style);
        }
    }
}
