//! `intakt bench`: how fast a detector is on this machine.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use intakt_operators::Frame;
use intakt_operators::detector::Detector;
use intakt_operators::detector::backbone::StepTime;
use intakt_operators::imaging::Image;
use intakt_pipelines::datasets::collect_images;
use intakt_pipelines::sources::{CameraStream, read_file};
use intakt_pipelines::{
    Camera, Detectors, Inspection, InspectionReport, PipelineError, RunOptions, inspect, load_detector,
};

use super::settings;
use crate::cli::BenchArgs;
use crate::memory::{Resident, resident_bytes};
use crate::{Outcome, report, terminal};

/// Images that are held in memory, bytes: frames come from there, so that no disk is measured.
const IMAGES_BYTES_MAX: usize = 1 << 30;

/// Times that the network's steps are taken; the median counts.
const PROFILES: usize = 21;

/// Measures, and says what was found.
pub(crate) fn run(args: &BenchArgs) -> Result<Outcome, PipelineError> {
    let options = || settings::run_options(args.machine);
    let threads = options()?.resources.pool.threads();
    let detector = Arc::new(load_detector(&args.detector)?);
    let loaded_mb = resident_mb(Resident::Now);
    let images = images(args)?;
    let recipe = detector.recipe();
    terminal::say(&format!(
        "detector {}: {} in {}{}; {threads} thread(s)",
        detector.id(),
        recipe.backbone.name,
        recipe.backbone.precision,
        computed_by(&detector)
    ));
    // What is allocated and compiled at the first frames is not what a frame takes.
    let warm_up = images.len().min(2 * threads) as u64;
    inspected(&detector, &images, warm_up, Some(1), &options()?)?;
    let alone = inspected(&detector, &images, args.frames, Some(1), &options()?)?;
    terminal::print(&format!(
        "one frame at a time, {} frames\n{}",
        args.frames,
        report::latencies(&alone.latencies)
    ))?;
    let alone_mb = resident_mb(Resident::Now);
    inspected(&detector, &images, warm_up, None, &options()?)?;
    let busy = inspected(&detector, &images, args.frames, None, &options()?)?;
    let mut text = format!(
        "as many as there is room for: {:.1} frames a second\n",
        args.frames as f64 / busy.seconds
    );
    if let (Some(loaded), Some(alone), Some(highest)) = (loaded_mb, alone_mb, resident_mb(Resident::Highest)) {
        let held: usize = images.iter().map(|image| image.len()).sum();
        let _ = writeln!(
            text,
            "memory: {loaded:.0} MB with the detector loaded, {:.0} MB with one frame under way; at most {:.0} MB, while it was read or since \
             ({:.0} MB of image files are not counted)",
            alone - held as f64 / 1e6,
            highest - held as f64 / 1e6,
            held as f64 / 1e6
        );
    }
    terminal::print(&text)?;
    if args.layers {
        terminal::print(&layers(&detector, threads)?)?;
    }
    Ok(Outcome::Passed)
}

/// `, by …`: what this machine multiplies with.
fn computed_by(detector: &Detector) -> String {
    let by = detector.backbone().computed_by();
    by.map_or(String::new(), |by| format!(", by {by}"))
}

/// The image files, in order.
fn images(args: &BenchArgs) -> Result<Vec<Arc<[u8]>>, PipelineError> {
    let mut images = Vec::new();
    let mut held = 0;
    for file in collect_images(&args.paths)?
        .cameras
        .iter()
        .flat_map(|camera| &camera.files)
    {
        let bytes = read_image(&file.path)?;
        held += bytes.len();
        if held > IMAGES_BYTES_MAX || images.len() as u64 == args.frames {
            break;
        }
        images.push(bytes);
    }
    if images.is_empty() {
        return Err(PipelineError::Refused(format!(
            "cannot hold an image of more than {IMAGES_BYTES_MAX} bytes in memory"
        )));
    }
    Ok(images)
}

fn read_image(path: &Path) -> Result<Arc<[u8]>, PipelineError> {
    let load = |cause: String| PipelineError::Load {
        what: "image",
        path: path.to_owned(),
        cause,
    };
    read_file(path).map(Into::into).map_err(load)
}

/// Inspects so many frames of one camera, of which `credit` are under way at once.
fn inspected(
    detector: &Arc<Detector>,
    images: &[Arc<[u8]>],
    frames: u64,
    credit: Option<usize>,
    options: &RunOptions,
) -> Result<InspectionReport, PipelineError> {
    let camera: Arc<str> = "bench".into();
    let images: Vec<Arc<[u8]>> = images.to_vec();
    let stream = CameraStream {
        camera: camera.clone(),
        frames: Box::new((0..frames).map(move |seq| Frame {
            camera: camera.clone(),
            seq,
            captured_at_us: seq * 100_000,
            origin: "".into(),
            bytes: Ok(images[seq as usize % images.len()].clone()),
            recorded: None,
        })),
    };
    let mut camera = Camera::from(stream);
    camera.intake.credit = credit;
    let detectors = Arc::new(Detectors::common(detector.clone()));
    let report = inspect(Inspection::new(vec![camera], detectors, vec![]), options)?;
    match report.total(|account| account.unreadable) {
        0 => Ok(report),
        unreadable => Err(PipelineError::Refused(format!(
            "cannot measure with {unreadable} of {frames} frames unreadable\n  hint: `intakt inspect` says which, and why"
        ))),
    }
}

/// A line per step of the network, for one thread and for all.
fn layers(detector: &Detector, threads: usize) -> Result<String, PipelineError> {
    let (recipe, backbone) = (detector.recipe(), detector.backbone());
    let side = recipe.input.crop_px.unwrap_or(recipe.input.size_px);
    let pixels = 3 * side as usize * side as usize;
    let rgb: Vec<u8> = (0..pixels).map(|at| (at * 31 % 251) as u8).collect();
    let image = Image::new(side, side, rgb);
    let Some(peak) = backbone.peak_operations() else {
        return Ok(format!(
            "backbone {} has no layers to tell apart: those with pretrained weights have",
            backbone.name()
        ));
    };
    let mut text = String::new();
    let mut counts = vec![1, threads];
    counts.dedup();
    for threads in counts {
        let steps = profile(detector, &image, threads)?;
        let total: f64 = steps.iter().map(|step| step.seconds).sum();
        let peak = peak * threads as f64;
        let _ = writeln!(
            text,
            "{:56}{:>9}{:>9}{:>9}{:>9}",
            format!("{}, {side}x{side}, {threads} thread(s)", backbone.name()),
            "ms",
            "of time",
            "GOP/s",
            "of peak"
        );
        let mut line = |what: &str, seconds: f64, multiplications: u64| {
            let rate = 2.0 * multiplications as f64 / seconds;
            let (rate, share) = match multiplications {
                0 => (String::new(), String::new()),
                _ => (format!("{:.0}", rate / 1e9), format!("{:.0} %", 100.0 * rate / peak)),
            };
            let of_time = format!("{:.1} %", 100.0 * seconds / total);
            let _ = writeln!(text, "{what:56}{:>9.3}{of_time:>9}{rate:>9}{share:>9}", seconds * 1e3);
        };
        for step in &steps {
            line(&step.what, step.seconds, step.multiplications);
        }
        line("all of it", total, steps.iter().map(|step| step.multiplications).sum());
        let _ = writeln!(
            text,
            "peak: {:.0} GOP/s, measured with everything in the first-level cache\n",
            peak / 1e9
        );
    }
    Ok(text.trim_end().to_owned())
}

/// The steps of the network, each with its median time.
fn profile(detector: &Detector, image: &Image, threads: usize) -> Result<Vec<StepTime>, PipelineError> {
    let profiles = detector.backbone().profiles(image, threads, PROFILES);
    let profiles = profiles.map_err(PipelineError::Refused)?;
    let median = |at: usize| {
        let mut seconds: Vec<f64> = profiles.iter().map(|steps| steps[at].seconds).collect();
        seconds.sort_by(f64::total_cmp);
        seconds[PROFILES / 2]
    };
    let steps = profiles[0].iter().enumerate();
    let steps = steps.map(|(at, step)| StepTime {
        seconds: median(at),
        ..step.clone()
    });
    Ok(steps.collect())
}

/// Resident memory, megabytes; none where the system does not tell.
fn resident_mb(of: Resident) -> Option<f64> {
    Some(resident_bytes(of)? as f64 / 1e6)
}
