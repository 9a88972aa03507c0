//! The HTTP server of a run, while it goes on or afterwards: images in, verdicts and figures out.

mod admission;
mod alerts;
mod answers;
mod asked;
mod audit;
mod audit_log;
mod batch;
mod cameras;
mod compare;
mod connections;
mod detectors;
mod frames;
mod histogram;
mod labels;
mod latencies;
mod line;
mod listen;
mod metrics;
mod multipart;
mod openapi;
mod page;
mod posting;
mod problem;
mod rates;
mod routes;
mod served;
mod session;
mod status;
mod telling;
mod text_format;
mod tokens;
mod verdict_events;
mod verdicts;
mod wire;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use intakt_kernels::give_way;
use intakt_pipelines::PipelineError;
use tokio::sync::{oneshot, watch};

pub(crate) use self::answers::Answers;
pub(crate) use self::audit_log::Audit;
pub(crate) use self::listen::Listen;
use self::listen::cannot_listen;
use self::served::SharedCounted;
pub(crate) use self::served::{
    Keeper, Kept, Live, NotedDetectors, OtherRun, Run, Served, Shown, Starts, TakenIn, TakesLabels,
};
pub(crate) use self::tokens::Tokens;

/// How long a thread that reads and writes beside the server's own waits for more to do. The allocator keeps what a thread took, also for
/// one that is no more; the next one would take as much again.
const READERS_KEPT: Duration = Duration::from_secs(3600);

/// What a server puts up with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the largest image: as of a network camera's frame.
    pub(crate) body_bytes_max: usize,
    /// Bodies in memory at once, from their first byte until their camera takes them: 256 MiB with the largest images.
    pub(crate) bodies_max: usize,
    /// Time for a body to get a place, again to arrive, and again to be taken by its camera.
    pub(crate) body_wait_max: Duration,
    /// Images in one batch.
    pub(crate) batch_images_max: usize,
    /// Time for a detector to arrive: a gigabyte over a slow network.
    pub(crate) detector_wait_max: Duration,
    /// Requests that read from the store at once: each takes a thread, and the disk is one.
    pub(crate) reads_max: usize,
    /// Time for a place to read or to upload to get free.
    pub(crate) place_wait_max: Duration,
    /// Time for a verdict to come. It is longer than any frame waits in a queue that moves.
    pub(crate) verdict_wait_max: Duration,
    /// Requests a second of each token, or without tokens of all local programs together; a second's worth may come at once.
    pub(crate) requests_per_second_max: u32,
    /// Requests a second from one address without a token that is known, where there are tokens: of pages that are not signed in yet, and
    /// of whoever guesses.
    pub(crate) stranger_requests_per_second_max: u32,
    /// Who may be told how the line is at once: each holds a connection, and leaves places for those who ask.
    pub(crate) viewers_max: usize,
    /// Connections at once; further ones wait in the system's queue.
    pub(crate) connections_max: usize,
    /// Connections from one address at once; further ones are closed, so that nobody takes every place. A proxy has one address, too.
    pub(crate) connections_per_address_max: usize,
    /// Time for the header of a request to arrive, and for a connection to be without one.
    pub(crate) header_wait_max: Duration,
    /// Time for a client to take some of what it is answered.
    pub(crate) write_wait_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 32 << 20,
            bodies_max: 8,
            body_wait_max: Duration::from_secs(10),
            batch_images_max: 64,
            detector_wait_max: Duration::from_secs(600),
            reads_max: 4,
            place_wait_max: Duration::from_secs(10),
            verdict_wait_max: Duration::from_secs(30),
            requests_per_second_max: 1_000,
            stranger_requests_per_second_max: 100,
            viewers_max: 256,
            connections_max: 512,
            connections_per_address_max: 384,
            header_wait_max: Duration::from_secs(10),
            write_wait_max: Duration::from_secs(10),
        }
    }
}

/// A server on a thread of its own.
pub(crate) struct Server {
    address: SocketAddr,
    live: Option<Live>,
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
        let refused = |error| cannot_listen(typed, &error);
        let listener = listen.bind()?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().thread_keep_alive(READERS_KEPT).build();
        let runtime = runtime.map_err(refused)?;
        let (end, ended) = oneshot::channel();
        let live = served.live().cloned();
        let serve = move || {
            give_way();
            let counted = SharedCounted::default();
            let said = line::Said::at_the_beginning(&served, &counted);
            let (told, line) = watch::channel(Arc::new(said));
            let lookers = Arc::<line::Lookers>::default();
            let (live, audit) = (served.live().cloned(), served.audit.clone());
            runtime.spawn(line::tell(served.clone(), counted.clone(), lookers.clone(), told));
            let router = routes::router(served, line, lookers, counted, listen.tokens, limits);
            // An error here is the listener's, which was just made; nobody could be told anything else.
            let _ = runtime.block_on(connections::serve(listener, router, limits, ended));
            runtime.shutdown_background();
            if let (Some(live), Some(audit)) = (live, audit) {
                // What the last frames began.
                audit.took_effect(live.controls.begun());
            }
        };
        let thread = Builder::new().name("http-server".to_owned()).spawn(serve);
        Ok(Self {
            address,
            live,
            end,
            thread: thread.map_err(refused)?,
        })
    }

    /// Where it listens, with the port that it was given.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers whoever still waits that the run has ended, and stops listening.
    pub(crate) fn finish(self) {
        if let Some(live) = &self.live {
            live.answers.close();
            live.thumbnails.finish();
        }
        // It cannot be told what has already ended.
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}
