//! What was typed → what it means.

use std::path::{Path, PathBuf};

use intakt_operators::detector::{Detector, ImageScore, RoiMask, SuppressionRules, Tiling};
use intakt_operators::imaging::decode_mask;
use intakt_pipelines::datasets::{Dataset, Layout, parse_micros};
use intakt_pipelines::sources::read_file;
use intakt_pipelines::{Figures, PipelineError, RunOptions};

use crate::cli::{DatasetArgs, KeepArgs, LayoutName, MachineArgs, ServerArgs, SuppressionArgs};
use crate::server::{Listen, Tokens};
use crate::terminal;

/// Opens the dataset.
pub(crate) fn dataset(args: &DatasetArgs) -> Result<Dataset, PipelineError> {
    let layout = args.layout.map(|layout| match layout {
        LayoutName::Mvtec => Layout::Mvtec,
        LayoutName::Aitex => Layout::Aitex,
        LayoutName::Folder => Layout::Folder,
        LayoutName::Csv => Layout::Csv,
    });
    Ok(Dataset::open(&args.dataset, layout, args.fabric.as_deref())?)
}

/// Where to listen: as was typed, or else at `usual`.
pub(crate) fn listen(typed: &ServerArgs, usual: Option<&str>) -> Result<Option<Listen>, PipelineError> {
    let tokens = typed.token_file.as_deref().map(Tokens::read).transpose();
    let listen = tokens.and_then(|tokens| {
        let address = typed.listen.as_deref().or(usual);
        if address.is_none() && tokens.is_some() {
            terminal::say("note: nobody asks for the token of `--token-file`: there is no `--listen`");
        }
        address.map(|address| Listen::new(address, tokens)).transpose()
    });
    listen.map_err(|reason| PipelineError::Refused(format!("cannot serve: {reason}")))
}

/// A time that was typed, microseconds since 1970.
pub(crate) fn time_us(flag: &str, typed: Option<&str>) -> Result<Option<u64>, PipelineError> {
    let parse = |typed| {
        parse_micros(typed).ok_or_else(|| {
            PipelineError::Refused(format!(
                "cannot read `{flag} {typed}`: it is a time like 2026-01-05T06:00:00Z, or microseconds since 1970"
            ))
        })
    };
    typed.map(parse).transpose()
}

/// Workers and threads to inspect with: as asked, or one worker, which only moves frames, and a pool thread per core.
pub(crate) fn run_options(args: MachineArgs) -> Result<RunOptions, PipelineError> {
    options(args, 1)
}

/// Workers and threads to fit with: as asked, or one per core, because workers choose the coreset.
pub(crate) fn fit_options(args: MachineArgs) -> Result<RunOptions, PipelineError> {
    options(args, cores())
}

fn options(args: MachineArgs, workers: usize) -> Result<RunOptions, PipelineError> {
    RunOptions::new(
        args.workers.map_or(workers, usize::from),
        args.pool.map_or_else(cores, usize::from),
    )
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What is counted, where no run file says more: a run that is kept can be labelled.
pub(crate) fn figures(keep: &KeepArgs) -> Figures {
    match keep.run {
        Some(_) => Figures::labelled(),
        None => Figures::default(),
    }
}

/// Every file that a dataset consists of.
pub(crate) fn files(dataset: &Dataset) -> impl Iterator<Item = &Path> {
    dataset
        .items
        .iter()
        .flat_map(|item| std::iter::once(&item.path).chain(&item.masks))
        .map(PathBuf::as_path)
}

/// Refuses an output that cannot be written: before minutes of work, not after.
pub(crate) fn refuse_unwritable(output: &Path) -> Result<(), PipelineError> {
    let parent = output
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if output.is_dir() || !parent.is_dir() {
        let found = if output.is_dir() {
            "it is a directory"
        } else {
            "its directory does not exist"
        };
        return Err(PipelineError::Refused(format!(
            "cannot write \"{}\": {found}",
            output.display()
        )));
    }
    Ok(())
}

/// Refuses to write where something is that the command reads.
pub(crate) fn refuse_overwriting<'a>(
    output: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<(), PipelineError> {
    // A path that cannot be resolved does not exist, so nothing is overwritten.
    let Ok(target) = output.canonicalize() else {
        return Ok(());
    };
    let same = |input: &&Path| input.canonicalize().is_ok_and(|input| input == target);
    match inputs.into_iter().find(same) {
        Some(input) => Err(PipelineError::Refused(format!(
            "cannot write \"{}\": it is what the command reads from (\"{}\")\n  hint: name another file",
            output.display(),
            input.display()
        ))),
        None => Ok(()),
    }
}

/// Refuses to write pictures or recordings into a folder of frames or below it, where the next inspection would take them for
/// frames.
pub(crate) fn refuse_output_among_frames(output: &Path, folders: &[PathBuf]) -> Result<(), PipelineError> {
    // The output may not be there yet: the nearest directory above it that is decides.
    let present = |above: &Path| match above.as_os_str().is_empty() {
        true => Path::new(".").canonicalize().ok(),
        false => above.canonicalize().ok(),
    };
    let Some(place) = output.ancestors().find_map(present) else {
        return Ok(());
    };
    let holds =
        |folder: &&PathBuf| folder.is_dir() && folder.canonicalize().is_ok_and(|folder| place.starts_with(folder));
    match folders.iter().find(holds) {
        Some(folder) => Err(PipelineError::Refused(format!(
            "cannot write into \"{}\": frames are taken from \"{}\", and the next time what is written would be among them\n  \
             hint: name a directory elsewhere",
            output.display(),
            folder.display()
        ))),
        None => Ok(()),
    }
}

/// Refuses to write into a directory that the command reads.
pub(crate) fn refuse_overwriting_in(output: &Path, directory: &Path) -> Result<(), PipelineError> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    refuse_overwriting(output, files.iter().map(PathBuf::as_path))
}

/// Overlapping tiles: a quarter of the tile is shared unless the user says otherwise, which is more than a backbone's
/// receptive field loses at a tile's edge.
pub(crate) fn tiling(tile_px: u32, overlap_px: Option<u32>) -> Tiling {
    Tiling {
        tile_px,
        overlap_px: overlap_px.unwrap_or(tile_px / 4),
    }
}

/// `max`, `top:N` or `reweighted`.
pub(crate) fn image_score(typed: &str) -> Result<ImageScore, PipelineError> {
    let top = typed.strip_prefix("top:").and_then(|n| n.parse().ok());
    match (typed, top) {
        ("max", _) => Ok(ImageScore::Max),
        ("reweighted", _) => Ok(ImageScore::Reweighted),
        (_, Some(n)) => Ok(ImageScore::TopMean(n)),
        _ => Err(PipelineError::Refused(format!(
            "cannot read `--image-score {typed}`: it is `max`, `top:N` or `reweighted`"
        ))),
    }
}

/// Changes `rules` as typed; what was not typed stays as it is.
pub(crate) fn override_suppression(rules: &mut SuppressionRules, args: &SuppressionArgs) -> Result<(), PipelineError> {
    if let Some(path) = &args.roi {
        rules.roi = Some(roi(path)?);
    }
    rules.border_px = args.border.unwrap_or(rules.border_px);
    rules.min_area_px = args.min_area.unwrap_or(rules.min_area_px);
    rules.min_peak = calibrated("--min-peak", args.min_peak)?.or(rules.min_peak);
    rules.hysteresis_low = calibrated("--hysteresis", args.hysteresis)?.or(rules.hysteresis_low);
    rules.static_artefacts = args.static_artefacts.unwrap_or(rules.static_artefacts);
    Ok(())
}

/// The detector, with what does not count changed as typed.
pub(crate) fn detector(path: &Path, args: &SuppressionArgs) -> Result<Detector, PipelineError> {
    let mut parts = intakt_pipelines::load_detector(path)?.into_parts();
    let stated = parts.recipe.suppression.clone();
    override_suppression(&mut parts.recipe.suppression, args)?;
    if parts.recipe.suppression != stated {
        crate::terminal::say(
            "note: the threshold was calibrated under the suppression rules stated at fit, not under these",
        );
    }
    Detector::new(parts).map_err(PipelineError::Refused)
}

fn roi(path: &Path) -> Result<RoiMask, PipelineError> {
    let load = |cause: String| PipelineError::Load {
        what: "region of interest",
        path: path.to_owned(),
        cause,
    };
    let bytes = read_file(path).map_err(load)?;
    let mask = decode_mask(&bytes).map_err(|error| load(error.to_string()))?;
    if !mask.bits.contains(&true) {
        return Err(load(
            "it is black all over, so nothing would be inspected; what is white is inspected".to_owned(),
        ));
    }
    Ok(RoiMask::from_mask(&mask))
}

fn calibrated(flag: &str, typed: Option<f64>) -> Result<Option<f64>, PipelineError> {
    match typed {
        Some(score) if !(0.0..=1.0).contains(&score) => Err(PipelineError::Refused(format!(
            "cannot use `{flag} {score}`: calibrated scores lie between 0 and 1, the threshold is 0.5"
        ))),
        other => Ok(other),
    }
}
