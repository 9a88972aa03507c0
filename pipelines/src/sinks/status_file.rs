//! What a run is doing, as a file that is written again every second.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use intakt_kernels::give_way;

use super::LiveBoard;
use crate::sources::StopFlag;
use crate::{PipelineError, write_picture};

/// Name of the file in a run's directory.
pub const STATUS_FILE_NAME: &str = "status.json";

/// How often the file is written.
pub const STATUS_WRITTEN_EVERY: Duration = Duration::from_secs(1);

/// Writes `status.json` while a run goes on, on a thread of its own. A reader sees a whole file or none.
pub struct StatusFile {
    path: PathBuf,
    board: Arc<LiveBoard>,
    stop: StopFlag,
    writer: JoinHandle<()>,
}

impl StatusFile {
    /// Writes what `board` shows into `directory`, which is made, now and then every second.
    ///
    /// # Errors
    /// The directory cannot be made, or the file not be written.
    pub fn start(directory: &Path, board: Arc<LiveBoard>) -> Result<Self, PipelineError> {
        std::fs::create_dir_all(directory).map_err(PipelineError::write(directory))?;
        let path = directory.join(STATUS_FILE_NAME);
        write(&path, &board)?;
        let stop = StopFlag::default();
        let (stopped, shown, written) = (stop.clone(), board.clone(), path.clone());
        let writer = Builder::new().name("status-file".to_owned()).spawn(move || {
            give_way();
            while !stopped.wait(STATUS_WRITTEN_EVERY) {
                // What cannot be written now may be in a second; the inspection does not end for it, and readers see its age.
                let _ = write(&written, &shown);
            }
        });
        let refused = |error| PipelineError::Refused(format!("cannot start a thread for {}: {error}", path.display()));
        Ok(Self {
            writer: writer.map_err(refused)?,
            path,
            board,
            stop,
        })
    }

    /// Writes a last time, after the board has been told that the run ended.
    ///
    /// # Errors
    /// The last picture could not be written. A failure before that was made good by it.
    pub fn finish(self) -> Result<(), PipelineError> {
        self.stop.stop();
        // A panic on that thread ends the program; there is nothing else to say.
        let _ = self.writer.join();
        write(&self.path, &self.board)
    }
}

fn write(path: &Path, board: &LiveBoard) -> Result<(), PipelineError> {
    let cannot = |error: serde_json::Error| PipelineError::Refused(format!("cannot write {}: {error}", path.display()));
    let mut json = serde_json::to_vec(&board.status()).map_err(cannot)?;
    json.push(b'\n');
    // It does not wait for the disk: in a second it is written again, and after a power loss nobody asks what a run was doing.
    write_picture(path, &json)
}

#[cfg(test)]
mod tests {
    use intakt_operators::dataflow::Latencies;

    use super::*;
    use crate::sinks::{LiveStatus, RunState, Sink};
    use crate::sources::SystemClock;

    fn board() -> Arc<LiveBoard> {
        let cameras = ["left".into()];
        let (stop, clock) = (StopFlag::default(), Arc::new(SystemClock));
        Arc::new(LiveBoard::new(cameras, Latencies::default(), stop, clock))
    }

    fn read(directory: &Path) -> LiveStatus {
        let json = std::fs::read(directory.join(STATUS_FILE_NAME)).expect("is there");
        serde_json::from_slice(&json).expect("a whole file")
    }

    #[test]
    fn it_is_there_from_the_start_and_says_at_last_how_it_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let run = directory.path().join("runs/monday");
        let board = board();
        let file = StatusFile::start(&run, board.clone()).expect("starts");
        assert_eq!(read(&run).state, RunState::Starting);
        board.started();
        board.captured(&"left".into(), 0, 1);
        board.end();
        file.finish().expect("writes");
        let status = read(&run);
        assert_eq!((status.state, status.cameras[0].captured), (RunState::Ended, 1));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_told_at_the_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        std::fs::write(&file, "in the way").expect("written");
        let refused = StatusFile::start(&file.join("run"), board());
        let refused = refused.map(drop).expect_err("cannot be").to_string();
        assert!(refused.contains("cannot write") && refused.contains("run"), "{refused}");
    }
}
