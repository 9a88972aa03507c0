//! `intakt demo`: a simulated line of three cameras through the whole program.

mod live;
mod outcome;
mod serve;

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use intakt_operators::detector::{CalibrationMethod, Detector, SuppressionRules};
use intakt_pipelines::datasets::{Dataset, Layout};
use intakt_pipelines::fit::{BackboneChoice, FitSettings, fit};
use intakt_pipelines::png::encode_png;
use intakt_pipelines::sinks::{HeatmapSelection, Heatmaps, Jsonl, Sink};
use intakt_pipelines::sources::synthetic::{Synthetic, SyntheticCamera, SyntheticLine};
use intakt_pipelines::{
    Detectors, Inspection, PipelineError, Progress, RunOptions, inspect, save_detector, write_atomically, write_picture,
};

use super::settings;
use crate::cli::DemoArgs;
use crate::progress::Shown;
use crate::{Outcome, report, terminal};
use live::LiveTable;
use outcome::Known;

/// Normal frames of each camera, fitting and calibration together: the fifth that is held out carries a threshold near the 1 % of
/// false rejects that is asked for.
const NORMAL_FRAMES: u64 = 400;

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> Result<Outcome, PipelineError> {
    let started = Instant::now();
    let options = settings::run_options(args.machine)?;
    if args.serve {
        serve::refuse_taken_address(args)?;
    }
    let line = Arc::new(SyntheticLine::new(args.seed));
    make(&args.out)?;
    let detectors = Arc::new(fit_cameras(&line, &args.out, &options)?);
    if args.serve {
        return serve::run(args);
    }
    terminal::say(&format!("\ninspecting {} frames of three cameras", 3 * args.frames));
    let streams = SyntheticCamera::ALL
        .map(|camera| Synthetic::new(camera.name().into(), line.clone(), camera, args.frames).into())
        .into();
    let verdicts = args.out.join("verdicts.jsonl");
    let known = Arc::new(Known::new(line));
    let live = Arc::new(LiveTable::new(args.frames));
    let sinks: Vec<Arc<dyn Sink>> = vec![
        live.clone(),
        known.clone(),
        Arc::new(Jsonl::outcomes(
            Box::new(BufWriter::new(create(&verdicts)?)),
            &verdicts.to_string_lossy(),
        )),
        Arc::new(Jsonl::rates(
            Box::new(BufWriter::new(create(&args.out.join("rates.jsonl"))?)),
            "rates.jsonl",
        )),
        Arc::new(heatmaps(&args.out)?),
    ];
    let report = inspect(Inspection::new(streams, detectors, sinks), &options)?;
    live.finish();
    terminal::say(&report::inspection(&report));
    let sheet = args.out.join("contact_sheet.png");
    let png = encode_png(&known.contact_sheet()).map_err(PipelineError::Refused)?;
    write_atomically(&sheet, &png)?;
    terminal::print(&known.summary())?;
    terminal::print(&format!(
        "verdicts       {}\npictures       {}\ncontact sheet  {}\ntook           {:.1} s",
        verdicts.display(),
        args.out.join("heatmaps").display(),
        sheet.display(),
        started.elapsed().as_secs_f64()
    ))?;
    Ok(Outcome::Passed)
}

/// A detector per camera, each fitted on that camera's own normal frames, which are left on disk to look at.
fn fit_cameras(line: &SyntheticLine, out: &Path, options: &RunOptions) -> Result<Detectors, PipelineError> {
    let progress: Arc<dyn Progress> = Arc::new(Shown::default());
    let mut detectors: Option<Detectors> = None;
    for camera in SyntheticCamera::ALL {
        terminal::say(&format!("camera {}", camera.name()));
        let normal = out.join("normal").join(camera.name());
        render_normal(line, camera, &normal)?;
        let dataset = Dataset::open(&normal, Some(Layout::Folder), None)?;
        let detector = fit(&dataset, &fit_settings(), options, &progress)?;
        save_detector(&detector, &out.join(format!("{}.intakt", camera.name())))?;
        terminal::say(&format!("  {}", detector.calibration().statement));
        detectors = Some(assigned(detectors, camera, detector));
    }
    detectors.ok_or_else(|| PipelineError::Refused("the line has no cameras".to_owned()))
}

fn assigned(detectors: Option<Detectors>, camera: SyntheticCamera, detector: Detector) -> Detectors {
    match detectors {
        None => Detectors::common(detector),
        Some(mut detectors) => {
            detectors.assign(camera.name(), detector);
            detectors
        }
    }
}

fn fit_settings() -> FitSettings {
    FitSettings {
        detector: None,
        backbone: BackboneChoice::Builtin,
        precision: None,
        size_px: super::fit::SIZE_PX,
        crop_px: None,
        tiling: None,
        layers: None,
        coreset_ratio: 0.01,
        seed: 0,
        image_score: None,
        calibration: CalibrationMethod::Conformal {
            false_reject_rate: 0.01,
        },
        suppression: SuppressionRules::default(),
        keep_sums: false,
    }
}

fn render_normal(line: &SyntheticLine, camera: SyntheticCamera, directory: &Path) -> Result<(), PipelineError> {
    make(directory)?;
    for n in 0..NORMAL_FRAMES {
        let png = encode_png(&line.normal(camera, n).image).map_err(PipelineError::Refused)?;
        write_picture(&directory.join(format!("{n:04}.png")), &png)?;
    }
    Ok(())
}

fn heatmaps(out: &Path) -> Result<Heatmaps, PipelineError> {
    let directory = out.join("heatmaps");
    remove_earlier_pictures(&directory);
    Heatmaps::new(&directory, HeatmapSelection::Rejected).map_err(PipelineError::write(&directory))
}

/// Pictures of an earlier demo would be taken for this one's. Nothing else in the directory is touched.
fn remove_earlier_pictures(directory: &Path) {
    let of_demo = |name: &str| {
        let rest = SyntheticCamera::ALL
            .iter()
            .find_map(|camera| name.strip_prefix(camera.name())?.strip_prefix('_'));
        rest.and_then(|rest| rest.strip_suffix(".png"))
            .is_some_and(|seq| seq.bytes().all(|digit| digit.is_ascii_digit()))
    };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(of_demo) {
            // One that stays is overwritten or left over: no reason to stop.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn make(directory: &Path) -> Result<(), PipelineError> {
    if directory.is_file() {
        return Err(PipelineError::Refused(format!(
            "cannot write {directory:?}: it is a file; give a directory"
        )));
    }
    fs::create_dir_all(directory).map_err(PipelineError::write(directory))
}

fn create(path: &Path) -> Result<File, PipelineError> {
    File::create(path).map_err(PipelineError::write(path))
}
