//! The program as its users run it: arguments in, files, exit codes and sentences out.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
#![allow(
    clippy::print_stdout,
    reason = "figures of the real datasets are shown with `--nocapture`"
)]

#[path = "../../benches/support/idle.rs"]
#[allow(dead_code, reason = "no test and no bench uses all of it")]
mod idle;

#[path = "../../pipelines/src/cluster/own_port.rs"]
mod own_port;

mod bad_inputs;
mod bad_settings;
mod bench;
mod cluster;
mod cluster_controls;
mod demo;
mod determinism;
mod evaluate;
mod fit;
mod formats;
mod inspect;
mod kept;
mod kept_live;
mod live;
mod live_cluster;
mod nearest;
mod network_camera;
mod packaging;
mod pictures;
mod real_data;
mod replay;
mod report;
mod run_file;
mod serve;
mod server;
mod show;
mod soak;
mod store_failures;
mod support;
mod suppression;
mod unruly;
mod weights;
mod without;
mod wrong_clocks;
