//! The cameras of a recording, as they were.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use intakt_operators::dataflow::{ArrivedLabel, Control};
use intakt_operators::{Frame, Stamp};

use super::seq_set::SeqSet;
use super::{Next, STOP_WAIT_MAX, Source, StopFlag};
use crate::PipelineError;
use crate::recording::{Played, PlayedEvents, RecordedEvent, Recording};

/// Events of a camera that were read ahead of it. Cameras do not wait for each other in a replay, only for the dataflow, so
/// a camera whose queue is full holds the others no longer than its next frame takes.
const READ_AHEAD: usize = 4;

/// Part of a recording, and how fast.
#[derive(Clone, Debug, Default)]
pub struct ReplayOptions {
    /// The cameras to replay; none: all.
    pub cameras: Option<Vec<Arc<str>>>,
    /// Frames that entered before this are left out, microseconds.
    pub from_us: Option<u64>,
    /// Frames that entered at this or later are left out, microseconds.
    pub to_us: Option<u64>,
    /// Event time per wall time; none: as fast as the machine allows.
    pub speed: Option<f64>,
}

/// What was wrong with a recording that was replayed to its end, or as far as it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayNotes {
    /// What is missing, in the order of the recording: cuts, and frames that the recorder could not write.
    pub gaps: Vec<String>,
    /// Why the rest could not be read.
    pub failure: Option<String>,
}

/// Turns a recorded change of threshold or detector into one of the camera's setups; none: it is not to be repeated.
pub type OnChange = Arc<dyn Fn(&RecordedEvent) -> Result<Option<u32>, String> + Send + Sync>;

/// A camera of a recording. Its frames enter when they entered then, and its drops are told again.
pub struct RecordedSource {
    camera: Arc<str>,
    events: Receiver<Next>,
    skip_to: u64,
}

/// Handle to what is found out while a recording is read.
#[derive(Clone, Default)]
pub struct ReplayLog(Arc<Mutex<ReplayNotes>>);

impl ReplayLog {
    /// What was found so far.
    pub fn notes(&self) -> ReplayNotes {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, note: impl FnOnce(&mut ReplayNotes)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The cameras of `recording` that `options` asks for. One thread reads it once for all of them, in the order in which it was
/// recorded, until `stop` is set.
///
/// # Errors
/// Where a camera is asked for that is not in the recording, or the system gives no thread.
pub fn recorded_cameras(
    recording: &Recording,
    options: ReplayOptions,
    on_change: OnChange,
    stop: &StopFlag,
) -> Result<(Vec<RecordedSource>, ReplayLog), PipelineError> {
    let all: Vec<Arc<str>> = recording.cameras().keys().cloned().collect();
    let asked = options.cameras.clone().unwrap_or_else(|| all.clone());
    if let Some(unknown) = asked.iter().find(|camera| !all.contains(camera)) {
        return Err(PipelineError::Refused(format!(
            "cannot replay camera \"{unknown}\": the recording has {}",
            all.iter()
                .map(|camera| format!("\"{camera}\""))
                .collect::<Vec<_>>()
                .join(", ")
        )));
    }
    let (mut outlets, mut sources) = (BTreeMap::new(), Vec::new());
    for camera in all.into_iter().filter(|camera| asked.contains(camera)) {
        let (outlet, events) = bounded(READ_AHEAD);
        outlets.insert(camera.clone(), outlet);
        sources.push(RecordedSource {
            camera,
            events,
            skip_to: 0,
        });
    }
    let log = ReplayLog::default();
    let mut player = Player {
        outlets,
        options,
        on_change,
        stop: stop.clone(),
        log: log.clone(),
        begun: None,
        labels: 0,
        at_beginning: true,
        played: BTreeMap::new(),
    };
    let events = recording.events();
    thread::Builder::new()
        .name("replay".to_owned())
        .spawn(move || player.play(events))
        .map_err(|error| PipelineError::Refused(format!("cannot start a thread: {error}")))?;
    Ok((sources, log))
}

/// Deals the events of a recording to its cameras.
struct Player {
    outlets: BTreeMap<Arc<str>, Sender<Next>>,
    options: ReplayOptions,
    on_change: OnChange,
    stop: StopFlag,
    log: ReplayLog,
    /// The first event's time, and when it was played.
    begun: Option<(u64, Instant)>,
    /// Labels that were told.
    labels: u64,
    /// Whether only the detectors that cameras began with were read.
    at_beginning: bool,
    /// By camera, the frames that were dealt: after a restart some are recorded for the second time.
    played: BTreeMap<Arc<str>, SeqSet>,
}

impl Player {
    fn play(&mut self, events: PlayedEvents) {
        for played in events {
            match played {
                Ok(Played::Event(event)) => self.event(event),
                Ok(Played::Cut { file, at_byte }) => {
                    let gap = format!(
                        "\"{}\" was cut at byte {at_byte}: what followed is lost",
                        file.display()
                    );
                    self.log.note(|notes| notes.gaps.push(gap));
                }
                Err(error) => self.log.note(|notes| notes.failure = Some(error.to_string())),
            }
            if self.stop.is_stopped() || self.outlets.is_empty() {
                return;
            }
        }
    }

    fn event(&mut self, event: RecordedEvent) {
        self.at_beginning &= matches!(event, RecordedEvent::Detector { .. });
        if self.at_beginning {
            return;
        }
        match event {
            RecordedEvent::Frame { frame, time_us, low_us } => {
                let recorded = Some(Stamp { time_us, low_us });
                let camera = frame.camera.clone();
                if !self.played.entry(camera.clone()).or_default().insert(frame.seq) {
                    return;
                }
                self.deal(&camera, time_us, Next::Frame(Frame { recorded, ..frame }));
            }
            RecordedEvent::Dropped {
                dropped,
                time_us,
                low_us,
            } => {
                let camera = dropped.camera.clone();
                if !self.played.entry(camera.clone()).or_default().insert(dropped.seq) {
                    return;
                }
                self.deal(&camera, time_us, Next::Dropped(dropped, Stamp { time_us, low_us }));
            }
            RecordedEvent::Missing { camera, frames, .. } if frames > 0 && self.outlets.contains_key(&camera) => {
                let gap = format!("{frames} frames of camera \"{camera}\" are missing: the disk was too slow for them");
                self.log.note(|notes| notes.gaps.push(gap));
            }
            RecordedEvent::Ended { camera } => drop(self.outlets.remove(&camera)),
            RecordedEvent::Missing { .. } => {}
            RecordedEvent::Label { label, time_us } => {
                let camera = label.camera.clone();
                let ordinal = self.labels;
                self.labels += 1;
                let label = Control::Label(ArrivedLabel { ordinal, label });
                self.deal(&camera, time_us, Next::Control(label, time_us));
            }
            RecordedEvent::Lot { camera, lot, time_us } => {
                self.deal(&camera, time_us, Next::Control(Control::LotStarted(lot), time_us));
            }
            RecordedEvent::Threshold { .. } | RecordedEvent::Detector { .. } => {
                let camera = event.camera().clone();
                match (self.on_change)(&event) {
                    Ok(Some(setup)) => {
                        let time_us = event.time_us().unwrap_or(0);
                        // It holds for later frames even where its own time is left out.
                        self.hand_over(&camera, Next::Control(Control::Setup(setup), time_us));
                    }
                    Ok(None) => {}
                    Err(reason) => {
                        self.log.note(|notes| notes.failure = Some(reason));
                        self.outlets.clear();
                    }
                }
            }
        }
    }

    fn deal(&mut self, camera: &Arc<str>, time_us: u64, next: Next) {
        let before = self.options.from_us.is_some_and(|from_us| time_us < from_us);
        let after = self.options.to_us.is_some_and(|to_us| time_us >= to_us);
        if before || after || !self.outlets.contains_key(camera) {
            return;
        }
        self.wait_for(time_us);
        self.hand_over(camera, next);
    }

    fn hand_over(&mut self, camera: &Arc<str>, next: Next) {
        let mut next = next;
        while let Some(outlet) = self.outlets.get(camera) {
            match outlet.send_timeout(next, STOP_WAIT_MAX) {
                Ok(()) => return,
                Err(SendTimeoutError::Timeout(unsent)) if !self.stop.is_stopped() => next = unsent,
                Err(_) => break,
            }
        }
        self.outlets.remove(camera);
    }

    /// Waits until an event of this time is due.
    fn wait_for(&mut self, time_us: u64) {
        let Some(speed) = self.options.speed else { return };
        let now = Instant::now();
        let (first_us, begun_at) = *self.begun.get_or_insert((time_us, now));
        let due_us = time_us.saturating_sub(first_us) as f64 / speed;
        let due = Duration::from_micros(due_us as u64);
        // A gap of more than a day is not waited for: sums of times must not overflow.
        let pause = due.saturating_sub(now.duration_since(begun_at));
        self.stop.wait(pause.min(Duration::from_secs(86_400)));
    }
}

impl Source for RecordedSource {
    fn camera(&self) -> &Arc<str> {
        &self.camera
    }

    fn is_live(&self) -> bool {
        false
    }

    fn resume_at(&mut self, seq: u64) {
        self.skip_to = seq;
    }

    fn next(&mut self, stop: &StopFlag) -> Next {
        while !stop.is_stopped() {
            match self.events.recv_timeout(STOP_WAIT_MAX / 4) {
                Ok(Next::Frame(frame)) if frame.seq < self.skip_to => {}
                Ok(Next::Dropped(dropped, _)) if dropped.seq < self.skip_to => {}
                Ok(next) => return next,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Next::Ended,
            }
        }
        Next::Ended
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::compliance::{Counter, Subject, Taken};
    use super::*;
    use crate::recording::{Recorder, RecorderOptions};

    #[test]
    fn a_recording_complies() {
        const FRAMES: u64 = 12;
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(dir.path(), RecorderOptions::default()).unwrap();
        for seq in 0..FRAMES {
            // Whoever replays it is told before the frame is read.
            recorder.record(RecordedEvent::Threshold {
                camera: "right".into(),
                threshold: 0.5,
                time_us: 1_000 * seq,
            });
            for camera in ["left", "right"] {
                let frame = Frame {
                    camera: camera.into(),
                    seq,
                    captured_at_us: 1_000 * seq,
                    origin: "".into(),
                    bytes: match seq {
                        3 => Err("the cable was out".into()),
                        _ => Ok(Arc::from([seq as u8])),
                    },
                    recorded: None,
                };
                let (time_us, low_us) = (1_000 * seq, 1_000 * seq);
                recorder.record(RecordedEvent::Frame { frame, time_us, low_us });
            }
        }
        recorder.finish();
        let recording = Recording::open(dir.path()).unwrap();
        let counter = Counter::default();
        let fresh = || {
            let counted = counter.anew();
            let on_change: OnChange = Arc::new(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            });
            let options = ReplayOptions {
                cameras: Some(vec!["right".into()]),
                ..ReplayOptions::default()
            };
            let cameras = recorded_cameras(&recording, options, on_change, &StopFlag::default());
            let (mut sources, _) = cameras.unwrap();
            Box::new(sources.remove(0)) as Box<dyn Source>
        };
        Subject {
            fresh: &fresh,
            frames: FRAMES,
            ends: true,
            replayable: true,
            broken: &[3],
            taken: Taken::Counted(&|| counter.count()),
            // The one that waits until there is space for it.
            ahead_max: READ_AHEAD as u64 + 1,
        }
        .complies();
    }
}
