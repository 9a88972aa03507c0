//! What a recording promises, over whole directories.

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use intakt_operators::{DropReason, DroppedFrame, Frame, Label, Truth};
use tempfile::TempDir;

use super::queue::Queue;
use super::storage::{Directory, DiskDirectory, Storage};
use super::writer::RecordingWriter;
use super::*;

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn text(&mut self) -> String {
        let letters = ["a", "/", "ä", "\"", "\n", " ", "画", "\u{0}"];
        (0..self.below(6)).map(|_| letters[self.below(8) as usize]).collect()
    }

    /// A number of any magnitude.
    fn number(&mut self) -> u64 {
        let shift = self.below(64);
        self.next() >> shift
    }

    fn frame(&mut self, bytes_max: u64) -> Frame {
        let bytes: Arc<[u8]> = (0..self.below(bytes_max)).map(|_| self.next() as u8).collect();
        Frame {
            camera: self.camera(),
            seq: self.number(),
            captured_at_us: self.number(),
            origin: self.text().into(),
            bytes: if self.below(4) == 0 {
                Err(self.text().into())
            } else {
                Ok(bytes)
            },
            recorded: None,
        }
    }

    fn camera(&mut self) -> Arc<str> {
        ["left", "right", "", "a/b", "/intakt/events"][self.below(5) as usize].into()
    }

    fn event(&mut self, bytes_max: u64) -> RecordedEvent {
        let (time_us, camera) = (self.number(), self.camera());
        match self.below(12) {
            0 => RecordedEvent::Dropped {
                dropped: DroppedFrame {
                    camera,
                    seq: self.number(),
                    captured_at_us: self.number(),
                    reason: if self.below(2) == 0 {
                        DropReason::DropOldest
                    } else {
                        DropReason::DropNewest
                    },
                },
                time_us,
                low_us: self.number(),
            },
            1 => RecordedEvent::Label {
                label: Label {
                    camera,
                    seq: self.number(),
                    truth: match self.below(3) {
                        0 => Some(Truth::Normal),
                        1 => Some(Truth::Anomalous(self.text())),
                        _ => None,
                    },
                    captured_at_us: self.number(),
                },
                time_us,
            },
            2 => RecordedEvent::Threshold {
                camera,
                threshold: f64::from_bits(self.next()),
                time_us,
            },
            3 => RecordedEvent::Detector {
                camera,
                detector: self.text().into(),
                path: self.text().into(),
                time_us,
            },
            4 => RecordedEvent::Ended { camera },
            5 => RecordedEvent::Missing {
                camera,
                frames: self.number(),
                others: self.number(),
                first_time_us: self.number(),
                last_time_us: time_us,
            },
            _ => RecordedEvent::Frame {
                frame: self.frame(bytes_max),
                time_us,
                low_us: self.number(),
            },
        }
    }

    fn events(&mut self, n_events: usize, bytes_max: u64) -> Vec<RecordedEvent> {
        (0..n_events).map(|_| self.event(bytes_max)).collect()
    }
}

/// Everything of an event, in letters; a threshold by its bits, because one that is not a number equals nothing.
fn spell(event: &RecordedEvent) -> String {
    match event {
        RecordedEvent::Threshold {
            camera,
            threshold,
            time_us,
        } => {
            format!("threshold {camera} {:x} {time_us}", threshold.to_bits())
        }
        other => format!("{other:?}"),
    }
}

fn spell_all(events: &[RecordedEvent]) -> Vec<String> {
    events.iter().map(spell).collect()
}

fn frame(camera: &str, seq: u64, n_bytes: usize) -> RecordedEvent {
    let frame = Frame {
        camera: camera.into(),
        seq,
        captured_at_us: 1_000 * seq + 7,
        origin: format!("{seq}.png").into(),
        bytes: Ok(vec![seq as u8; n_bytes].into()),
        recorded: None,
    };
    RecordedEvent::Frame {
        frame,
        time_us: 1_000 * seq + 10,
        low_us: 1_000 * seq,
    }
}

/// Writes `events` into `dir`, committing after every `commit_every`.
fn write(dir: &Path, events: &[RecordedEvent], file_bytes_max: u64, commit_every: usize) {
    let mut writer = RecordingWriter::new(DiskDirectory(dir.to_owned()), "a run".to_owned(), 0, file_bytes_max);
    for (position, event) in events.iter().enumerate() {
        writer.write(event).unwrap();
        if position % commit_every == commit_every - 1 {
            writer.commit().unwrap();
        }
    }
    writer.finish().unwrap();
}

/// The events of a recording, whether a file was cut, and the error that ended it.
fn read(dir: &Path) -> (Vec<RecordedEvent>, Vec<u64>, Option<String>) {
    let (mut events, mut cuts) = (Vec::new(), Vec::new());
    let recording = match Recording::open(dir) {
        Ok(recording) => recording,
        Err(error) => return (events, cuts, Some(error.to_string())),
    };
    let mut played = recording.events();
    while let Some(next) = played.next() {
        match next {
            Ok(Played::Event(event)) => events.push(event),
            Ok(Played::Cut { at_byte, .. }) => cuts.push(at_byte),
            Err(error) => {
                assert!(played.next().is_none(), "nothing follows an error");
                return (events, cuts, Some(error.to_string()));
            }
        }
    }
    (events, cuts, None)
}

#[test]
fn any_events_come_back_exactly_and_in_order_over_rolled_files() {
    let mut random = Random(3);
    for (n_events, file_bytes_max, commit_every) in
        [(20, 1, 1), (100, 4_000, 3), (300, 30_000, 50), (300, u64::MAX, 1_000)]
    {
        let dir = TempDir::new().unwrap();
        let events = random.events(n_events, 400);
        write(dir.path(), &events, file_bytes_max, commit_every);
        let (found, cuts, error) = read(dir.path());
        assert_eq!(spell_all(&found), spell_all(&events));
        assert_eq!((cuts, error), (vec![], None));
        let n_files = Recording::open(dir.path()).unwrap().files().len();
        assert!(
            (file_bytes_max > 100_000) == (n_files == 1),
            "{n_files} files of {file_bytes_max} bytes"
        );
    }
}

#[test]
fn what_the_cameras_hold_is_the_same_from_the_account_and_from_reading_through() {
    let dir = TempDir::new().unwrap();
    let events = Random(4).events(200, 100);
    write(dir.path(), &events, 10_000, 5);
    let closed = Recording::open(dir.path()).unwrap();
    let mut counted = tally::Tally::default();
    events.iter().for_each(|event| counted.count(event));
    assert_eq!(closed.cameras(), &counted.cameras);
    assert_eq!(closed.run(), "a run");
    for path in closed.files() {
        // Without its last byte a file counts as cut.
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    }
    assert_eq!(Recording::open(dir.path()).unwrap().cameras(), &counted.cameras);
    let (found, cuts, error) = read(dir.path());
    assert_eq!(
        spell_all(&found),
        spell_all(&events),
        "a file after a cut one continues"
    );
    assert_eq!((cuts.len(), error), (closed.files().len(), None));
}

#[test]
fn a_recording_cut_at_any_byte_replays_up_to_the_cut() {
    let dir = TempDir::new().unwrap();
    let events = Random(5).events(10, 60);
    write(dir.path(), &events, u64::MAX, 2);
    let path = dir.path().join("000000.mcap");
    let expected = spell_all(&events);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let (mut n_events_after, mut n_steps) = (events.len(), 0);
    for len in (0..file.metadata().unwrap().len()).rev() {
        file.set_len(len).unwrap();
        let (found, cuts, error) = read(dir.path());
        assert_eq!(error, None, "cut at {len}");
        assert!(cuts.len() == 1 && cuts[0] <= len, "cut at {len}: {cuts:?}");
        assert_eq!(spell_all(&found), expected[..found.len()], "cut at {len}");
        assert!(found.len() <= n_events_after, "a shorter file holds no more");
        n_steps += usize::from(found.len() < n_events_after);
        n_events_after = found.len();
    }
    assert_eq!(
        (n_steps, n_events_after),
        (5, 0),
        "every commit is found as long as it is whole"
    );
}

#[test]
fn zeros_after_a_power_loss_are_a_cut() {
    let dir = TempDir::new().unwrap();
    write(dir.path(), &Random(6).events(9, 60), u64::MAX, 1);
    let path = dir.path().join("000000.mcap");
    let whole = std::fs::read(&path).unwrap();
    let chunk_end = {
        // Zeros begin where a record could not be written any more.
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        read(dir.path()).1[0] as usize
    };
    let mut torn = whole[..chunk_end].to_vec();
    let (before, ..) = {
        std::fs::write(&path, &torn).unwrap();
        read(dir.path())
    };
    torn.resize(chunk_end + 200_000, 0);
    std::fs::write(&path, &torn).unwrap();
    let (found, cuts, error) = read(dir.path());
    assert_eq!(spell_all(&found), spell_all(&before));
    assert_eq!((cuts, error), (vec![chunk_end as u64], None));
}

#[test]
fn a_flipped_byte_never_panics_and_never_changes_an_event() {
    let dir = TempDir::new().unwrap();
    let events = Random(7).events(12, 40);
    write(dir.path(), &events, u64::MAX, 3);
    let path = dir.path().join("000000.mcap");
    let (whole, expected) = (std::fs::read(&path).unwrap(), spell_all(&events));
    let mut random = Random(8);
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut put = |position: usize, byte: u8| {
        file.seek(SeekFrom::Start(position as u64)).unwrap();
        file.write_all(&[byte]).unwrap();
    };
    for (position, &byte) in whole.iter().enumerate() {
        put(position, byte ^ 1 << random.below(8));
        let (found, cuts, error) = read(dir.path());
        assert_eq!(spell_all(&found), expected[..found.len()], "byte {position} flipped");
        let is_told = error.is_some() || !cuts.is_empty();
        assert!(
            is_told || found.len() == expected.len(),
            "byte {position} flipped: events vanish silently"
        );
    }
}

#[test]
fn a_damaged_chunk_is_an_error_with_file_and_byte() {
    let dir = TempDir::new().unwrap();
    write(dir.path(), &[frame("left", 0, 50), frame("left", 1, 50)], u64::MAX, 1);
    let path = dir.path().join("000000.mcap");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(50).position(|window| window == [1; 50]).unwrap();
    bytes[at + 9] = 2;
    std::fs::write(&path, &bytes).unwrap();
    let (found, cuts, error) = read(dir.path());
    let error = error.unwrap();
    assert_eq!((found.len(), cuts.len()), (1, 0));
    assert!(
        error.contains("000000.mcap") && error.contains("damaged at byte ") && error.contains("CRC"),
        "{error}"
    );
}

#[test]
fn lengths_that_lie_are_refused_without_allocating_them() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("000000.mcap");
    for len in [u64::MAX, 1 << 40, i64::MAX as u64] {
        for opcode in 0..=255 {
            let mut bytes = mcap::MAGIC.to_vec();
            bytes.push(opcode);
            bytes.extend(len.to_le_bytes());
            std::fs::write(&path, &bytes).unwrap();
            let (found, cuts, _) = read(dir.path());
            assert!(found.is_empty() && cuts.len() <= 1);
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn what_is_no_recording_is_refused_with_a_sentence() {
    let refusal = |prepare: &dyn Fn(&Path)| {
        let dir = TempDir::new().unwrap();
        prepare(dir.path());
        Recording::open(dir.path()).err().expect("refused").to_string()
    };
    let missing = Recording::open(Path::new("no/such/directory"))
        .err()
        .unwrap()
        .to_string();
    assert!(missing.starts_with("cannot read \"no/such/directory\""), "{missing}");
    let empty = refusal(&|_| {});
    assert!(empty.contains("there is no 000000.mcap"), "{empty}");
    let text = refusal(&|dir| std::fs::write(dir.join("000000.mcap"), "not a recording").unwrap());
    assert!(text.contains("it is no MCAP file"), "{text}");
    let foreign = refusal(&|dir| {
        let mut writer = mcap::Writer::new(std::fs::File::create(dir.join("000000.mcap")).unwrap()).unwrap();
        writer.add_channel(0, "odometry", "json", &BTreeMap::new()).unwrap();
        writer.finish().unwrap();
    });
    assert!(foreign.contains("another program"), "{foreign}");
    let named = refusal(&|dir| std::fs::write(dir.join("run.mcap"), "").unwrap());
    assert!(named.contains("no file of a recording is called so"), "{named}");
    let newer = refusal(&|dir| {
        write(dir, &[frame("left", 0, 3)], 1, 1);
        let path = dir.join("000000.mcap");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes
            .windows(14)
            .position(|window| window == b"format_version")
            .unwrap()
            + 18;
        assert_eq!(bytes[at], b'1');
        bytes[at] = b'2';
        std::fs::write(&path, bytes).unwrap();
    });
    assert!(
        newer.contains("format version 2") && newer.contains("use a newer Intakt"),
        "{newer}"
    );
    let hole = refusal(&|dir| {
        write(
            dir,
            &[frame("left", 0, 3), frame("left", 1, 3), frame("left", 2, 3)],
            1,
            1,
        );
        std::fs::remove_file(dir.join("000001.mcap")).unwrap();
    });
    assert!(hole.contains("000001.mcap is missing"), "{hole}");
    let swapped = refusal(&|dir| {
        write(dir, &[frame("left", 0, 3), frame("left", 1, 3)], 1, 1);
        std::fs::rename(dir.join("000001.mcap"), dir.join("000000.mcap")).unwrap();
    });
    assert!(swapped.contains("it is file 000001 of its recording"), "{swapped}");
}

#[test]
fn any_viewer_finds_the_images() {
    let dir = TempDir::new().unwrap();
    let png: Arc<[u8]> = [0x89, b'P', b'N', b'G', 1, 2, 3].into();
    let captured_at_us = 1_700_000_000_123_456;
    let event = RecordedEvent::Frame {
        frame: Frame {
            camera: "left".into(),
            seq: (1 << 32) + 5,
            captured_at_us,
            origin: "a.png".into(),
            bytes: Ok(png.clone()),
            recorded: None,
        },
        time_us: captured_at_us + 9,
        low_us: captured_at_us,
    };
    write(dir.path(), &[event], u64::MAX, 1);
    let file = std::fs::read(dir.path().join("000000.mcap")).unwrap();
    let messages: Vec<mcap::Message> = mcap::MessageStream::new(&file)
        .unwrap()
        .map(|next| next.unwrap())
        .collect();
    let [image, line] = &messages[..] else {
        panic!("an image and its event")
    };
    assert_eq!(
        (image.channel.topic.as_str(), image.channel.message_encoding.as_str()),
        ("/left/image", "protobuf")
    );
    assert_eq!(
        (image.log_time, image.publish_time),
        ((captured_at_us + 9) * 1000, captured_at_us * 1000)
    );
    assert_eq!(image.sequence, 5);
    assert_eq!(
        (line.channel.topic.as_str(), line.channel.message_encoding.as_str()),
        ("/intakt/events", "json")
    );
    let schema = image.channel.schema.as_ref().unwrap();
    assert_eq!(
        (schema.name.as_str(), schema.encoding.as_str()),
        ("foxglove.CompressedImage", "protobuf")
    );
    let described = <prost_types::FileDescriptorSet as prost::Message>::decode(&*schema.data).unwrap();
    let [timestamp, of_image] = &described.file[..] else {
        panic!("two files")
    };
    assert_eq!(
        of_image.dependency,
        [timestamp.name().to_owned()],
        "a dependency comes before what needs it"
    );
    let decoded = <compressed_image::CompressedImage as prost::Message>::decode(&*image.data).unwrap();
    assert_eq!(
        (&*decoded.data, decoded.format.as_str(), decoded.frame_id.as_str()),
        (&*png, "png", "left")
    );
    let timestamp = decoded.timestamp.unwrap();
    assert_eq!((timestamp.seconds, timestamp.nanos), (1_700_000_000, 123_456_000));
    assert!(
        mcap::Summary::read(&file)
            .unwrap()
            .unwrap()
            .stats
            .unwrap()
            .message_count
            == 2,
        "and it has an index"
    );
}

#[test]
fn a_full_buffer_counts_exactly_and_leaves_a_gap() {
    let mut queue = Queue::new(10_000);
    let mut offered = (0..10).map(|seq| queue.offer(frame("left", seq, 2_000)));
    // 2,000 bytes, a name of 4, an origin of 5 and 512 for the rest: three fit.
    assert_eq!(offered.by_ref().take_while(|taken| *taken).count(), 3);
    assert_eq!(offered.filter(|taken| *taken).count(), 0);
    assert!(!queue.offer(frame("right", 0, 9_000)));
    assert!(
        queue.offer(RecordedEvent::Ended { camera: "left".into() }),
        "what is small goes into the reserve"
    );
    let mut taken = Vec::new();
    while let Some(event) = queue.take() {
        queue.release(&event);
        taken.push(event);
    }
    let gap = |camera: &str, frames, first_time_us, last_time_us| RecordedEvent::Missing {
        camera: camera.into(),
        frames,
        others: 0,
        first_time_us,
        last_time_us,
    };
    let mut expected: Vec<_> = (0..3).map(|seq| frame("left", seq, 2_000)).collect();
    expected.extend([
        gap("left", 7, 3_010, 9_010),
        RecordedEvent::Ended { camera: "left".into() },
    ]);
    expected.push(gap("right", 1, 10, 10));
    assert_eq!(spell_all(&taken), spell_all(&expected));
    assert_eq!(queue.unwritten()["left"], Unwritten { frames: 7, others: 0 });
    assert_eq!(queue.unwritten()["right"], Unwritten { frames: 1, others: 0 });
    assert!(
        (0..3).all(|seq| queue.offer(frame("left", seq, 2_000))),
        "all room was given back"
    );
}

/// A disk of a few bytes.
#[derive(Clone)]
struct SmallDisk {
    dir: PathBuf,
    bytes_left: Arc<Mutex<u64>>,
}

struct SmallFile(std::fs::File, Arc<Mutex<u64>>);

impl Directory for SmallDisk {
    fn create(&mut self, index: u64) -> io::Result<Box<dyn Storage>> {
        Ok(Box::new(SmallFile(
            std::fs::File::create(self.path(index))?,
            self.bytes_left.clone(),
        )))
    }

    fn path(&self, index: u64) -> PathBuf {
        self.dir.join(format!("{index:06}.mcap"))
    }
}

impl Storage for SmallFile {
    /// Writes what fits, as a full disk does.
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut bytes_left = self.1.lock().unwrap();
        let fits = (bytes.len() as u64).min(*bytes_left);
        *bytes_left -= fits;
        Storage::append(&self.0, &bytes[..fits as usize])?;
        if fits < bytes.len() as u64 {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

#[test]
fn a_full_disk_ends_the_recording_and_loses_nothing_of_it() {
    let events: Vec<_> = (0..40).map(|seq| frame("left", seq, 200_000)).collect();
    for n_bytes in (2_000..9_000_000).step_by(493_131) {
        let dir = TempDir::new().unwrap();
        let disk = SmallDisk {
            dir: dir.path().to_owned(),
            bytes_left: Arc::new(Mutex::new(n_bytes)),
        };
        let options = RecorderOptions {
            file_bytes_max: 3_000_000,
            ..RecorderOptions::default()
        };
        let recorder = Recorder::start_in(disk, 0, options).unwrap();
        events.iter().for_each(|event| recorder.record(event.clone()));
        // Nobody waits for a disk that takes nothing more.
        assert!(recorder.flush(Duration::from_secs(60)));
        let account = recorder.finish();
        let (found, cuts, error) = read(dir.path());
        assert_eq!(spell_all(&found), spell_all(&events[..found.len()]));
        assert_eq!(error, None);
        assert_eq!(
            account.frames_written(),
            found.len() as u64,
            "what is said to be written is there, and no more"
        );
        assert_eq!(account.frames_written() + account.frames_unwritten(), 40);
        assert_eq!(account.trouble.is_some(), !cuts.is_empty(), "{account:?}");
        if let Some(trouble) = &account.trouble {
            assert!(
                trouble.starts_with("cannot write \"") && n_bytes < 8_100_000,
                "{trouble}"
            );
        }
        recorder.record(frame("left", 40, 1));
        assert_eq!(recorder.account().frames_unwritten(), account.frames_unwritten() + 1);
    }
}

#[test]
fn what_was_flushed_is_on_the_disk_while_the_recording_goes_on() {
    let dir = TempDir::new().unwrap();
    let recorder = Recorder::start(dir.path(), RecorderOptions::default()).unwrap();
    let flush = || assert!(recorder.flush(Duration::from_secs(60)));
    flush();
    for seq in 0..50 {
        recorder.record(frame("left", seq, 100));
        flush();
        let (found, ..) = read(dir.path());
        assert_eq!(found.len() as u64, seq + 1, "a kill at this moment loses nothing");
    }
    assert_eq!(recorder.finish().frames_written(), 50);
    recorder.record(frame("left", 50, 100));
    flush();
}

/// A disk that says nothing about what it was given until it is let go.
#[derive(Clone)]
struct HangingDisk {
    dir: PathBuf,
    hangs: Arc<Mutex<()>>,
}

struct HangingFile(std::fs::File, Arc<Mutex<()>>);

impl Directory for HangingDisk {
    fn create(&mut self, index: u64) -> io::Result<Box<dyn Storage>> {
        let file = std::fs::File::create(self.path(index))?;
        Ok(Box::new(HangingFile(file, self.hangs.clone())))
    }

    fn path(&self, index: u64) -> PathBuf {
        self.dir.join(format!("{index:06}.mcap"))
    }
}

impl Storage for HangingFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        Storage::append(&self.0, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        drop(self.1.lock());
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

#[test]
fn nobody_waits_for_a_disk_that_hangs_and_what_does_not_fit_is_counted() {
    let dir = TempDir::new().unwrap();
    let hangs = Arc::new(Mutex::new(()));
    let disk = HangingDisk {
        dir: dir.path().to_owned(),
        hangs: hangs.clone(),
    };
    let options = RecorderOptions {
        buffer_bytes_max: 100_000,
        ..RecorderOptions::default()
    };
    let recorder = Recorder::start_in(disk, 0, options).unwrap();
    let held = hangs.lock().unwrap();
    recorder.record(frame("left", 0, 1_000));
    assert!(!recorder.flush(Duration::from_millis(20)), "the disk says nothing");
    (1..500).for_each(|seq| recorder.record(frame("left", seq, 1_000)));
    assert!(!recorder.flush(Duration::ZERO));
    assert!(recorder.account().frames_unwritten() > 300);
    drop(held);
    assert!(recorder.flush(Duration::from_secs(60)), "it goes on where it was");
    let account = recorder.finish();
    assert_eq!(account.frames_written() + account.frames_unwritten(), 500);
    assert!(account.frames_written() > 50, "{account:?}");
}

#[test]
fn a_recording_is_not_overwritten_and_can_be_continued() {
    let dir = TempDir::new().unwrap();
    let start = |resume| {
        Recorder::start(
            dir.path(),
            RecorderOptions {
                resume,
                ..RecorderOptions::default()
            },
        )
    };
    let recorder = start(false).unwrap();
    recorder.record(frame("left", 0, 10));
    assert_eq!(recorder.finish().frames_written(), 1);
    let refused = start(false).err().unwrap().to_string();
    assert!(refused.contains("already holds a recording"), "{refused}");
    // As a `kill -9` leaves it.
    let path = dir.path().join("000000.mcap");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
    let recorder = start(true).unwrap();
    recorder.record(frame("left", 1, 10));
    drop(recorder);
    let (found, cuts, error) = read(dir.path());
    assert_eq!(
        spell_all(&found),
        spell_all(&[frame("left", 0, 10), frame("left", 1, 10)])
    );
    assert_eq!((cuts.len(), error), (1, None));
    std::fs::write(&path, "a text that somebody saved here").unwrap();
    assert!(start(true).err().unwrap().to_string().contains("it is no MCAP file"));
}

#[test]
fn everything_offered_is_written_or_counted_and_the_gaps_say_which() {
    let dir = TempDir::new().unwrap();
    let options = RecorderOptions {
        buffer_bytes_max: 30_000,
        ..RecorderOptions::default()
    };
    let recorder = Recorder::start(dir.path(), options).unwrap();
    for seq in 0..500 {
        recorder.record(frame(if seq % 3 == 0 { "left" } else { "right" }, seq, 9_000));
    }
    recorder.record(frame("left", 500, 40_000));
    let account = recorder.finish();
    assert_eq!(account.frames_written() + account.frames_unwritten(), 501);
    assert_eq!(account.trouble, None);
    let recording = Recording::open(dir.path()).unwrap();
    assert_eq!(recording.cameras(), &account.written);
    for (camera, counts) in recording.cameras() {
        let unwritten = account.unwritten.get(camera).copied().unwrap_or_default();
        assert_eq!(counts.missing, unwritten.frames, "{camera}");
    }
    assert!(
        account.unwritten["left"].frames >= 1,
        "one frame is larger than the buffer"
    );
    let bytes = std::fs::metadata(dir.path().join("000000.mcap")).unwrap().len();
    assert_eq!(account.bytes, bytes);
}
