//! Intakt inspects camera streams at the pace of a production line.

mod cli;
mod commands;
mod detector_facts;
mod document;
mod environment;
mod exit;
mod inspected;
mod interrupt;
mod memory;
mod progress;
mod report;
mod run_file;
mod server;
mod supervise;
mod terminal;
mod top;

use std::process::ExitCode;

use clap::Parser;
use intakt_kernels::network::HELPER_THREAD_PREFIX;
use intakt_operators::dataflow::POOL_THREAD_PREFIX;
use intakt_pipelines::sources::DEVICE_THREAD;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    intakt_kernels::keep_freed_memory();
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
        Command::Report(args) => commands::report::run(&args),
        Command::Show(args) => commands::show::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Serve(args) => commands::serve::run(&args),
        Command::Top(args) => commands::top::run(&args),
        Command::Health(args) => commands::health::run(&args),
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
/// answered by an error record; so are those that help them, whose panics become theirs; and those that speak to a driver: theirs are told
/// as a trouble of the camera.
fn end_the_process_on_a_panic_outside_the_pool() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let is_answered = thread.name().is_some_and(|name| {
            let helps = name.starts_with(HELPER_THREAD_PREFIX);
            helps || name.starts_with(POOL_THREAD_PREFIX) || name == DEVICE_THREAD
        });
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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use intakt_pipelines::sources::StopFlag;
    use timely::dataflow::InputHandle;
    use timely::dataflow::operators::vec::Map;
    use timely::dataflow::operators::{Exchange, Input, Probe};

    /// Set in the process in which a worker panics.
    const PANICS: &str = "INTAKT_TEST_PANICS";

    /// Three workers that wait for each other, one of which panics in an operator.
    fn three_workers_wait_for_each_other() {
        let run = timely::execute(timely::Config::process(3), |worker| {
            let mut input: InputHandle<u64, timely::container::CapacityContainerBuilder<Vec<u64>>> = InputHandle::new();
            let probe = worker.dataflow::<u64, _, _>(|scope| {
                let frames = scope.input_from(&mut input).exchange(|frame| *frame);
                let judged = frames.map(|frame| {
                    assert!(frame != 7, "frame 7 breaks the detector");
                    frame
                });
                judged.probe().0
            });
            (0..9).for_each(|frame| input.send(frame));
            input.advance_to(1);
            worker.step_or_park_while(None, || probe.less_than(&1));
        });
        drop(run.unwrap().join());
    }

    #[test]
    fn a_worker_that_panics_ends_the_process_and_says_why() {
        if std::env::var_os(PANICS).is_some() {
            super::end_the_process_on_a_panic_outside_the_pool();
            three_workers_wait_for_each_other();
            return;
        }
        let (started, never) = (Instant::now(), StopFlag::default());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::a_worker_that_panics_ends_the_process_and_says_why"])
            .arg("--nocapture")
            .env(PANICS, "")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > Duration::from_secs(30) {
                child.kill().unwrap();
                panic!("a worker panicked and the process hangs");
            }
            never.wait(Duration::from_millis(10));
        };
        let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!(status.code(), Some(2), "{said}");
        assert_eq!(said.matches("frame 7 breaks the detector").count(), 1, "{said}");
    }
}
