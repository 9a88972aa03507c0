//! What is on the screen at 80 × 24.

use std::sync::Arc;

use intakt_operators::DropReason;
use intakt_operators::dataflow::{Alert, AlertState, Rate, RateKey, Scope, WINDOWS_US, Window};
use intakt_operators::metrics::Tally;
use intakt_pipelines::sinks::{CameraStatus, DroppedCount, LiveStatus, RunState, StageStatus, TroubleStatus};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::{Found, View, look};

fn camera(n: u64) -> CameraStatus {
    CameraStatus {
        camera: format!("camera-{n:02}").into(),
        captured: 1_000 + n,
        judged: 990,
        passed: 980,
        rejected: 10,
        unreadable: 3,
        dropped: vec![DroppedCount {
            reason: DropReason::DropOldest,
            frames: 5,
        }],
        waiting: 2 + n,
        ..CameraStatus::default()
    }
}

fn status(n_cameras: u64) -> LiveStatus {
    let rate = |camera: &CameraStatus, length_us| Rate {
        key: RateKey {
            scope: Scope::Camera(camera.camera.clone()),
            window: Window::Sliding { length_us },
        },
        start_us: 0,
        end_us: length_us,
        at_us: length_us,
        open: false,
        revision: 0,
        before: None,
        after: Tally {
            frames: 800,
            rejects: 100,
            ..Tally::default()
        },
    };
    let stage = |stage: &str| StageStatus {
        stage: stage.to_owned(),
        count: 40_000,
        micros_p50: 1_250,
        micros_p99: 20_000,
        micros_max: 50_000,
    };
    let cameras: Vec<CameraStatus> = (0..n_cameras).map(camera).collect();
    let rates = cameras
        .iter()
        .flat_map(|camera| WINDOWS_US.map(|length_us| rate(camera, length_us)));
    LiveStatus {
        state: RunState::Running,
        said_at_us: 1_000_000_000,
        frontier_us: Some(1_000),
        newest_captured_at_us: Some(301_000),
        frontier_lag_seconds: Some(0.3),
        rates: rates.collect(),
        alerts: vec![],
        cameras,
        stages: ["aggregate", "decode", "embed", "judge", "patch", "score", "suppress"]
            .map(stage)
            .to_vec(),
        ..LiveStatus::default()
    }
}

fn view(status: LiveStatus) -> View {
    View {
        now_us: status.said_at_us + 400_000,
        found: Found::Status(Box::new(status)),
        first_camera: 0,
    }
}

fn drawn(view: &View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| view.draw(frame.area(), frame.buffer_mut()))
        .unwrap();
    let buffer = terminal.backend().buffer().clone();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned()).collect()
}

#[test]
fn four_cameras_fit_on_one_screen() {
    let expected = "\
running
log 0.3 s behind   14 frames under way

camera            captured   judged rejected unread. dropped waiting 1 min rej
all 4                 4006     3960       40      12      20      14         –
camera-00             1000      990       10       3       5       2    12.5 %
camera-01             1001      990       10       3       5       3    12.5 %
camera-02             1002      990       10       3       5       4    12.5 %
camera-03             1003      990       10       3       5       5    12.5 %

stage           runs    p50 ms    p99 ms  rates          window  frames  rejects
aggregate      40000      1.25     20.00  camera-00       1 min     800   12.5 %
decode         40000      1.25     20.00  camera-00      15 min     800   12.5 %
embed          40000      1.25     20.00  camera-00      60 min     800   12.5 %
judge          40000      1.25     20.00  camera-01       1 min     800   12.5 %
patch          40000      1.25     20.00  camera-01      15 min     800   12.5 %
score          40000      1.25     20.00  camera-01      60 min     800   12.5 %
suppress       40000      1.25     20.00  camera-02       1 min     800   12.5 %
                                          camera-02      15 min     800   12.5 %




q quits";
    let found = drawn(&view(status(4)), 80, 24);
    assert_eq!(found.join("\n"), expected, "\n{}", found.join("\n"));
}

#[test]
fn open_alerts_are_above_the_cameras() {
    let mut status = status(4);
    let alert = |rule: &str, scope| Alert {
        rule: rule.into(),
        scope,
        opened_at_us: 0,
        at_us: 0,
        state: AlertState::Opened,
        value: None,
    };
    status.alerts = vec![
        alert("camera silent 10 s", Scope::Camera("left".into())),
        alert("reject_rate 15m > 5 %", Scope::All),
    ];
    let found = drawn(&view(status), 80, 24);
    assert_eq!(found[2], "ALERT 2: camera silent 10 s (left), reject_rate 15m > 5 %");
}

#[test]
fn forty_cameras_are_scrolled_through() {
    let mut view = view(status(40));
    let found = drawn(&view, 80, 24);
    assert_eq!(
        found[4],
        "all 40               40780    39600      400     120     200     860         –"
    );
    assert!(
        found[5].starts_with("camera-00 ") && found[12].starts_with("camera-07 "),
        "{found:#?}"
    );
    assert_eq!(found[23], "q quits   ↑↓ cameras 1–8 of 40");
    assert!(found[14].starts_with("stage "), "{found:#?}");
    view.first_camera = 30;
    let found = drawn(&view, 80, 24);
    assert!(
        found[5].starts_with("camera-30 ") && found[12].starts_with("camera-37 "),
        "{found:#?}"
    );
    assert!(
        found[15].contains("camera-30       1 min"),
        "the rates go along: {found:#?}"
    );
    view.first_camera = 400;
    assert!(drawn(&view, 80, 24)[5].starts_with("camera-39 "));
}

#[test]
fn a_camera_in_trouble_is_named_with_its_reason() {
    let mut status = status(2);
    status.cameras[1].last_trouble = Some(TroubleStatus {
        reason: "connection refused, next try in 2 s".to_owned(),
        over: false,
    });
    let found = drawn(&view(status), 80, 24);
    assert_eq!(found[23], "q quits   ! camera-01: connection refused, next try in 2 s");
}

#[test]
fn what_is_over_or_old_or_not_there_is_said() {
    let mut ended = status(1);
    ended.state = RunState::Ended;
    let mut view = view(ended);
    view.now_us += 300_000_000;
    assert_eq!(drawn(&view, 80, 24)[0], "ENDED 5 min ago: these are its last figures");
    let mut old = super::tests::view(status(1));
    old.now_us += 9_000_000;
    assert_eq!(
        drawn(&old, 80, 24)[0],
        "OLD: the run last said something 9 s ago; it was killed, or hangs"
    );
    let none = View {
        found: look(std::path::Path::new("no/such/run")),
        now_us: 0,
        first_camera: 0,
    };
    let found = drawn(&none, 80, 24);
    assert!(
        found[0].contains("no/such/run") && found[1].contains("--run DIR"),
        "{found:#?}"
    );
}

#[test]
fn no_size_and_no_figure_breaks_the_screen() {
    let mut status = status(3);
    let camera = &mut status.cameras[0];
    camera.camera = Arc::from("ein sehr langer Name einer Kamera 観測 \u{1b}[31m\n");
    (camera.captured, camera.waiting) = (u64::MAX / 4, 12_345_678);
    for (width, height) in [(0, 0), (1, 1), (20, 5), (80, 8), (80, 13), (300, 100)] {
        let found = drawn(&view(status.clone()), width, height);
        assert!(found.iter().all(|line| !line.contains('\u{1b}')), "{found:#?}");
    }
}

#[test]
fn a_status_file_that_is_none_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("status.json"), "{\"state\":").unwrap();
    let Found::None(reason) = look(dir.path()) else {
        panic!("it is no status");
    };
    assert!(reason.contains("no status of this version"), "{reason}");
}
