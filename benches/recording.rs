//! Recording frames of 1 MB and reading them back: bytes a second, on the disk that holds the temporary directory.

mod support;

use std::path::Path;
use std::sync::Arc;

use criterion::Throughput;
use intakt_operators::Frame;
use intakt_pipelines::recording::{Played, RecordedEvent, Recorder, RecorderOptions, Recording};

const FRAMES: u64 = 200;
const FRAME_BYTES: usize = 1_000_000;

fn main() {
    let mut criterion = support::criterion();
    let mut random = support::Random(1);
    let bytes: Arc<[u8]> = (0..FRAME_BYTES).map(|_| random.next_u64() as u8).collect();
    let mut group = criterion.benchmark_group("recording/200 frames of 1 MB");
    group.throughput(Throughput::Bytes(FRAMES * FRAME_BYTES as u64));
    group.bench_function("record", |b| {
        b.iter_with_large_drop(|| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            record(dir.path(), &bytes);
            dir
        });
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    record(dir.path(), &bytes);
    group.bench_function("read back", |b| b.iter(|| read(dir.path())));
    group.finish();
    criterion.final_summary();
}

fn record(dir: &Path, bytes: &Arc<[u8]>) {
    let options = RecorderOptions {
        buffer_bytes_max: u64::MAX / 2,
        ..RecorderOptions::default()
    };
    let recorder = Recorder::start(dir, options).expect("an empty directory");
    for seq in 0..FRAMES {
        let frame = Frame {
            camera: "left".into(),
            seq,
            captured_at_us: seq * 100_000,
            origin: "".into(),
            bytes: Ok(bytes.clone()),
            recorded: None,
        };
        let time_us = frame.captured_at_us;
        recorder.record(RecordedEvent::Frame {
            frame,
            time_us,
            low_us: time_us,
        });
    }
    let account = recorder.finish();
    assert_eq!(account.frames_written(), FRAMES, "{account:?}");
}

fn read(dir: &Path) -> u64 {
    let recording = Recording::open(dir).expect("a recording");
    let frames = recording
        .events()
        .filter(|played| matches!(played, Ok(Played::Event(_))));
    let n_frames = frames.count() as u64;
    assert_eq!(n_frames, FRAMES);
    n_frames
}
