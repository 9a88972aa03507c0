//! The dataflow verbs, one a file: a pure function from elsewhere in this package behind a thin timely operator.
//!
//! Time is event time in microseconds. Heavy work runs on the process's [`Pool`] through [`Offload`]; a worker thread only
//! moves `Arc`s. Every operator says what it does to time in its documentation.

mod aggregate;
mod cameras;
mod credit;
mod decode;
mod embed;
mod expire;
mod in_order;
mod judge;
mod k_center;
mod latency;
mod mailbox;
mod offload;
mod patch;
mod pool;
mod rates;
mod score;
mod suppress;
mod waker;
mod watermark;

pub use aggregate::{Aggregate, ScoredFrame};
pub use cameras::{Admitted, CameraInput, Cameras, Entry, OnEntry, cameras};
pub use credit::{Credit, Permit};
pub use decode::{Decode, DecodedFrame, UnreadableFrame};
pub use embed::{Embed, EmbeddedTile};
pub use expire::Expire;
pub use in_order::InOrder;
pub use judge::{Judge, JudgedFrame};
pub use k_center::{CoresetPick, k_center};
pub use latency::{Latencies, LatencySummary};
pub use mailbox::{Inbox, Outbox, Overflow, mailbox};
pub use offload::{Offload, Resources};
pub use patch::{Patch, Tile};
pub use pool::{POOL_THREAD_PREFIX, Pool};
pub use rates::{HOP_US, Rate, RateKey, RollingRates, WINDOWS_US};
pub use score::{Score, ScoredTile};
pub use suppress::{Found, FoundFrame, Suppress};
pub use waker::Waker;
pub use watermark::{Patience, TIME_MAX_US, Watermark};
