//! The simulated line in a browser: `intakt inspect` on a run file, as anybody would write it.

use std::fmt::Write;
use std::path::Path;

use clap::Parser;
use intakt_pipelines::sources::synthetic::SyntheticCamera;
use intakt_pipelines::{PipelineError, write_atomically};

use crate::cli::{Cli, Command, DemoArgs, InspectArgs};
use crate::commands::inspect;
use crate::server::Listen;
use crate::{Outcome, terminal};

/// Refuses an address that cannot be listened on, before anything is fitted.
pub(super) fn refuse_taken_address(args: &DemoArgs) -> Result<(), PipelineError> {
    let listen = Listen::new(&args.listen, None);
    let listen = listen.map_err(|reason| PipelineError::Refused(format!("cannot serve: {reason}")))?;
    listen.bind().map(drop)
}

/// Inspects the line at its own pace until it is interrupted, and shows it. Its detectors are there already.
pub(super) fn run(args: &DemoArgs) -> Result<Outcome, PipelineError> {
    let run_file = args.out.join("line.toml");
    write_atomically(&run_file, run_file_of(args.seed).as_bytes())?;
    let removed_at_the_end = match args.run {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(PipelineError::write(&std::env::temp_dir()))?),
    };
    let kept = args
        .run
        .as_deref()
        .or(removed_at_the_end.as_ref().map(|directory| directory.path()));
    let kept = kept.expect("one of the two is there");
    terminal::say(&format!(
        "\nten frames a second of each camera, kept in {}; Ctrl-C ends it",
        kept.display()
    ));
    inspect::run(&inspect_args(args, &run_file, kept)).map(|_| Outcome::Passed)
}

fn inspect_args(args: &DemoArgs, run_file: &Path, kept: &Path) -> InspectArgs {
    let verdicts = args.out.join("verdicts.jsonl");
    let words = [
        "intakt".as_ref(),
        "inspect".as_ref(),
        run_file.as_os_str(),
        "--resume".as_ref(),
        "--run".as_ref(),
        kept.as_os_str(),
        "--jsonl".as_ref(),
        verdicts.as_os_str(),
        "--listen".as_ref(),
        args.listen.as_ref(),
    ];
    match Cli::parse_from(words).command {
        Command::Inspect(inspect) => InspectArgs {
            machine: args.machine,
            ..inspect
        },
        _ => unreachable!("it is written above"),
    }
}

fn run_file_of(seed: u64) -> String {
    let mut text = "# The line of `intakt demo`: `intakt inspect line.toml --listen 127.0.0.1:8080`\n\n[rates]\n\
                    alerts = [\"reject_rate 1m > 20 %\"]\n\n[[what_if]]\nname = \"stricter\"\nthreshold = 0.45\n"
        .to_owned();
    for camera in SyntheticCamera::ALL {
        let name = camera.name();
        let _ = write!(
            text,
            "\n[[camera]]\nname = \"{name}\"\nsource = \"synthetic\"\nscene = \"{name}\"\nseed = {seed}\npaced = true\noverflow = \"block\"\n\
             detector = \"{name}.intakt\"\n"
        );
    }
    text
}
