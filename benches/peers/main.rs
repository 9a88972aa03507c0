//! Intakt's side of the comparison with its peers, which `benches/peers/run` makes: one line of JSON asks, one answers.
//!
//! Whoever asks prepares works, and then lets this process and the peer do them in turn. Everything goes through what the program
//! itself goes through: backbones, scorers, `fit` and `inspect`.

mod arrays;
mod banks;
#[path = "../support/cpu.rs"]
mod cpu;
mod frames;
mod networks;

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use self::arrays::Array;

/// What can be asked.
#[derive(Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    /// Gets a work ready under a name; one of the same name is forgotten.
    Prepare { name: String, work: WorkRecipe },
    /// Does it once. Its results are written to `save` followed by `-0.npy`, `-1.npy` …, where that is given.
    Run { name: String, save: Option<PathBuf> },
    /// Lets go of all works.
    Forget,
    /// Fits a detector and writes it.
    Fit(frames::FitRecipe),
}

/// Which work.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum WorkRecipe {
    Resnet(networks::ResnetRecipe),
    PdnSmall(networks::PdnRecipe),
    Nearest(banks::NearestRecipe),
    Mahalanobis(banks::MahalanobisRecipe),
    OneAtATime(frames::OneAtATimeRecipe),
    Throughput(frames::ThroughputRecipe),
    Loop(frames::LoopRecipe),
}

/// Something that can be done again and again.
trait Work {
    fn run(&mut self) -> Result<Ran, String>;
}

/// How a work went.
#[derive(Default)]
struct Ran {
    nanos: u64,
    results: Vec<Array>,
    figures: BTreeMap<&'static str, f64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Ran {
        nanos: u64,
        figures: BTreeMap<&'static str, f64>,
        saved: Vec<PathBuf>,
    },
    Error {
        error: String,
    },
}

fn main() -> Result<(), std::io::Error> {
    // As criterion does: `cargo test --all-targets` runs benches without the flag, and wants no figures.
    let arguments: Vec<String> = std::env::args().collect();
    let has = |argument: &str| arguments.iter().any(|given| given == argument);
    if has("--test") || !has("--bench") {
        return Ok(());
    }
    // As the program does.
    intakt_kernels::keep_freed_memory();
    let (mut works, mut out) = (BTreeMap::new(), std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let answer = serde_json::from_str(&line?)
            .map_err(|error| format!("cannot read the request: {error}"))
            .and_then(|request| answered(request, &mut works))
            .unwrap_or_else(|error| Answer::Error { error });
        serde_json::to_writer(&mut out, &answer)?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

fn answered(request: Request, works: &mut BTreeMap<String, Box<dyn Work>>) -> Result<Answer, String> {
    let (ran, save) = match request {
        Request::Prepare { name, work } => {
            works.remove(&name);
            works.insert(name, prepared(work)?);
            (Ran::default(), None)
        }
        Request::Run { name, save } => {
            let work = works.get_mut(&name);
            (work.ok_or_else(|| format!("nobody prepared `{name}`"))?.run()?, save)
        }
        Request::Forget => {
            works.clear();
            (Ran::default(), None)
        }
        Request::Fit(recipe) => (recipe.fit()?, None),
    };
    let saved = save.map(|prefix| arrays::save(&prefix, &ran.results)).transpose()?;
    Ok(Answer::Ran {
        nanos: ran.nanos,
        figures: ran.figures,
        saved: saved.unwrap_or_default(),
    })
}

fn prepared(work: WorkRecipe) -> Result<Box<dyn Work>, String> {
    match work {
        WorkRecipe::Resnet(recipe) => recipe.prepare(),
        WorkRecipe::PdnSmall(recipe) => recipe.prepare(),
        WorkRecipe::Nearest(recipe) => recipe.prepare(),
        WorkRecipe::Mahalanobis(recipe) => recipe.prepare(),
        WorkRecipe::OneAtATime(recipe) => recipe.prepare(),
        WorkRecipe::Throughput(recipe) => recipe.prepare(),
        WorkRecipe::Loop(recipe) => recipe.prepare(),
    }
}
