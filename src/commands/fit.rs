//! `intakt fit`: a detector from normal images.

use std::sync::Arc;
use std::time::Instant;

use intakt_operators::detector::backbone::read_weights;
use intakt_operators::detector::{CalibrationMethod, DetectorDescription, Precision, SuppressionRules};
use intakt_pipelines::fit::{BackboneChoice, DetectorKind, FitSettings, fit, fit_without};
use intakt_pipelines::sources::read_file;
use intakt_pipelines::{PipelineError, Progress, load_detector, save_detector};

use super::settings;
use crate::cli::{BackboneName, DetectorName, FitArgs, PrecisionName};
use crate::progress::Shown;
use crate::{Outcome, terminal};

/// Edge of the network's input where the user says nothing, pixels: the papers'.
pub(crate) const SIZE_PX: u32 = 256;

/// Fits and writes the detector.
pub(crate) fn run(args: FitArgs) -> Result<Outcome, PipelineError> {
    let started = Instant::now();
    settings::refuse_unwritable(&args.output)?;
    let dataset = settings::dataset(&args.dataset)?;
    let named = [
        Some(&args.dataset.dataset),
        args.weights.as_ref(),
        args.suppression.roi.as_ref(),
    ];
    let named = named.into_iter().flatten().map(std::path::PathBuf::as_path);
    settings::refuse_overwriting(&args.output, settings::files(&dataset).chain(named))?;
    let options = settings::fit_options(args.machine)?;
    let progress: Arc<dyn Progress> = Arc::new(Shown::default());
    let detector = match (&args.without, &args.from) {
        (Some(image), Some(from)) => fit_without(load_detector(from)?, &dataset, image, &options, &progress)?,
        _ => fit(&dataset, &wanted(&args)?, &options, &progress)?,
    };
    save_detector(&detector, &args.output)?;
    let bytes = std::fs::metadata(&args.output).map(|file| file.len()).unwrap_or(0);
    terminal::say(&detector.calibration().statement);
    if let Some(note) = few(DetectorDescription::of(&detector).n_calibrate) {
        terminal::say(&note);
    }
    terminal::say(&format!(
        "wrote {} ({:.1} MB) after {:.1} s",
        args.output.display(),
        bytes as f64 / 1e6,
        started.elapsed().as_secs_f64()
    ));
    Ok(Outcome::Passed)
}

/// Fewer images than this that a threshold is chosen on are told.
const CALIBRATE_FEW: usize = 10;

fn few(n_calibrate: usize) -> Option<String> {
    (n_calibrate < CALIBRATE_FEW).then(|| {
        format!(
            "note: {n_calibrate} held-out images say little of how good parts score; the threshold may be so high that defects pass, or so low \
             that good parts do not: fit on 50 normal images or more, or look at it with `evaluate`"
        )
    })
}

fn wanted(args: &FitArgs) -> Result<FitSettings, PipelineError> {
    let tiling = args.tile.map(|tile_px| settings::tiling(tile_px, args.overlap));
    let mut suppression = SuppressionRules::default();
    settings::override_suppression(&mut suppression, &args.suppression)?;
    Ok(FitSettings {
        detector: args.detector.map(|detector| match detector {
            DetectorName::Patchcore => DetectorKind::Patchcore,
            DetectorName::Padim => DetectorKind::Padim,
            DetectorName::Gaussian => DetectorKind::Gaussian,
            DetectorName::GlobalKnn => DetectorKind::GlobalKnn,
        }),
        backbone: backbone(args)?,
        precision: match args.precision {
            None | Some(PrecisionName::Auto) => None,
            Some(PrecisionName::Int8) => Some(Precision::Int8),
            Some(PrecisionName::Bf16) => Some(Precision::Bf16),
            Some(PrecisionName::F32) => Some(Precision::F32),
        },
        size_px: args
            .size
            .or(args.tile.map(|tile| tile.saturating_mul(args.enlarge)))
            .unwrap_or(SIZE_PX),
        crop_px: args.crop,
        tiling,
        layers: args.layers.clone(),
        coreset_ratio: args.coreset_ratio,
        seed: u64::from(args.seed),
        image_score: args.image_score.as_deref().map(settings::image_score).transpose()?,
        calibration: calibration(args)?,
        suppression,
        keep_sums: args.keep_sums,
    })
}

fn backbone(args: &FitArgs) -> Result<BackboneChoice, PipelineError> {
    let refuse = |sentence: &str| Err(PipelineError::Refused(sentence.to_owned()));
    let name = match (args.backbone, &args.weights) {
        (None | Some(BackboneName::Builtin), None) => return Ok(BackboneChoice::Builtin),
        (None, Some(_)) => {
            return refuse(
                "cannot use weights without knowing their network\n  hint: add `--backbone resnet18`, or whichever it is",
            );
        }
        (Some(BackboneName::Builtin), Some(_)) => {
            return refuse("the built-in backbone takes no weights: it is fitted on the images");
        }
        (Some(BackboneName::Resnet18), _) => "resnet18",
        (Some(BackboneName::Resnet50), _) => "resnet50",
        (Some(BackboneName::WideResnet50_2), _) => "wide_resnet50_2",
    };
    let Some(path) = &args.weights else {
        return Err(PipelineError::Refused(format!(
            "cannot build {name} without weights: Intakt downloads nothing\n  hint: give `--weights {name}.safetensors` with torchvision's or timm's key names, or leave `--backbone` out"
        )));
    };
    let load = |cause: String| PipelineError::Load {
        what: "weights",
        path: path.clone(),
        cause,
    };
    let bytes = read_file(path).map_err(load)?;
    let tensors = read_weights(&bytes).map_err(load)?;
    Ok(BackboneChoice::Pretrained {
        name: name.to_owned(),
        path: path.clone(),
        tensors: Arc::new(tensors),
    })
}

fn calibration(args: &FitArgs) -> Result<CalibrationMethod, PipelineError> {
    let false_reject_rate = args.false_reject_rate;
    if !(false_reject_rate > 0.0 && false_reject_rate <= 0.5) {
        return Err(PipelineError::Refused(format!(
            "cannot aim at rejecting a share of {false_reject_rate}: `--false-reject-rate` is above 0 and at most 0.5"
        )));
    }
    let fixed = args
        .calibrate
        .strip_prefix("fixed:")
        .and_then(|score| score.parse::<f32>().ok());
    match (args.calibrate.as_str(), fixed) {
        ("conformal", _) => Ok(CalibrationMethod::Conformal { false_reject_rate }),
        ("pot", _) => Ok(CalibrationMethod::PeaksOverThreshold { false_reject_rate }),
        ("f1-max", _) => Ok(CalibrationMethod::F1Max),
        (_, Some(image_threshold)) if image_threshold.is_finite() => Ok(CalibrationMethod::Fixed {
            image_threshold,
            pixel_threshold: None,
        }),
        (typed, _) => Err(PipelineError::Refused(format!(
            "cannot read `--calibrate {typed}`: it is `conformal`, `pot`, `f1-max` or `fixed:SCORE`"
        ))),
    }
}
