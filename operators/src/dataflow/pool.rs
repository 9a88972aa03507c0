//! The process's threads for heavy work.

use std::thread;

use crossbeam::channel::{Sender, unbounded};
use intakt_kernels::network::Crew;

type Job = Box<dyn FnOnce() + Send>;

/// A handle to the pool; the threads end when the last handle is dropped.
///
/// The queue has no bound of its own: every operator bounds the jobs it has out, and admission bounds the frames alive.
#[derive(Clone)]
pub struct Pool {
    jobs: Sender<Job>,
    threads: usize,
}

impl Pool {
    /// Starts `threads` threads.
    ///
    /// Each is its own rayon pool of one thread, so that a tensor library that spreads over rayon stays on it: frames run
    /// side by side, not one frame over all cores, and what a frame's arithmetic is split into does not depend on the
    /// number of threads. The kernels' own work is the exception (decoding a PNG, resizing, a network, a search, a Gaussian per position): it gives
    /// the same bytes however it is split, so a frame that is alone has the idle threads' cores too.
    ///
    /// # Errors
    /// The operating system's, when it gives no more threads.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let (jobs, queue) = unbounded::<Job>();
        let crew = Crew::new(threads.max(1));
        for index in 0..threads.max(1) {
            let (queue, crew) = (queue.clone(), crew.clone());
            thread::Builder::new()
                .name(format!("{POOL_THREAD_PREFIX}{index}"))
                .spawn(move || {
                    let rayon = rayon::ThreadPoolBuilder::new()
                        .num_threads(1)
                        .use_current_thread()
                        .build();
                    assert!(rayon.is_ok(), "a fresh thread belongs to no rayon pool");
                    for job in queue {
                        let _at_work = crew.begin();
                        job();
                    }
                })?;
        }
        Ok(Self {
            jobs,
            threads: threads.max(1),
        })
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    pub(super) fn submit(&self, job: Job) {
        let sent = self.jobs.send(job);
        assert!(sent.is_ok(), "pool threads outlive their handles");
    }
}

/// Names of pool threads begin so. A panic there is answered by an error record; anywhere else it ends the process.
pub const POOL_THREAD_PREFIX: &str = "intakt-pool-";
