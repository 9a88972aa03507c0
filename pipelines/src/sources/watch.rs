//! Frames from a hot folder: files that somebody puts there, once they are complete.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use intakt_operators::Frame;

use super::{Clock, Judged, Next, Source, StopFlag, read_file};
use crate::datasets::is_image;

/// Files in the folder beyond which none is taken: their names take some hundred megabytes, and every look lists them all.
pub const WATCHED_FILES_MAX: usize = 1_000_000;

/// Longest time from the first sight of a file to its last change; it also covers clocks of network shares that are a little off.
const WRITING_MAX: Duration = Duration::from_secs(60);

/// How a folder is watched.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// How long size and date of a file must stay the same, between two looks at least, until it counts as complete: 0.5 s
    /// by default, which outlasts the pauses of a writer on a network share. With 0 a file is taken at first sight: for
    /// writers that rename complete files into place.
    pub settle: Duration,
    /// Time between two looks: 0.2 s by default. Looking works on network shares, where notifications do not.
    pub look_every: Duration,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(500),
            look_every: Duration::from_millis(200),
        }
    }
}

/// A folder whose files are the frames of one camera.
///
/// A file is taken once it is complete ([`WatchOptions::settle`]; an empty one never is), and once as long as it lies in the
/// folder: its name is what counts. Files that become complete at the same look are taken by name. A file's event time is
/// when it was first seen, not its date, which a copy changes. Directories, links, hidden files and whatever has no image's
/// extension (`a.png.part`) are left alone. A file that vanishes before it is complete was never a frame; one that vanishes
/// afterwards is a frame without bytes.
///
/// A file that was judged before the run was interrupted ([`Source::leave_out`]) and still lies there is not taken again; one
/// with its name and a date that is more than a minute later than its first sight is another one.
///
/// It keeps the names of the files in the folder, at most [`WATCHED_FILES_MAX`], and forgets those that are gone; but not at
/// a look that finds nothing, because a share that is not mounted looks like that.
pub struct Watch {
    camera: Arc<str>,
    folder: PathBuf,
    options: WatchOptions,
    clock: Arc<dyn Clock>,
    seq: u64,
    /// Names that were taken, or are to be left alone.
    taken: BTreeSet<OsString>,
    /// What was judged before the run was interrupted, until it is known what of it still lies here.
    judged: Option<Judged>,
    /// Files that may still be written.
    growing: BTreeMap<OsString, Growing>,
    /// Complete files, with the time of their first sight.
    ready: VecDeque<(OsString, u64)>,
    /// What was told and goes on.
    trouble: Option<String>,
    looked: bool,
}

/// A file as it was seen.
struct Growing {
    first_seen_us: u64,
    same_since_us: u64,
    size_and_date: SizeAndDate,
}

type SizeAndDate = (u64, Option<SystemTime>);

impl Watch {
    /// Watches `folder`, which need not be there yet.
    pub fn new(camera: Arc<str>, folder: PathBuf, options: WatchOptions, clock: Arc<dyn Clock>) -> Self {
        Self {
            camera,
            folder,
            taken: BTreeSet::new(),
            judged: None,
            options,
            clock,
            seq: 0,
            growing: BTreeMap::new(),
            ready: VecDeque::new(),
            trouble: None,
            looked: false,
        }
    }

    fn take(&mut self, name: &OsStr, first_seen_us: u64) -> Frame {
        let path = self.folder.join(name);
        let seq = self.seq;
        self.seq += 1;
        Frame {
            camera: self.camera.clone(),
            seq,
            captured_at_us: first_seen_us,
            origin: path.to_string_lossy().into(),
            bytes: read_file(&path).map(Into::into).map_err(Into::into),
            recorded: None,
        }
    }

    /// Lists the folder and sorts out which files are complete.
    fn look(&mut self, stop: &StopFlag) -> Result<(), String> {
        let now_us = self.clock.now_us();
        let found = list(&self.folder)?;
        if !self.recall(&found, stop)? {
            return Ok(());
        }
        if !found.is_empty() {
            self.taken.retain(|name| found.contains_key(name));
        }
        self.growing.retain(|name, _| found.contains_key(name));
        for (name, size_and_date) in found {
            if self.taken.contains(&name) {
                continue;
            }
            if let Some(first_seen_us) = self.completed(&name, size_and_date, now_us) {
                self.growing.remove(&name);
                self.taken.insert(name.clone());
                self.ready.push_back((name, first_seen_us));
            }
        }
        Ok(())
    }

    /// Learns which of the files that lie here were judged before the run was interrupted. Whether that is known: not while nothing
    /// lies here, and not if it was stopped.
    fn recall(&mut self, found: &BTreeMap<OsString, SizeAndDate>, stop: &StopFlag) -> Result<bool, String> {
        let Some(judged) = self.judged.as_ref().filter(|_| !found.is_empty()) else {
            return Ok(true);
        };
        let origin = |name: &OsString| self.folder.join(name).to_string_lossy().into_owned();
        let by_origin: BTreeMap<String, &OsString> = found.keys().map(|name| (origin(name), name)).collect();
        let mut newest_us: BTreeMap<&OsString, u64> = BTreeMap::new();
        judged(&mut |origin, captured_at_us| {
            if let Some(name) = by_origin.get(origin) {
                newest_us.insert(name, captured_at_us);
            }
            !stop.is_stopped()
        })?;
        if stop.is_stopped() {
            return Ok(false);
        }
        let same = newest_us
            .into_iter()
            .filter(|(name, captured_at_us)| is_same(found[*name].1, *captured_at_us));
        self.taken.extend(same.map(|(name, _)| name.clone()));
        self.judged = None;
        Ok(true)
    }

    /// When the file was first seen, if it is complete.
    fn completed(&mut self, name: &OsStr, seen: SizeAndDate, now_us: u64) -> Option<u64> {
        let new = || Growing {
            first_seen_us: now_us,
            same_since_us: now_us,
            size_and_date: seen,
        };
        let file = self.growing.entry(name.to_owned()).or_insert_with(new);
        if file.size_and_date != seen {
            file.size_and_date = seen;
            file.same_since_us = now_us;
        }
        let unchanged_us = u128::from(now_us.saturating_sub(file.same_since_us));
        (seen.0 > 0 && unchanged_us >= self.options.settle.as_micros()).then_some(file.first_seen_us)
    }
}

impl Source for Watch {
    fn camera(&self) -> &Arc<str> {
        &self.camera
    }

    /// Files wait in their folder.
    fn is_live(&self) -> bool {
        false
    }

    /// Numbers on from `seq`; which files were inspected is told by [`Source::leave_out`].
    fn has_own_clock(&self) -> bool {
        false
    }

    fn resume_at(&mut self, seq: u64) {
        self.seq = seq;
    }

    fn leave_out(&mut self, judged: Judged) {
        self.judged = Some(judged);
    }

    fn next(&mut self, stop: &StopFlag) -> Next {
        while !stop.is_stopped() {
            if let Some((name, first_seen_us)) = self.ready.pop_front() {
                return Next::Frame(self.take(&name, first_seen_us));
            }
            if self.looked && stop.wait(self.options.look_every) {
                break;
            }
            self.looked = true;
            let trouble = self.look(stop).err();
            if self.trouble != trouble {
                self.trouble.clone_from(&trouble);
                if let Some(trouble) = trouble {
                    return Next::Trouble(trouble);
                }
            }
        }
        Next::Ended
    }
}

/// Size and date of the frames in the folder, by name.
fn list(folder: &Path) -> Result<BTreeMap<OsString, SizeAndDate>, String> {
    let failed = |error| {
        format!(
            "cannot list the folder \"{}\": {error}; looking again",
            folder.display()
        )
    };
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if !is_frame(&name) {
            continue;
        }
        // What vanished meanwhile was no frame yet.
        let Ok(about) = entry.metadata() else { continue };
        if !about.is_file() {
            continue;
        }
        if found.len() == WATCHED_FILES_MAX {
            return Err(format!(
                "the folder \"{}\" holds more than {WATCHED_FILES_MAX} images: move away those that were inspected",
                folder.display()
            ));
        }
        found.insert(name, (about.len(), about.modified().ok()));
    }
    Ok(found)
}

/// Whether a file of this date is the one that was first seen then, microseconds.
fn is_same(date: Option<SystemTime>, first_seen_us: u64) -> bool {
    let last_change = SystemTime::UNIX_EPOCH + Duration::from_micros(first_seen_us) + WRITING_MAX;
    date.is_none_or(|date| date <= last_change)
}

/// Whether the name is that of an image that is not hidden.
fn is_frame(name: &OsStr) -> bool {
    let hidden = name.as_encoded_bytes().starts_with(b".");
    !hidden && is_image(Path::new(name))
}

#[cfg(test)]
mod tests {
    use super::super::SystemClock;
    use super::super::compliance::{Subject, Taken, TickingClock, frame, trouble};
    use super::*;

    /// A look every millisecond; the clock ticks one as well, so a file is complete after 5 looks.
    fn options() -> WatchOptions {
        WatchOptions {
            settle: Duration::from_millis(5),
            look_every: Duration::from_millis(1),
        }
    }

    fn watch(folder: &Path, options: WatchOptions) -> Watch {
        let clock = Arc::new(TickingClock::default());
        Watch::new("door".into(), folder.to_owned(), options, clock)
    }

    fn put(folder: &Path, name: &str, bytes: &[u8]) {
        std::fs::write(folder.join(name), bytes).expect("written");
    }

    #[test]
    fn a_hot_folder_complies() {
        const FRAMES: [&str; 4] = ["b.png", "a.JPG", "d.bmp", "c.tif"];
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["0.png.part", ".1.png", "2.tmp", "3.txt", "4.png~"] {
            put(folder.path(), name, name.as_bytes());
        }
        std::fs::create_dir(folder.path().join("e.png")).expect("made");
        put(folder.path(), "empty.png", b"");
        let fresh = || -> Box<dyn Source> {
            for name in FRAMES {
                put(folder.path(), name, name.as_bytes());
            }
            Box::new(watch(folder.path(), options()))
        };
        let spoil = || FRAMES.iter().for_each(|name| put(folder.path(), name, b"spoilt"));
        let (mut source, stop) = (fresh(), StopFlag::default());
        for name in ["a.JPG", "b.png", "c.tif", "d.bmp"] {
            let frame = frame(source.as_mut(), &stop);
            assert_eq!(frame.bytes.as_deref(), Ok(name.as_bytes()), "by name");
            assert!(frame.origin.ends_with(name));
            assert_eq!(frame.captured_at_us, 0, "when first seen");
        }
        Subject {
            fresh: &fresh,
            frames: 4,
            ends: false,
            replayable: false,
            broken: &[],
            taken: Taken::Spoilt(&spoil),
            ahead_max: 1,
        }
        .complies();
    }

    #[test]
    fn a_file_is_taken_when_it_no_longer_grows() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut source = watch(folder.path(), options());
        for n in 1..20 {
            put(folder.path(), "a.png", &vec![7; n]);
            source.look(&StopFlag::default()).expect("lists");
            assert!(source.ready.is_empty(), "still growing at {n} bytes");
        }
        for look in 0..5 {
            assert!(source.ready.is_empty(), "complete after {look} looks");
            source.look(&StopFlag::default()).expect("lists");
        }
        assert_eq!(source.ready, [("a.png".into(), 0)]);
    }

    #[test]
    fn a_file_renamed_into_place_is_taken_at_once_where_writers_do_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut source = watch(
            folder.path(),
            WatchOptions {
                settle: Duration::ZERO,
                ..options()
            },
        );
        put(folder.path(), "a.png.part", b"half");
        source.look(&StopFlag::default()).expect("lists");
        assert!(source.ready.is_empty());
        std::fs::rename(folder.path().join("a.png.part"), folder.path().join("a.png")).expect("renamed");
        source.look(&StopFlag::default()).expect("lists");
        assert_eq!(source.ready.len(), 1);
    }

    #[test]
    fn a_file_that_vanishes_after_it_was_complete_is_a_frame_without_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        put(folder.path(), "a.png", b"a");
        put(folder.path(), "b.png", b"b");
        let (mut source, stop) = (watch(folder.path(), options()), StopFlag::default());
        assert!(frame(&mut source, &stop).bytes.is_ok());
        std::fs::remove_file(folder.path().join("b.png")).expect("removed");
        let reason = frame(&mut source, &stop).bytes.expect_err("it is gone");
        assert!(reason.starts_with("cannot open the file: "), "{reason}");
        put(folder.path(), "c.png", b"c");
        assert_eq!(frame(&mut source, &stop).seq, 2);
    }

    /// What a store would tell of these files.
    fn judged(folder: &Path, files: &[(&str, u64)]) -> Judged {
        let origin = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let files: Vec<_> = files
            .iter()
            .map(|(name, captured_at_us)| (origin(name), *captured_at_us))
            .collect();
        Box::new(move |tell| {
            let _ = files
                .iter()
                .all(|(origin, captured_at_us)| tell(origin, *captured_at_us));
            Ok(())
        })
    }

    #[test]
    fn judged_files_are_not_taken_again_and_forgotten_when_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        put(folder.path(), "a.png", b"a");
        put(folder.path(), "b.png", b"b");
        let (mut source, stop) = (watch(folder.path(), options()), StopFlag::default());
        let now_us = SystemClock.now_us();
        source.leave_out(judged(folder.path(), &[("a.png", now_us), ("gone.png", now_us)]));
        source.resume_at(1);
        let frame = frame(&mut source, &stop);
        assert_eq!((frame.seq, frame.bytes.as_deref()), (1, Ok(&b"b"[..])));
        assert_eq!(source.taken, ["a.png", "b.png"].map(OsString::from).into());

        std::fs::remove_file(folder.path().join("a.png")).expect("removed");
        std::fs::remove_file(folder.path().join("b.png")).expect("removed");
        source.look(&stop).expect("lists");
        assert_eq!(source.taken.len(), 2, "a share that is not mounted looks empty");
        put(folder.path(), "c.png", b"c");
        source.look(&stop).expect("lists");
        assert!(source.taken.is_empty());
    }

    #[test]
    fn a_file_that_has_replaced_a_judged_one_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let written_us = 1_767_592_800_000_000;
        for name in ["same.png", "slow.png", "replaced.png", "twice.png"] {
            put(folder.path(), name, b"x");
            let file = std::fs::File::options().append(true).open(folder.path().join(name));
            let date = SystemTime::UNIX_EPOCH + Duration::from_micros(written_us);
            file.and_then(|file| file.set_modified(date)).expect("dated");
        }
        let mut source = watch(folder.path(), options());
        let files = [
            ("replaced.png", written_us - 61_000_000),
            ("same.png", written_us + 1),
            ("slow.png", written_us - 59_000_000),
            ("twice.png", 0),
            ("twice.png", written_us),
        ];
        source.leave_out(judged(folder.path(), &files));
        source.look(&StopFlag::default()).expect("lists");
        assert_eq!(source.growing.keys().collect::<Vec<_>>(), ["replaced.png"]);
    }

    #[test]
    fn what_was_judged_is_asked_for_when_the_folder_is_there() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("share");
        let mut source = watch(&folder, options());
        source.leave_out(judged(&folder, &[("a.png", SystemClock.now_us())]));
        let stop = StopFlag::default();
        assert!(source.look(&stop).is_err());
        std::fs::create_dir(&folder).expect("made");
        source.look(&stop).expect("lists");
        put(&folder, "a.png", b"a");
        put(&folder, "b.png", b"b");
        assert!(frame(&mut source, &stop).origin.ends_with("b.png"));
    }

    #[test]
    fn a_missing_folder_is_told_once_and_looked_for_again() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("later");
        let (mut source, stop) = (watch(&folder, options()), StopFlag::default());
        assert!(trouble(&mut source, &stop).starts_with("cannot list the folder"));
        for _ in 0..3 {
            assert!(source.look(&StopFlag::default()).is_err());
        }
        std::fs::create_dir(&folder).expect("made");
        put(&folder, "a.png", b"a");
        assert!(matches!(source.next(&stop), Next::Frame(_)), "and nothing more is told");
    }
}
