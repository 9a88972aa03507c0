//! `intakt check`: whether a run file can be run, without running it.

use std::fmt::Write;

use intakt_operators::dataflow::Overflow;
use intakt_pipelines::PipelineError;

use crate::cli::CheckArgs;
use crate::run_file::{self, Place, PlannedCamera, RunFile};
use crate::{Outcome, terminal};

/// Checks, and says what the run would be.
pub(crate) fn run(args: &CheckArgs) -> Result<Outcome, PipelineError> {
    let mut run = run_file::load(
        &args.run_file,
        &args.set,
        Place::Unknown,
        &args.server,
        args.run.is_some(),
    )?;
    run.run = args.run.clone().or(run.run);
    terminal::print(&plan(&run))?;
    Ok(Outcome::Passed)
}

fn plan(run: &RunFile) -> String {
    let mut text = format!(
        "{:20}{:14}{:>13}{:>7}{:>12}{:>9}{:>9}  source\n",
        "camera", "detector", "overflow", "depth", "lateness", "idle", "skew"
    );
    for PlannedCamera {
        camera,
        source,
        frames,
        process,
    } in &run.cameras
    {
        let (name, intake) = (camera.source.camera(), &camera.intake);
        let overflow = match intake.overflow {
            Overflow::Block => "block",
            Overflow::DropOldest => "drop-oldest",
            Overflow::DropNewest => "drop-newest",
        };
        let millis = |micros: Option<u64>| micros.map_or("–".to_owned(), |micros| format!("{} ms", micros / 1_000));
        let frames = frames.map_or(String::new(), |frames| format!(" ({frames} frames)"));
        let place = match process {
            0 => String::new(),
            process => format!(" in process {process}"),
        };
        let _ = writeln!(
            text,
            "{name:20}{:14}{overflow:>13}{:>7}{:>12}{:>9}{:>9}  {source}{frames}{place}",
            run.detectors.of(name).id(),
            intake.depth,
            millis(Some(intake.patience.lateness_us)),
            millis(intake.patience.idle.map(|idle| idle.as_micros() as u64)),
            millis(intake.patience.skew_max_us),
        );
    }
    for note in &run.notes {
        let _ = writeln!(text, "note: {note}");
    }
    if let Some(directory) = &run.record {
        let _ = writeln!(text, "recorded into {}", directory.display());
    }
    if let Some(directory) = &run.run {
        let _ = writeln!(text, "kept in {}", directory.display());
    }
    for (rule, _) in run.figures.iter().flat_map(|figures| &figures.rules) {
        let _ = writeln!(text, "alert: {rule}");
    }
    for question in &run.questions {
        let _ = writeln!(
            text,
            "what if \"{}\": reject above {}",
            question.name, question.threshold
        );
    }
    if let Some(listen) = &run.listen {
        let _ = writeln!(text, "served on {listen}");
    }
    text.trim_end().to_owned()
}
