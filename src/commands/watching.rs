//! How a run is watched from outside: its status file and its server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intakt_operators::dataflow::{Alert, Latencies};
use intakt_pipelines::sinks::{LiveBoard, PictureKeeper, Sink, StatusFile, Thumbnails};
use intakt_pipelines::sources::{Clock, Poster, StopFlag, SystemClock};
use intakt_pipelines::{Controls, PipelineError};

use super::run_directory::RunDirectory;
use crate::server::{Answers, Audit, Keeper, Limits, Listen, Live, Run, Served, Server};
use crate::terminal;

/// Where a run can be watched.
pub(crate) struct Wanted<'a> {
    /// Directory for the status file.
    pub(crate) directory: Option<&'a Path>,
    /// Address of the server.
    pub(crate) listen: Option<Listen>,
    /// The cameras that take posted frames.
    pub(crate) posters: Vec<Poster>,
    /// How its cameras are spoken to.
    pub(crate) controls: Controls,
    /// Who keeps the run.
    pub(crate) keeper: Keeper,
    /// Where it is noted who changed what.
    pub(crate) audit: Option<Audit>,
    /// Where detectors are kept that cameras were switched to.
    pub(crate) detector_directories: Vec<PathBuf>,
}

/// What watches a run. It has sinks of the run, and ends after it.
pub(crate) struct Watching {
    board: Arc<LiveBoard>,
    answers: Arc<Answers>,
    file: Option<StatusFile>,
    server: Option<(Server, Arc<Thumbnails>)>,
    /// Keeps pictures for review, where the run is kept.
    pictures: Option<Arc<PictureKeeper>>,
}

impl Watching {
    /// Starts what is wanted, for a run of `cameras` in `process`, if there are several, that times its stages with `latencies`
    /// and ends when `stop` is set.
    ///
    /// # Errors
    /// The status file cannot be written, or the address not be listened on.
    pub(crate) fn start(
        wanted: Wanted<'_>,
        process: Option<usize>,
        cameras: impl IntoIterator<Item = Arc<str>>,
        latencies: Latencies,
        stop: &StopFlag,
    ) -> Result<Self, PipelineError> {
        let board = LiveBoard::new(cameras, latencies, stop.clone(), Arc::new(SystemClock));
        let board = process.into_iter().fold(board, LiveBoard::in_process);
        let (board, answers) = (Arc::new(board), Arc::<Answers>::default());
        let file = match wanted.directory {
            Some(directory) => Some(StatusFile::start(directory, board.clone())?),
            None => None,
        };
        let pictures = match wanted.directory {
            Some(directory) => Some(PictureKeeper::start(
                &RunDirectory(directory).pictures(),
                Arc::new(SystemClock),
                |trouble| terminal::say(&no_pictures(trouble)),
            )?),
            None => None,
        };
        let posters: BTreeMap<_, _> = wanted
            .posters
            .into_iter()
            .map(|poster| (poster.camera().clone(), poster))
            .collect();
        let server = match wanted.listen {
            Some(listen) => {
                let (board, answers, stop) = (board.clone(), answers.clone(), stop.clone());
                let thumbnails = Arc::new(Thumbnails::start(Arc::new(SystemClock))?);
                let live = Live {
                    board,
                    thumbnails: thumbnails.clone(),
                    answers,
                    posters,
                    controls: wanted.controls,
                    detector_directories: wanted.detector_directories,
                    stop,
                };
                let served = Served {
                    run: Run::Here(live),
                    keeper: wanted.keeper,
                    starts: match wanted.directory {
                        Some(directory) => RunDirectory(directory).starts(),
                        None => SystemClock.now_us().into(),
                    },
                    other: None,
                    audit: wanted.audit.map(Arc::new),
                };
                let server = Server::start(listen, served, Limits::default())?;
                terminal::say(&format!("listening on http://{}", server.address()));
                Some((server, thumbnails))
            }
            None => None,
        };
        Ok(Self {
            board,
            answers,
            file,
            server,
            pictures: pictures.map(Arc::new),
        })
    }

    /// Shows the alerts that were open when the run stopped.
    pub(crate) fn carry_over(&self, open: &[Alert]) {
        for alert in open {
            self.board.alert(alert).expect("the board takes everything");
        }
    }

    /// What the run has to tell; nothing if nobody watches.
    pub(crate) fn sinks(&self) -> Vec<Arc<dyn Sink>> {
        let mut sinks: Vec<Arc<dyn Sink>> = match (&self.server, &self.file) {
            (None, None) => vec![],
            (None, Some(_)) => vec![self.board.clone()],
            // The board first: who has a verdict finds it counted.
            (Some((_, thumbnails)), _) => vec![self.board.clone(), self.answers.clone(), thumbnails.clone()],
        };
        if let Some(pictures) = &self.pictures {
            sinks.push(pictures.clone());
        }
        sinks
    }

    /// Says that the run has ended, to whoever asks or waits.
    pub(crate) fn finish(self) {
        self.board.end();
        if let Some(trouble) = self.pictures.and_then(|pictures| pictures.finish()) {
            terminal::say(&no_pictures(&trouble));
        }
        if let Some((server, _)) = self.server {
            server.finish();
        }
        if let Some(Err(error)) = self.file.map(StatusFile::finish) {
            terminal::say(&format!("note: {error}; the run itself is not affected"));
        }
    }
}

/// What is said when pictures could not be kept.
pub(crate) fn no_pictures(trouble: &str) -> String {
    format!("note: {trouble}; the run itself is not affected")
}
