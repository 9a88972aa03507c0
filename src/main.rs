//! Intakt inspects camera streams at the pace of a production line.

mod cli;
mod commands;
mod exit;
mod interrupt;
mod progress;
mod report;
mod run_file;
mod server;
mod supervise;
mod terminal;
mod top;

use std::process::ExitCode;

use clap::Parser;
use intakt_operators::dataflow::POOL_THREAD_PREFIX;
use intakt_pipelines::sources::DEVICE_THREAD;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    end_the_process_on_a_panic_outside_the_pool();
    let outcome = match Cli::parse().command {
        Command::Demo(args) => commands::demo::run(&args),
        Command::Fit(args) => commands::fit::run(args),
        Command::Evaluate(args) => commands::evaluate::run(&args),
        Command::Inspect(args) if args.cluster.supervise => supervise::run(&args, std::env::args_os().skip(1)),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Replay(args) => commands::replay::run(&args),
        Command::Label(args) => commands::label::run(&args),
        Command::Query(args) => commands::query::run(&args),
        Command::Export(args) => commands::query::export_run(&args),
        Command::Show(args) => commands::show::run(&args),
        Command::Top(args) => commands::top::run(&args),
    };
    match outcome {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            terminal::error(&error.to_string());
            Outcome::Failed.into()
        }
    }
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Everything was done; every frame passed.
    Passed = 0,
    /// Something was rejected, or could not be read.
    Rejected = 1,
    /// The work itself failed.
    Failed = 2,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        ExitCode::from(outcome as u8)
    }
}

/// A worker thread that dies would leave its siblings waiting for it for ever. Pool threads are spared: their panics are
/// answered by an error record; and those that speak to a driver: theirs are told as a trouble of the camera.
fn end_the_process_on_a_panic_outside_the_pool() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let is_answered = thread
            .name()
            .is_some_and(|name| name.starts_with(POOL_THREAD_PREFIX) || name == DEVICE_THREAD);
        if is_answered {
            return;
        }
        let payload = panic.payload();
        let formatted = payload.downcast_ref::<String>().map(String::as_str);
        let message = formatted
            .or(payload.downcast_ref::<&str>().copied())
            .unwrap_or_default();
        let lost = commands::cluster::lost_peer(thread.name().unwrap_or_default(), message);
        exit::give_up(|| match lost {
            Some(sentence) => terminal::error(&sentence),
            None => report(panic),
        })
    }));
}
