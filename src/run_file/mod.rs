//! A run file: cameras, their sources, detectors and policies, in TOML.

mod overridden;
mod rates;
mod serving;
mod synthetic;
mod typed;
mod v4l2;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use intakt_operators::detector::Detector;
use intakt_pipelines::cluster::PROCESSES_MAX;
use intakt_pipelines::datasets::collect_images;
use intakt_pipelines::sources::{
    Mjpeg, MjpegOptions, Paced, Poster, Rtsp, RtspOptions, Source, SystemClock, Video, VideoOptions, Watch,
    WatchOptions, file_frames,
};
use intakt_pipelines::{Camera, Detectors, Figures, Intake, PipelineError, load_detector};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use self::overridden::Overridden;
use self::typed::{SourceKind, Typed, TypedCamera};
use crate::cli::ServerArgs;
use crate::commands::Elsewhere;
use crate::server::Listen;

/// Largest run file that is read, bytes: a thousand cameras take a tenth of it.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Most cameras of a run: each has a thread.
const CAMERAS_MAX: usize = 1024;

/// Bounds of what a run file may ask for: frames in a queue, frames alive, and an hour.
const DEPTH: Range<usize> = 1..100_001;
const CREDIT: Range<usize> = 1..10_001;
const MILLIS_MAX: u64 = 3_600_000;

/// Where a run file is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere yet: it is looked at.
    Unknown,
    /// In one process.
    Alone,
    /// In one of several processes.
    Process { process: usize, processes: usize },
}

impl Place {
    fn processes(self) -> usize {
        match self {
            Self::Unknown => PROCESSES_MAX,
            Self::Alone => 1,
            Self::Process { processes, .. } => processes,
        }
    }

    /// Whether cameras of a process are read here.
    fn reads(self, of: usize) -> bool {
        match self {
            Self::Process { process, .. } => process == of,
            _ => true,
        }
    }
}

/// What a run file means.
pub(crate) struct RunFile {
    /// What is written in it, with what was overridden.
    pub(crate) text: String,
    /// The names of all its cameras, in the order of the file.
    pub(crate) names: Vec<Arc<str>>,
    /// The cameras of this process, in the order of the file.
    pub(crate) cameras: Vec<PlannedCamera>,
    /// The cameras of other processes.
    pub(crate) elsewhere: Vec<Elsewhere>,
    /// What looks at them.
    pub(crate) detectors: Detectors,
    /// Where to record.
    pub(crate) record: Option<PathBuf>,
    /// Where to keep the run.
    pub(crate) run: Option<PathBuf>,
    /// What is counted, where the file says something about it.
    pub(crate) figures: Option<Figures>,
    /// Other thresholds that are asked about.
    pub(crate) questions: Vec<Question>,
    /// Where to listen.
    pub(crate) listen: Option<Listen>,
    /// How frames get to the cameras that are posted to.
    pub(crate) posters: Vec<Poster>,
    /// The files it names: detectors, images, videos.
    pub(crate) reads: Vec<PathBuf>,
    /// The detectors among them.
    pub(crate) detector_files: Vec<PathBuf>,
    /// The folders that frames are taken from.
    pub(crate) folders: Vec<PathBuf>,
    /// What may not be meant.
    pub(crate) notes: Vec<String>,
}

/// Another threshold that is asked about on every camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) name: String,
    /// A calibrated score.
    pub(crate) threshold: f64,
}

/// A camera of a run, with what a person wants to know about it.
pub(crate) struct PlannedCamera {
    pub(crate) camera: Camera,
    /// Its source, in words.
    pub(crate) source: String,
    /// Frames, where it has an end.
    pub(crate) frames: Option<u64>,
    /// The process that reads it.
    pub(crate) process: usize,
}

/// Whether `path` names a run file rather than a detector.
pub(crate) fn is_run_file(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

/// Whether a run file, with `settings` in it, says that the run is kept. What else is in it, and whether it can be run, is not
/// looked at.
pub(crate) fn keeps(path: &Path, settings: &[String]) -> bool {
    let overridden = read(path).ok().and_then(|text| Overridden::new(&text, settings).ok());
    let typed = overridden.and_then(|file| toml::from_str::<Typed>(&file.text).ok());
    typed.is_some_and(|typed| typed.run.is_some())
}

/// Reads a run file, overrides in it what `settings` say, and opens what it names: all detectors, and the cameras that are read
/// at `place`. `server` overrides what it says about its server; `keeps` says whether the run is kept, whatever the file says.
///
/// # Errors
/// All that is wrong with it, a line each, with file, line and key.
pub(crate) fn load(
    path: &Path,
    settings: &[String],
    place: Place,
    server: &ServerArgs,
    keeps: bool,
) -> Result<RunFile, PipelineError> {
    let file = Overridden::new(&read(path)?, settings).map_err(|problem| refusal(path, &[problem]))?;
    let typed: Typed = toml::from_str(&file.text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let key = key_of(&file.text, at, error.message()).map_or_else(String::new, |key| format!("{key}: "));
        let hint = match error.message() {
            "invalid type: map, expected a sequence" => {
                "\n    hint: there may be several, so that it is `[[camera]]` or `[[what_if]]`"
            }
            _ => "",
        };
        refusal(
            path,
            &[format!("{}: {key}{}{hint}", file.origin(path, at), error.message())],
        )
    })?;
    let mut reader = Reader {
        path,
        place,
        keeps,
        file: &file,
        base: path.parent().unwrap_or(Path::new("")),
        loaded: BTreeMap::new(),
        reads: Vec::new(),
        folders: Vec::new(),
        posters: Vec::new(),
        problems: Vec::new(),
        notes: Vec::new(),
    };
    let run = reader.run(typed, server);
    match run {
        Some(run) if reader.problems.is_empty() => Ok(run),
        _ => Err(refusal(path, &reader.problems)),
    }
}

fn read(path: &Path) -> Result<String, PipelineError> {
    let bytes = std::fs::metadata(path).map_err(PipelineError::read(path))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(refusal(
            path,
            &[format!("it has {bytes} bytes, more than {FILE_BYTES_MAX}")],
        ));
    }
    std::fs::read_to_string(path).map_err(PipelineError::read(path))
}

fn refusal(path: &Path, problems: &[String]) -> PipelineError {
    PipelineError::Refused(format!(
        "cannot use run file \"{}\":\n  {}",
        path.display(),
        problems.join("\n  ")
    ))
}

/// The key whose value at `at` is at fault, where `message` does not name it.
fn key_of<'a>(text: &'a str, at: usize, message: &str) -> Option<&'a str> {
    let is_of_value = ["invalid type", "invalid value", "unknown variant"]
        .iter()
        .any(|kind| message.starts_with(kind));
    let (key, _) = text[..at]
        .lines()
        .next_back()
        .filter(|_| is_of_value)?
        .split_once('=')?;
    Some(key.trim())
}

/// What is to be said where some cameras count time from 1970 and others go by the clock.
fn clocks(cameras: &[Spanned<TypedCamera>]) -> Option<String> {
    let of = |has_own: bool| {
        let mut cameras = cameras.iter().map(Spanned::get_ref);
        cameras.find(|camera| camera.source.get_ref().has_own_clock() == has_own)
    };
    let (file, live) = (of(true)?, of(false)?);
    Some(format!(
        "camera \"{}\" ({}) has event times of its own and \"{}\" ({}) goes by the clock: in one run each counts as one whose clock \
         is off, labels may be too late and cameras silent; give them runs of their own",
        file.name.get_ref(),
        file.source.get_ref().name(),
        live.name.get_ref(),
        live.source.get_ref().name()
    ))
}

/// A source, in words too, and its frames where it has an end.
type Opened = (Box<dyn Source>, String, Option<u64>);

/// Turns what is written into what is meant, and collects what cannot be.
struct Reader<'a> {
    path: &'a Path,
    place: Place,
    keeps: bool,
    file: &'a Overridden,
    base: &'a Path,
    loaded: BTreeMap<PathBuf, Option<Arc<Detector>>>,
    reads: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    posters: Vec<Poster>,
    problems: Vec<String>,
    notes: Vec<String>,
}

impl Reader<'_> {
    fn run(&mut self, typed: Typed, server: &ServerArgs) -> Option<RunFile> {
        if typed.camera.is_empty() || typed.camera.len() > CAMERAS_MAX {
            let found = typed.camera.len();
            let excess = typed.camera.get(CAMERAS_MAX);
            self.problem(
                &excess.map_or(0..0, Spanned::span),
                "camera",
                &format!("there are {found} of them, and 1 to {CAMERAS_MAX} are possible"),
            );
        }
        let listen = self.listen(typed.server.as_ref(), server, &typed.camera);
        let common = typed.detector.as_ref().and_then(|path| self.detector(path));
        let mut detectors: Option<Detectors> = common.clone().map(Detectors::common);
        let mut cameras: Vec<PlannedCamera> = Vec::new();
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut elsewhere = Vec::new();
        let mut lines = BTreeMap::new();
        let keeps = typed.run.is_some() || self.keeps;
        self.notes.extend(clocks(&typed.camera));
        for entry in typed.camera {
            let span = entry.span();
            let entry = entry.into_inner();
            self.check_name(&entry.name, &names);
            names.push(entry.name.get_ref().as_str().into());
            if let Some(line) = &entry.line {
                lines.insert(entry.name.get_ref().as_str().into(), line.as_str().into());
            }
            let own = entry.detector.as_ref().and_then(|path| self.detector(path));
            if entry.detector.is_none() && typed.detector.is_none() {
                self.problem(
                    &span,
                    "detector",
                    "the camera has none, and there is none for all cameras",
                );
            }
            if let Some(detector) = own {
                let assigned = detectors.get_or_insert_with(|| Detectors::common(detector.clone()));
                assigned.assign(entry.name.get_ref(), detector);
            }
            let process = self.process(&entry);
            if self.place.reads(process) {
                cameras.extend(self.camera(&entry, &span, process));
            } else {
                elsewhere.push(Elsewhere {
                    camera: entry.name.get_ref().as_str().into(),
                    has_own_clock: entry.source.get_ref().has_own_clock(),
                });
            }
        }
        let detectors = detectors?;
        let figures = self.figures(typed.rates.as_ref(), &lines, &names, &detectors, keeps);
        let questions = self.questions(&typed.what_if, keeps);
        Some(RunFile {
            text: self.file.text.clone(),
            names,
            cameras,
            elsewhere,
            detectors,
            figures,
            questions,
            run: typed.run.map(|directory| self.base.join(directory)),
            record: typed.record.map(|directory| self.base.join(directory)),
            listen,
            posters: std::mem::take(&mut self.posters),
            detector_files: self.loaded.keys().cloned().collect(),
            reads: self.loaded.keys().cloned().chain(self.reads.drain(..)).collect(),
            folders: std::mem::take(&mut self.folders),
            notes: std::mem::take(&mut self.notes),
        })
    }

    fn problem(&mut self, span: &Range<usize>, key: &str, what: &str) {
        let origin = self.file.origin(self.path, span.start);
        self.problems.push(format!("{origin}: {key}: {what}"));
    }

    /// The process that reads the camera.
    fn process(&mut self, entry: &TypedCamera) -> usize {
        let Some(typed) = &entry.process else { return 0 };
        let (process, processes) = (*typed.get_ref(), self.place.processes());
        if process >= processes {
            let what = match self.place {
                Place::Alone => format!("there is no process {process}\n    hint: name the processes with `--hosts`"),
                _ => format!("there is no process {process} among {processes}, counted from 0"),
            };
            self.problem(&typed.span(), "process", &what);
        }
        if process > 0 && *entry.source.get_ref() == SourceKind::Http {
            let what = "only process 0 serves the run, so that a source of kind \"http\" is posted to there";
            self.problem(&typed.span(), "process", what);
        }
        process
    }

    fn check_name(&mut self, name: &Spanned<String>, others: &[Arc<str>]) {
        let (span, name) = (name.span(), name.get_ref());
        if name.is_empty() || name.len() > 100 || name.contains(['/', '\\', '\n']) {
            self.problem(
                &span,
                "name",
                "a camera's name has 1 to 100 characters, without slashes and line breaks",
            );
        }
        if others.iter().any(|other| **other == **name) {
            self.problem(&span, "name", &format!("two cameras are called \"{name}\""));
        }
    }

    fn detector(&mut self, path: &Spanned<PathBuf>) -> Option<Arc<Detector>> {
        let file = self.base.join(path.get_ref());
        if let Some(known) = self.loaded.get(&file) {
            return known.clone();
        }
        let loaded = match load_detector(&file) {
            Ok(detector) => Some(Arc::new(detector)),
            Err(error) => {
                self.problem(&path.span(), "detector", &error.to_string());
                None
            }
        };
        self.loaded.insert(file, loaded.clone());
        loaded
    }

    fn camera(&mut self, entry: &TypedCamera, span: &Range<usize>, process: usize) -> Option<PlannedCamera> {
        let Some((source, words, frames)) = self.source(entry, span) else {
            // What else is wrong with the camera is said too.
            let mut unused = Intake::FILES;
            self.adjust(&mut unused, entry);
            return None;
        };
        let source = match entry.paced {
            true => Box::new(Paced::new(source)),
            false => source,
        };
        let mut camera = Camera::from(source);
        self.adjust(&mut camera.intake, entry);
        Some(PlannedCamera {
            camera,
            source: words,
            frames,
            process,
        })
    }

    fn source(&mut self, entry: &TypedCamera, span: &Range<usize>) -> Option<Opened> {
        let name: Arc<str> = entry.name.get_ref().as_str().into();
        let kind = *entry.source.get_ref();
        self.refuse_foreign_keys(entry);
        match kind {
            SourceKind::Http => return self.posted_camera(entry, name, span),
            SourceKind::Synthetic => return self.synthetic_camera(entry, name, span),
            SourceKind::V4l2 => return self.device_camera(entry, name, span),
            _ => {}
        }
        let (wanted, unwanted) = match kind {
            SourceKind::Mjpeg | SourceKind::Rtsp => ("url", entry.path.as_ref().map(|path| ("path", path.span()))),
            _ => ("path", entry.url.as_ref().map(|url| ("url", url.span()))),
        };
        if let Some((key, span)) = unwanted {
            self.problem(
                &span,
                key,
                &format!("a source of kind \"{}\" has a `{wanted}` instead", kind.name()),
            );
        }
        if entry.paced && matches!(kind, SourceKind::Watch | SourceKind::Mjpeg | SourceKind::Rtsp) {
            self.problem(
                span,
                "paced",
                &format!("a source of kind \"{}\" comes at its own pace", kind.name()),
            );
        }
        if matches!(kind, SourceKind::Mjpeg | SourceKind::Rtsp) {
            return self.network_camera(entry, name, span);
        }
        let Some(typed) = &entry.path else {
            self.problem(span, "path", &format!("a source of kind \"{}\" needs one", kind.name()));
            return None;
        };
        let path = self.base.join(typed.get_ref());
        let words = format!("{} {}", kind.name(), path.display());
        if kind != SourceKind::Video {
            self.folders.push(path.clone());
        }
        match kind {
            SourceKind::Watch => {
                let mut options = WatchOptions::default();
                if let Some(settle_ms) = self.within("settle_ms", &entry.settle_ms, 0..MILLIS_MAX + 1) {
                    options.settle = Duration::from_millis(settle_ms);
                }
                let watch = Watch::new(name, path, options, Arc::new(SystemClock));
                Some((Box::new(watch), words, None))
            }
            SourceKind::Video => {
                self.reads.push(path.clone());
                let video = Video::open(name, &path, VideoOptions::default());
                let video = self.opened(&typed.span(), "path", video)?;
                Some((Box::new(video), words, None))
            }
            _ => {
                let cameras = collect_images(&[path]).map_err(|error| error.to_string());
                let collected = self.opened(&typed.span(), "path", cameras)?;
                let note = collected.note();
                self.notes.extend(note.map(|note| format!("camera \"{name}\": {note}")));
                let files: Vec<_> = collected.cameras.into_iter().flat_map(|camera| camera.files).collect();
                let frames = Some(files.len() as u64);
                self.reads.extend(files.iter().map(|file| file.path.clone()));
                let files = files.into_iter().map(|file| (file.path, file.captured_at_us)).collect();
                Some((Box::new(file_frames(name, files)), words, frames))
            }
        }
    }

    fn network_camera(&mut self, entry: &TypedCamera, name: Arc<str>, span: &Range<usize>) -> Option<Opened> {
        let (kind, clock) = (*entry.source.get_ref(), Arc::new(SystemClock));
        let Some(url) = &entry.url else {
            let what = format!(
                "a source of kind \"{0}\" needs one, like \"{1}://camera/stream\"",
                kind.name(),
                kind.scheme()
            );
            self.problem(span, "url", &what);
            return None;
        };
        let source: Result<Box<dyn Source>, String> = match kind {
            SourceKind::Rtsp => {
                Rtsp::new(name, url.get_ref(), RtspOptions::default(), clock).map(|source| Box::new(source) as _)
            }
            _ => Mjpeg::new(name, url.get_ref(), MjpegOptions::default(), clock).map(|source| Box::new(source) as _),
        };
        let source = self.opened(&url.span(), "url", source)?;
        Some((source, kind.name().to_owned(), None))
    }

    /// Refuses the keys that only another kind has.
    fn refuse_foreign_keys(&mut self, entry: &TypedCamera) {
        let kind = *entry.source.get_ref();
        let keys = [
            (SourceKind::Synthetic, "scene", entry.scene.as_ref().map(Spanned::span)),
            (
                SourceKind::Synthetic,
                "frames",
                entry.frames.as_ref().map(Spanned::span),
            ),
            (SourceKind::Synthetic, "seed", entry.seed.as_ref().map(Spanned::span)),
            (
                SourceKind::Watch,
                "settle_ms",
                entry.settle_ms.as_ref().map(Spanned::span),
            ),
            (SourceKind::V4l2, "width", entry.width.as_ref().map(Spanned::span)),
            (SourceKind::V4l2, "height", entry.height.as_ref().map(Spanned::span)),
            (SourceKind::V4l2, "fps", entry.fps.as_ref().map(Spanned::span)),
        ];
        for (owner, key, span) in keys {
            if let Some(span) = span.filter(|_| owner != kind) {
                let what = format!("only a source of kind \"{}\" has one", owner.name());
                self.problem(&span, key, &what);
            }
        }
    }

    fn opened<S>(&mut self, span: &Range<usize>, key: &str, opened: Result<S, String>) -> Option<S> {
        opened.map_err(|reason| self.problem(span, key, &reason)).ok()
    }

    fn adjust(&mut self, intake: &mut Intake, entry: &TypedCamera) {
        intake.overflow = entry.overflow.unwrap_or(intake.overflow);
        intake.depth = self.within("depth", &entry.depth, DEPTH).unwrap_or(intake.depth);
        intake.credit = self.within("credit", &entry.credit, CREDIT).or(intake.credit);
        let patience = &mut intake.patience;
        let lateness_ms = self.within("lateness_ms", &entry.lateness_ms, 0..MILLIS_MAX + 1);
        patience.lateness_us = lateness_ms.map_or(patience.lateness_us, |millis| millis * 1_000);
        let idle_ms = self.within("idle_ms", &entry.idle_ms, 1..MILLIS_MAX + 1);
        patience.idle = idle_ms.map(Duration::from_millis).or(patience.idle);
        let skew_ms = self.within("skew_ms", &entry.skew_ms, 1..MILLIS_MAX + 1);
        patience.skew_max_us = skew_ms.map(|millis| millis * 1_000).or(patience.skew_max_us);
    }

    fn within<N: Copy + PartialOrd + std::fmt::Display>(
        &mut self,
        key: &str,
        typed: &Option<Spanned<N>>,
        range: Range<N>,
    ) -> Option<N> {
        let typed = typed.as_ref()?;
        let value = *typed.get_ref();
        if range.contains(&value) {
            return Some(value);
        }
        let what = format!("{value} is not within {} and (excluded) {}", range.start, range.end);
        self.problem(&typed.span(), key, &what);
        None
    }
}
