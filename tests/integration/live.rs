//! Live cameras that misbehave, through the pipeline itself: nothing is lost, nobody waits, and a replay repeats it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use intakt_operators::dataflow::{Compared, Rate};
use intakt_operators::{Label, Outcome, Truth};
use intakt_pipelines::recording::{RecordedEvent, Recorder, RecorderOptions, Recording};
use intakt_pipelines::sinks::{Sink, outcome_json};
use intakt_pipelines::sources::{Next, OnChange, ReplayOptions, Source, StopFlag, recorded_cameras};
use intakt_pipelines::store::{Change, ChangeKind};
use intakt_pipelines::{Camera, Controls, Detectors, Figures, Inspection, Intake, RunOptions, inspect, load_detector};
use tempfile::tempdir;

use crate::cluster::{replay_in_two, write_hosts};
use crate::idle;
use crate::support::{INTAKT, Ran, SHARED, assert_same, intakt};
use crate::unruly::{FRAMES, Lines, Unruly, idle_images, run, unruly_cameras};

#[test]
fn a_recorded_run_is_replayed_byte_for_byte_whatever_the_machine() {
    let dir = tempdir().unwrap();
    let recorder = Arc::new(Recorder::start(dir.path(), RecorderOptions::default()).unwrap());
    let (outcomes, rates, report) = run(
        unruly_cameras(&idle_images()),
        idle::detector(),
        1,
        2,
        Some(recorder.clone()),
    );
    let account = recorder.finish();
    assert_eq!((account.frames_unwritten(), account.trouble), (0, None));
    assert_eq!(
        outcomes.len() as u64,
        3 * FRAMES,
        "every captured frame has one outcome"
    );
    let left = &report.cameras["left"];
    assert!(left.unreadable > 0 && left.judged > 0 && left.dropped == 0, "{left:?}");
    assert!(
        report.cameras["right"].dropped > 0 && report.cameras["top"].dropped > 0,
        "{report:?}"
    );
    let recording = Recording::open(dir.path()).unwrap();
    for (workers, pool, speed) in [
        (1, 1, None),
        (1, 2, None),
        (2, 1, None),
        (2, 2, Some(1_000.0)),
        (3, 1, None),
        (3, 2, Some(200.0)),
    ] {
        let options = ReplayOptions {
            speed,
            ..ReplayOptions::default()
        };
        let (sources, log) =
            recorded_cameras(&recording, options, Arc::new(|_| Ok(None)), &StopFlag::default()).unwrap();
        let cameras = sources.into_iter().map(|source| Camera {
            intake: Intake::REPLAY,
            ..Camera::from(source)
        });
        let (again, rates_again, _) = run(cameras.collect(), idle::detector(), workers, pool, None);
        assert_eq!(log.notes(), Default::default());
        assert!(again == outcomes, "{workers} workers, {pool} threads: other outcomes");
        assert!(rates_again == rates, "{workers} workers, {pool} threads: other rates");
    }
}

/// Records unruly cameras that a real detector looks at; returns the lines of the outcomes.
fn record_unruly(directory: &Path) -> String {
    let detector = load_detector(&SHARED.detector).unwrap();
    let name = format!("{}.intakt", detector.id());
    // These cameras wait for nobody: all that they send has room, however long the disk is busy.
    let options = RecorderOptions {
        buffer_bytes_max: 1 << 30,
        ..RecorderOptions::default()
    };
    let recorder = Arc::new(Recorder::start(directory, options).unwrap());
    fs::copy(&SHARED.detector, directory.join(&name)).unwrap();
    let images: Vec<Arc<[u8]>> = [&SHARED.normal, &SHARED.normal, &SHARED.blotted]
        .map(|image| fs::read(image).unwrap().into())
        .to_vec();
    let cameras = unruly_cameras(&images);
    let names: Vec<Arc<str>> = cameras.iter().map(|camera| camera.source.camera().clone()).collect();
    for camera in &names {
        recorder.record(RecordedEvent::Detector {
            camera: camera.clone(),
            detector: detector.id().clone(),
            path: name.as_str().into(),
            time_us: 0,
        });
    }
    let (outcomes, ..) = run(cameras, detector, 1, 2, Some(recorder.clone()));
    for camera in names {
        recorder.record(RecordedEvent::Ended { camera });
    }
    assert_eq!(recorder.finish().frames_unwritten(), 0);
    assert_eq!(outcomes.len() as u64, 3 * FRAMES);
    let lines = outcomes
        .iter()
        .map(|line| String::from_utf8_lossy(line).trim_end().to_owned() + "\n");
    lines.collect()
}

#[test]
fn two_processes_replay_an_unruly_run() {
    let dir = tempdir().unwrap();
    let (recording, hosts) = (dir.path().join("recording"), dir.path().join("hosts"));
    let expected = record_unruly(&recording);
    for (workers, pool, speed) in [
        ("1", "1", "max"),
        ("1", "2", "1000"),
        ("2", "1", "200"),
        ("3", "1", "max"),
    ] {
        write_hosts(&hosts);
        let more = ["--workers", workers, "--pool", pool, "--speed", speed];
        let [first, _] = replay_in_two(&recording, &hosts, &more);
        assert_same(&first.expect(1).stdout, &expected, &format!("2 processes, {more:?}"));
    }
}

#[test]
fn machines_replay_the_same_bytes() {
    let dir = tempdir().unwrap();
    let recording = dir.path().join("recording");
    let expected = record_unruly(&recording);
    for decision in ["pass", "reject", "unreadable", "dropped"] {
        assert!(
            expected.contains(&format!("\"decision\":\"{decision}\"")),
            "none is {decision}"
        );
    }
    for (workers, pool, speed) in [
        ("1", "1", "max"),
        ("1", "2", "10"),
        ("2", "1", "1000"),
        ("2", "2", "max"),
        ("3", "1", "max"),
        ("3", "2", "200"),
    ] {
        let more = ["--workers", workers, "--pool", pool, "--speed", speed];
        let ran = Ran::from(
            Command::new(INTAKT)
                .arg("replay")
                .arg(&recording)
                .args(more)
                .output()
                .unwrap(),
        );
        assert_same(&ran.expect(1).stdout, &expected, &format!("1 process, {more:?}"));
    }
    for (workers, pool, kills) in [("1", "2", [100, 40, 700]), ("3", "1", [1, 500, 300])] {
        let run = dir.path().join(format!("run-{workers}"));
        let mut replay = Command::new(INTAKT);
        replay.arg("replay").arg(&recording).arg("--run").arg(&run);
        replay.args(["--resume", "--workers", workers, "--pool", pool]);
        for after in kills {
            let mut child = replay.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert_eq!(lines.take(after).count(), after);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        Ran::from(replay.output().unwrap()).expect(1);
        let kept = intakt(&[&"query", &run, &"--show", &"outcomes"]).expect(0).stdout;
        assert_same(&kept, &expected, &format!("killed, {workers} workers"));
    }
}

#[test]
fn part_of_a_recording_can_be_replayed() {
    let dir = tempdir().unwrap();
    let recorder = Arc::new(Recorder::start(dir.path(), RecorderOptions::default()).unwrap());
    let (outcomes, ..) = run(
        unruly_cameras(&idle_images()),
        idle::detector(),
        1,
        1,
        Some(recorder.clone()),
    );
    recorder.finish();
    let recording = Recording::open(dir.path()).unwrap();
    let options = ReplayOptions {
        cameras: Some(vec!["left".into()]),
        from_us: Some(10_000_000),
        to_us: Some(20_000_000),
        speed: None,
    };
    let (sources, _) = recorded_cameras(&recording, options, Arc::new(|_| Ok(None)), &StopFlag::default()).unwrap();
    let cameras = sources.into_iter().map(Camera::from).collect();
    let (part, ..) = run(cameras, idle::detector(), 1, 1, None);
    assert!(
        (200..400).contains(&part.len()),
        "ten seconds of thirty frames: {}",
        part.len()
    );
    assert!(part.iter().all(|line| outcomes.contains(line)));
    let unknown = ReplayOptions {
        cameras: Some(vec!["bottom".into()]),
        ..ReplayOptions::default()
    };
    let refused = recorded_cameras(&recording, unknown, Arc::new(|_| Ok(None)), &StopFlag::default());
    let refused = refused.map(drop).unwrap_err().to_string();
    assert!(
        refused.contains("\"bottom\"") && refused.contains("\"left\", \"right\", \"top\""),
        "{refused}"
    );
}

/// Says things to the cameras when as many outcomes are known, and takes a threshold back when as many were rejected by it.
#[derive(Default)]
struct Says {
    controls: Mutex<Option<Controls>>,
    seen: Mutex<u64>,
    rejected: Mutex<u64>,
    /// The frame from which the threshold is taken back.
    planned: Mutex<Option<u64>>,
    changes: Mutex<Vec<Change>>,
}

impl Sink for Says {
    fn outcome(&self, _: u64, outcome: &Outcome) -> Result<(), String> {
        let mut seen = self.seen.lock().unwrap();
        *seen += 1;
        let controls = self.controls.lock().unwrap();
        let Some(controls) = controls.as_ref() else {
            return Ok(());
        };
        if is_rejected(&outcome_json(outcome).unwrap()) {
            let mut rejected = self.rejected.lock().unwrap();
            *rejected += 1;
            if *rejected == 50 {
                // Further than any frame that was let in by now.
                let at_seq = outcome.seq() + 200;
                controls.threshold("left", 20.0, Some(at_seq))?;
                *self.planned.lock().unwrap() = Some(at_seq);
            }
        }
        match *seen {
            400 => controls.threshold("left", 0.1, None).map(drop),
            700 => controls.lot("left", "L1".into()),
            1_200 => controls.lot("left", "L2".into()),
            said if said % 50 == 0 => {
                let label = Label {
                    camera: outcome.camera().clone(),
                    seq: outcome.seq(),
                    truth: Some(Truth::Normal),
                    captured_at_us: 0,
                };
                controls.label(said, label)
            }
            _ => Ok(()),
        }
    }

    fn change(&self, change: &Change) -> Result<(), String> {
        self.changes.lock().unwrap().push(change.clone());
        Ok(())
    }
}

fn is_rejected(line: &[u8]) -> bool {
    String::from_utf8_lossy(line).contains("\"decision\":\"reject\"")
}

/// A run in which labels correct rates and thresholds change, one of them at a frame that is given.
fn told(
    cameras: Vec<Camera>,
    detectors: Detectors,
    live: bool,
    workers: usize,
    recorder: Option<Arc<Recorder>>,
) -> (Lines, Vec<Change>, Option<u64>) {
    let (lines, says) = (Arc::new(Lines::default()), Arc::new(Says::default()));
    let detectors = Arc::new(detectors);
    if live {
        *says.controls.lock().unwrap() = Some(Controls::new(&cameras, Some(detectors.clone())));
    }
    let inspection = Inspection {
        recorder,
        figures: Figures::labelled(),
        ..Inspection::new(cameras, detectors, vec![lines.clone(), says.clone()])
    };
    inspect(inspection, &RunOptions::new(workers, 2).unwrap()).unwrap();
    let changes = says.changes.lock().unwrap().clone();
    let planned = *says.planned.lock().unwrap();
    (Arc::into_inner(lines).unwrap(), changes, planned)
}

#[test]
fn what_was_said_while_frames_came_is_replayed_at_the_same_frame() {
    let dir = tempdir().unwrap();
    let recorder = Arc::new(Recorder::start(dir.path(), RecorderOptions::default()).unwrap());
    let common = || Detectors::common(idle::detector());
    let (live, changes, planned) = told(
        unruly_cameras(&idle_images()),
        common(),
        true,
        1,
        Some(recorder.clone()),
    );
    assert_eq!((recorder.finish().frames_unwritten(), changes.len()), (0, 4));
    for line in live.outcomes.lock().unwrap().iter() {
        let verdict: serde_json::Value = serde_json::from_slice(line).unwrap();
        if let ("left", Some(threshold)) = (verdict["camera"].as_str().unwrap(), verdict["threshold"].as_f64()) {
            let seq = verdict["seq"].as_u64().unwrap();
            assert_eq!(
                threshold == 20.0,
                Some(seq) >= planned,
                "frame {seq} of {planned:?}: {threshold}"
            );
        }
    }
    assert!(live.outcomes.lock().unwrap().iter().any(|line| is_rejected(line)));
    let labelled = |rate: &&Rate| rate.after.confusion().tn > 0;
    assert!(live.rates.lock().unwrap().iter().any(|rate| labelled(&rate)));
    let recording = Recording::open(dir.path()).unwrap();
    for workers in [1, 2, 3] {
        let detectors = common();
        let setups = detectors.clone();
        let on_change: OnChange = Arc::new(move |event| match event {
            RecordedEvent::Threshold { camera, threshold, .. } => {
                let changed = setups.newest(camera, None).with_image_threshold(*threshold as f32)?;
                let kind = ChangeKind::Threshold(*threshold);
                Ok(Some(setups.add(camera, changed.into(), kind)))
            }
            _ => Ok(None),
        });
        let (sources, _) =
            recorded_cameras(&recording, ReplayOptions::default(), on_change, &StopFlag::default()).unwrap();
        let cameras = sources.into_iter().map(|source| Camera {
            intake: Intake::REPLAY,
            ..Camera::from(source)
        });
        let (again, changes_again, _) = told(cameras.collect(), detectors, false, workers, None);
        assert!(
            *again.outcomes.lock().unwrap() == *live.outcomes.lock().unwrap(),
            "{workers} workers: other outcomes"
        );
        assert!(
            *again.rates.lock().unwrap() == *live.rates.lock().unwrap(),
            "{workers} workers: other rates"
        );
        assert_eq!(changes_again, changes);
    }
}

#[test]
fn a_shadow_is_compared_on_every_frame_and_decides_nothing() {
    struct Differ(Mutex<Vec<(Arc<str>, u64)>>);
    impl Sink for Differ {
        fn disagreement(&self, compared: &Compared) -> Result<(), String> {
            let verdict = &compared.verdict;
            self.0.lock().unwrap().push((verdict.camera.clone(), verdict.seq));
            Ok(())
        }
    }
    for workers in [1, 3] {
        let differ = Arc::new(Differ(Mutex::default()));
        let cameras = vec![idle_camera("one", 30), idle_camera("two", 20)];
        let inspection = Inspection {
            shadow: Some(Arc::new(Detectors::common(
                idle::detector().with_image_threshold(0.1).unwrap(),
            ))),
            ..Inspection::new(
                cameras,
                Arc::new(Detectors::common(idle::detector())),
                vec![differ.clone()],
            )
        };
        let report = inspect(inspection, &RunOptions::new(workers, 2).unwrap()).unwrap();
        assert_eq!(report.total(|account| account.rejected), 0);
        let differ = differ.0.lock().unwrap();
        assert!(
            differ.len() == 50,
            "every frame is rejected by the shadow alone: {}",
            differ.len()
        );
    }
}

/// A live camera that says nothing, and then ends.
struct Silent(Arc<str>);

impl Source for Silent {
    fn camera(&self) -> &Arc<str> {
        &self.0
    }

    fn is_live(&self) -> bool {
        true
    }

    fn resume_at(&mut self, _: u64) {}

    fn next(&mut self, stop: &StopFlag) -> Next {
        stop.wait(std::time::Duration::from_secs(3_600));
        Next::Ended
    }
}

/// Ends the run when as many outcomes have passed the frontier.
struct EndsAfter(u64, Mutex<u64>, StopFlag);

impl Sink for EndsAfter {
    fn outcome(&self, _: u64, _: &Outcome) -> Result<(), String> {
        let mut seen = self.1.lock().unwrap();
        *seen += 1;
        if *seen == self.0 {
            self.2.stop();
        }
        Ok(())
    }
}

#[test]
fn silent_camera_does_not_hold_the_line() {
    // With two workers each has one of the cameras.
    for workers in [1, 2] {
        let stop = StopFlag::default();
        let cameras = vec![Camera::from(Silent("silent".into())), idle_camera("busy", 60)];
        // Without an idle timeout the log would wait for the silent camera, and the run for this sink.
        let sink = Arc::new(EndsAfter(50, Mutex::default(), stop.clone()));
        let inspection = Inspection {
            stop,
            ..Inspection::new(cameras, Arc::new(Detectors::common(idle::detector())), vec![sink])
        };
        let report = inspect(inspection, &RunOptions::new(workers, 1).unwrap()).unwrap();
        assert_eq!(report.cameras["silent"].captured, 0);
        assert!(report.cameras["busy"].judged >= 50);
    }
}

/// A live camera with some frames and then nothing, which does not end.
struct FallsSilent(Unruly, u64);

impl Source for FallsSilent {
    fn camera(&self) -> &Arc<str> {
        self.0.camera()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn resume_at(&mut self, seq: u64) {
        self.0.resume_at(seq);
    }

    fn next(&mut self, stop: &StopFlag) -> Next {
        if self.0.seq < self.1 {
            return self.0.next(stop);
        }
        stop.wait(std::time::Duration::from_secs(3_600));
        Next::Ended
    }
}

/// Ends the run when so many outcomes were told and time has passed the last of them.
struct EndsWhenPassed {
    outcomes: u64,
    last: Mutex<(u64, u64)>,
    stop: StopFlag,
}

impl Sink for EndsWhenPassed {
    fn outcome(&self, time_us: u64, _: &Outcome) -> Result<(), String> {
        let mut last = self.last.lock().unwrap();
        *last = (last.0 + 1, time_us);
        Ok(())
    }

    fn passed(&self, frontier_us: u64) -> Result<(), String> {
        let (outcomes, last_us) = *self.last.lock().unwrap();
        if outcomes == self.outcomes && frontier_us > last_us / 1_000_000 * 1_000_000 + 999_999 {
            self.stop.stop();
        }
        Ok(())
    }
}

#[test]
fn the_last_frames_of_an_idle_line_are_logged_and_their_hop_ends() {
    for workers in [1, 2] {
        let stop = StopFlag::default();
        let names = ["left", "right"];
        let cameras = names
            .map(|name| Camera::from(FallsSilent(Unruly::new(name, 3, idle_images()), 20)))
            .into();
        // Without time that goes on by itself the run would never end.
        let sink = Arc::new(EndsWhenPassed {
            outcomes: 40,
            last: Mutex::default(),
            stop: stop.clone(),
        });
        let inspection = Inspection {
            stop,
            ..Inspection::new(cameras, Arc::new(Detectors::common(idle::detector())), vec![sink])
        };
        let report = inspect(inspection, &RunOptions::new(workers, 1).unwrap()).unwrap();
        assert_eq!(report.total(|account| account.captured), 40);
    }
}

#[test]
fn a_file_does_not_wait_for_a_live_camera_that_never_speaks() {
    let cameras = vec![
        Camera::from(FallsSilent(Unruly::new("silent", 1, idle_images()), 0)),
        idle_camera("files", 900),
    ];
    let stop = StopFlag::default();
    let sink = Arc::new(EndsAfter(850, Mutex::default(), stop.clone()));
    let inspection = Inspection {
        stop,
        ..Inspection::new(cameras, Arc::new(Detectors::common(idle::detector())), vec![sink])
    };
    let report = inspect(inspection, &RunOptions::new(1, 1).unwrap()).unwrap();
    assert!(report.cameras["files"].judged >= 850);
}

fn idle_camera(name: &str, frames: u64) -> Camera {
    idle::stream(name, frames, |_| ()).into()
}
