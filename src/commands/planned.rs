//! What is to be inspected by what, as it was typed or written in a run file.

use std::path::PathBuf;
use std::sync::Arc;

use intakt_operators::detector::Detector;
use intakt_pipelines::cluster::{Cluster, Hosts};
use intakt_pipelines::datasets::{CameraFiles, collect_images};
use intakt_pipelines::sources::{Poster, file_frames};
use intakt_pipelines::{Camera, Detectors, Figures, PipelineError, load_detector};

use super::kept::Elsewhere;
use super::{cluster, settings};
use crate::cli::{InspectArgs, SuppressionArgs};
use crate::run_file;
use crate::run_file::Question;
use crate::server::Listen;
use crate::terminal;

/// What is to be inspected by what.
pub(crate) struct Planned {
    pub(crate) cameras: Vec<Camera>,
    pub(crate) detectors: Detectors,
    /// What looks at the same frames without deciding anything.
    pub(crate) shadow: Option<Detector>,
    /// Frames, where all cameras have an end.
    pub(crate) frames: Option<u64>,
    /// Files that are read, and must not be written.
    pub(crate) reads: Vec<PathBuf>,
    /// The detectors among them.
    pub(crate) detector_files: Vec<PathBuf>,
    /// Folders that frames are taken from.
    pub(crate) folders: Vec<PathBuf>,
    /// Where to record.
    record: Option<PathBuf>,
    /// Where to keep the run.
    run: Option<PathBuf>,
    pub(crate) cluster: Option<Cluster>,
    /// The cameras of other processes.
    pub(crate) elsewhere: Vec<Elsewhere>,
    pub(crate) figures: Figures,
    pub(crate) questions: Vec<Question>,
    pub(crate) listen: Option<Listen>,
    pub(crate) posters: Vec<Poster>,
}

/// Where a run leaves what it leaves.
pub(crate) struct Places {
    /// The recording.
    pub(crate) record: Option<PathBuf>,
    /// The run, where this process keeps it.
    pub(crate) run: Option<PathBuf>,
    /// What the run is doing.
    pub(crate) status: Option<PathBuf>,
}

impl Planned {
    /// Reads what was typed, and opens what it names.
    pub(crate) fn of(args: &InspectArgs) -> Result<Self, PipelineError> {
        let hosts = cluster::hosts(&args.cluster.hosts)?;
        let shadow = args.shadow.as_deref().map(load_detector).transpose()?;
        match (run_file::is_run_file(&args.detector), hosts) {
            (true, hosts) => from_run_file(args, hosts, shadow),
            (false, _) if !args.set.is_empty() => {
                let refusal = "cannot override keys of no run file: `--set` goes with one, which ends in .toml";
                Err(PipelineError::Refused(refusal.to_owned()))
            }
            (false, None) => from_paths(args, shadow),
            (false, Some(_)) => {
                let refusal = "cannot share images among processes\n  hint: `--hosts` goes with a run file, which says whose \
                               a camera is";
                Err(PipelineError::Refused(refusal.to_owned()))
            }
        }
    }

    /// The number of this process, where there are several.
    pub(crate) fn process(&self) -> Option<usize> {
        self.cluster.as_ref().map(|cluster| cluster.process)
    }
}

impl Places {
    /// Where `planned` leaves what it leaves: frames and what a process is doing are each process's own, the run is process 0's.
    pub(crate) fn of(args: &InspectArgs, planned: &Planned) -> Result<Self, PipelineError> {
        let process = planned.process();
        let own = |directory: &PathBuf, process: usize| directory.join(format!("process-{process}"));
        let record = args.record.as_ref().or(planned.record.as_ref());
        let run = args.keep.run.as_ref().or(planned.run.as_ref());
        refuse_lonely_resume(args.keep.resume, run, record)?;
        let others = process.filter(|process| *process > 0);
        let places = Self {
            record: record.map(|directory| process.map_or(directory.clone(), |process| own(directory, process))),
            status: run.map(|directory| others.map_or(directory.clone(), |process| own(directory, process))),
            run: run.filter(|_| others.is_none()).cloned(),
        };
        for output in args.heatmaps.iter().chain(&places.record).chain(&places.status) {
            settings::refuse_output_among_frames(output, &planned.folders)?;
        }
        Ok(places)
    }
}

fn from_paths(args: &InspectArgs, shadow: Option<Detector>) -> Result<Planned, PipelineError> {
    if args.paths.is_empty() {
        let refusal = "cannot inspect nothing: name images, directories of images or manifests\n  hint: \
                       `intakt inspect line.intakt images/`, or a run file that ends in .toml";
        return Err(PipelineError::Refused(refusal.to_owned()));
    }
    let detector = settings::detector(&args.detector, &args.suppression)?;
    let collected = collect_images(&args.paths)?;
    if let Some(note) = collected.note() {
        terminal::say(&format!("note: {note}"));
    }
    let collected = collected.cameras;
    let files = || collected.iter().flat_map(|camera| &camera.files);
    let named = args.paths.iter().chain([&args.detector]).chain(&args.suppression.roi);
    Ok(Planned {
        detectors: Detectors::common(detector),
        shadow,
        frames: Some(files().count() as u64),
        reads: named.chain(files().map(|file| &file.path)).cloned().collect(),
        detector_files: vec![args.detector.clone()],
        folders: args.paths.clone(),
        record: None,
        cluster: None,
        elsewhere: Vec::new(),
        run: None,
        figures: settings::figures(&args.keep),
        questions: Vec::new(),
        listen: settings::listen(&args.server, None)?,
        posters: vec![],
        cameras: collected.into_iter().map(camera).collect(),
    })
}

fn camera(camera: CameraFiles) -> Camera {
    let files = camera.files.into_iter().map(|file| (file.path, file.captured_at_us));
    file_frames(camera.camera.into(), files.collect()).into()
}

fn from_run_file(
    args: &InspectArgs,
    hosts: Option<(Hosts, usize)>,
    shadow: Option<Detector>,
) -> Result<Planned, PipelineError> {
    let refused = |what: &str, hint: &str| {
        Err(PipelineError::Refused(format!(
            "cannot take {what} beside run file \"{}\"\n  hint: {hint}",
            args.detector.display()
        )))
    };
    if !args.paths.is_empty() {
        return refused("images", "give them a `[[camera]]` with `source = \"directory\"` in it");
    }
    if args.suppression != SuppressionArgs::default() {
        return refused("suppression rules", "state them at `fit`, each detector has its own");
    }
    let place = cluster::place(hosts.as_ref());
    let run = run_file::load(&args.detector, &args.set, place, &args.server, args.keep.run.is_some())?;
    run.notes
        .iter()
        .for_each(|note| crate::terminal::say(&format!("note: {note}")));
    let figures = run.figures.clone().unwrap_or_else(|| settings::figures(&args.keep));
    let detectors = run.names.iter().map(|camera| run.detectors.of(camera).id().clone());
    let shadows = shadow.as_ref().map(|shadow| shadow.id().clone());
    let agreed: Vec<Arc<str>> = detectors.chain(shadows).collect();
    let cluster = hosts.map(|hosts| cluster::cluster(hosts, &args.cluster.hosts, &run.text, agreed, &figures));
    let frames = run.cameras.iter().map(|planned| planned.frames).sum();
    Ok(Planned {
        detectors: run.detectors,
        shadow,
        frames,
        reads: run.reads.into_iter().chain([args.detector.clone()]).collect(),
        detector_files: run.detector_files,
        folders: run.folders,
        record: run.record,
        cluster,
        elsewhere: run.elsewhere,
        figures,
        run: run.run,
        questions: run.questions,
        listen: run.listen,
        posters: run.posters,
        cameras: run.cameras.into_iter().map(|planned| planned.camera).collect(),
    })
}

/// Refuses to go on with what is not kept.
fn refuse_lonely_resume(resume: bool, run: Option<&PathBuf>, record: Option<&PathBuf>) -> Result<(), PipelineError> {
    if resume && run.is_none() {
        let what = if record.is_some() {
            "a recording alone"
        } else {
            "nothing"
        };
        return Err(PipelineError::Refused(format!(
            "cannot go on with {what}: `--resume` needs the directory of a run\n  hint: keep the run with `--run DIR`"
        )));
    }
    Ok(())
}
