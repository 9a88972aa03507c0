//! `intakt top`: what a run is doing, while it does.

use std::time::Duration;

use intakt_pipelines::PipelineError;
use intakt_pipelines::sources::{Clock, SystemClock};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::Outcome;
use crate::cli::TopArgs;
use crate::terminal;
use crate::top::{Found, View, look};

/// How often the screen is drawn again: twice as often as the file is written.
const DRAWN_EVERY: Duration = Duration::from_millis(500);

/// Shows the run in `args.run` until it is told to stop.
pub(crate) fn run(args: &TopArgs) -> Result<Outcome, PipelineError> {
    if !terminal::shows() {
        let refusal = "cannot draw: standard output is no terminal\n  hint: the same figures are in DIR/status.json";
        return Err(PipelineError::Refused(refusal.to_owned()));
    }
    // A directory that is no run's is more likely a slip than a run that is yet to start.
    if let Found::None(reason) = look(&args.run) {
        return Err(PipelineError::Refused(reason));
    }
    let shown = ratatui::try_init().and_then(|mut screen| {
        let shown = show(&mut screen, args);
        ratatui::try_restore()?;
        shown
    });
    let broken = |error| PipelineError::Refused(format!("cannot draw on this terminal: {error}"));
    shown.map(|()| Outcome::Passed).map_err(broken)
}

fn show(screen: &mut ratatui::DefaultTerminal, args: &TopArgs) -> std::io::Result<()> {
    let mut first_camera = 0;
    loop {
        let view = View {
            found: look(&args.run),
            now_us: SystemClock.now_us(),
            first_camera,
        };
        screen.draw(|frame| view.draw(frame.area(), frame.buffer_mut()))?;
        if !event::poll(DRAWN_EVERY)? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue };
        match step(key) {
            Step::Quit => return Ok(()),
            Step::Up => first_camera = first_camera.saturating_sub(1),
            Step::Down => first_camera = (first_camera + 1).min(view.cameras().saturating_sub(1)),
            Step::Stay => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Quit,
    Up,
    Down,
    Stay,
}

fn step(key: KeyEvent) -> Step {
    if key.kind == KeyEventKind::Release {
        return Step::Stay;
    }
    match key.code {
        KeyCode::Char('q') => Step::Quit,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Step::Quit,
        KeyCode::Up | KeyCode::Char('k') => Step::Up,
        KeyCode::Down | KeyCode::Char('j') => Step::Down,
        _ => Step::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_and_control_c_quit_and_arrows_move() {
        let pressed = |code, modifiers| step(KeyEvent::new(code, modifiers));
        assert_eq!(pressed(KeyCode::Char('q'), KeyModifiers::NONE), Step::Quit);
        assert_eq!(pressed(KeyCode::Char('c'), KeyModifiers::CONTROL), Step::Quit);
        assert_eq!(pressed(KeyCode::Char('c'), KeyModifiers::NONE), Step::Stay);
        assert_eq!(pressed(KeyCode::Down, KeyModifiers::NONE), Step::Down);
        assert_eq!(pressed(KeyCode::Up, KeyModifiers::NONE), Step::Up);
    }
}
