//! The HTTP server of a running inspection: images in, verdicts and figures out.

mod admission;
mod answers;
mod connections;
mod line;
mod listen;
mod metrics;
mod page;
mod posting;
mod routes;
mod session;
mod telling;
mod text_format;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use intakt_pipelines::PipelineError;
use intakt_pipelines::sinks::{LiveBoard, Thumbnails};
use intakt_pipelines::sources::{Poster, StopFlag};
use tokio::sync::{oneshot, watch};

pub(crate) use self::answers::Answers;
pub(crate) use self::listen::{Listen, Token};
pub(crate) use self::telling::{Keeper, Told};

/// What a server puts up with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the largest image: as of a network camera's frame.
    pub(crate) body_bytes_max: usize,
    /// Bodies in memory at once, from their first byte until their camera takes them: 256 MiB with the largest images.
    pub(crate) bodies_max: usize,
    /// Time for a body to get a place, again to arrive, and again to be taken by its camera.
    pub(crate) body_wait_max: Duration,
    /// Time for a verdict to come. It is longer than any frame waits in a queue that moves.
    pub(crate) verdict_wait_max: Duration,
    /// Requests a second, of all clients together; a second's worth may come at once.
    pub(crate) requests_per_second_max: u32,
    /// The same for small pictures, of which every page asks for some a second. They are in memory.
    pub(crate) pictures_per_second_max: u32,
    /// Connections at once; further ones wait in the system's queue.
    pub(crate) connections_max: usize,
    /// Time for the header of a request to arrive, and for a connection to be without one.
    pub(crate) header_wait_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 32 << 20,
            bodies_max: 8,
            body_wait_max: Duration::from_secs(10),
            verdict_wait_max: Duration::from_secs(30),
            requests_per_second_max: 1_000,
            pictures_per_second_max: 4_000,
            connections_max: 512,
            header_wait_max: Duration::from_secs(10),
        }
    }
}

/// What the server shows and feeds.
#[derive(Clone)]
pub(crate) struct Served {
    /// The picture of the run.
    pub(crate) board: Arc<LiveBoard>,
    /// Small pictures of its frames. It is a sink of the run.
    pub(crate) thumbnails: Arc<Thumbnails>,
    /// Who waits for verdicts. It is a sink of the run.
    pub(crate) answers: Arc<Answers>,
    /// The cameras that take posted frames.
    pub(crate) posters: BTreeMap<Arc<str>, Poster>,
    /// How the run is spoken to.
    pub(crate) told: Told,
    /// Set when the run is ending.
    pub(crate) stop: StopFlag,
}

/// A server on a thread of its own.
pub(crate) struct Server {
    address: SocketAddr,
    answers: Arc<Answers>,
    thumbnails: Arc<Thumbnails>,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Listens, and serves until [`Server::finish`].
    ///
    /// # Errors
    /// The address cannot be listened on, or the system gives no event loop.
    pub(crate) fn start(listen: Listen, served: Served, limits: Limits) -> Result<Self, PipelineError> {
        let typed = listen.address;
        let refused = |error| {
            PipelineError::Refused(format!(
                "cannot listen on {typed}: {error}\n  hint: port 0 takes any port that is free"
            ))
        };
        let listener = TcpListener::bind(typed).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(refused)?;
        let (end, ended) = oneshot::channel();
        let (answers, thumbnails) = (served.answers.clone(), served.thumbnails.clone());
        let serve = move || {
            let (said, line) = watch::channel(Arc::from("{}"));
            runtime.spawn(line::tell(served.board.clone(), served.thumbnails.clone(), said));
            let router = routes::router(served, line, listen.token, limits);
            // An error here is the listener's, which was just made; nobody could be told anything else.
            let _ = runtime.block_on(connections::serve(listener, router, limits, ended));
            runtime.shutdown_background();
        };
        let thread = Builder::new().name("http-server".to_owned()).spawn(serve);
        Ok(Self {
            address,
            answers,
            thumbnails,
            end,
            thread: thread.map_err(refused)?,
        })
    }

    /// What draws small pictures of the run's frames.
    pub(crate) fn thumbnails(&self) -> Arc<Thumbnails> {
        self.thumbnails.clone()
    }

    /// Where it listens, with the port that it was given.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers whoever still waits that the run has ended, and stops listening.
    pub(crate) fn finish(self) {
        self.answers.close();
        self.thumbnails.finish();
        // It cannot be told what has already ended.
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}
