//! The dataflow verbs, one a file: a pure function from elsewhere in this package behind a thin timely operator.
//!
//! Time is event time in microseconds. Heavy work runs on the process's [`Pool`] through [`Offload`]; a worker thread only
//! moves `Arc`s. Every operator says what it does to time in its documentation.

mod cameras;
mod credit;
mod expire;
mod in_order;
//mod k_center;
mod latency;
mod mailbox;
mod offload;
mod pool;
mod rates;
mod waker;

pub use cameras::{Admitted, cameras};
pub use credit::{Credit, Permit};
pub use expire::Expire;
pub use in_order::InOrder;
//pub use k_center::{CoresetPick, k_center};
pub use latency::{Latencies, LatencySummary};
pub use mailbox::{Inbox, Outbox, mailbox};
pub use offload::{Offload, Resources};
pub use pool::{POOL_THREAD_PREFIX, Pool};
pub use rates::{HOP_US, Rate, RateKey, RollingRates, WINDOWS_US};
pub use waker::Waker;
