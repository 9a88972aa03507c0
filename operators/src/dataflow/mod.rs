//! The dataflow verbs, one a file: a pure function from elsewhere in this package behind a thin timely operator.
//!
//! Time is event time in microseconds. Heavy work runs on the process's [`Pool`] through [`Offload`]; a worker thread only
//! moves `Arc`s. Every operator says what it does to time in its documentation.

mod abreast;
mod aggregate;
mod alert;
mod alert_book;
mod cameras;
mod compare;
mod controls;
mod credit;
mod decode;
mod difference;
mod embed;
mod expire;
mod history;
mod in_order;
mod judge;
mod k_center;
mod latency;
mod ledger;
mod lots;
mod mailbox;
mod match_labels;
mod offload;
mod passed;
mod patch;
mod patience;
mod per_hop;
mod pool;
mod rate_plan;
mod rates;
mod score;
mod settle;
mod suppress;
mod waker;
mod watermark;
mod what_if;
mod wire;

#[cfg(test)]
mod rates_testing;

pub use abreast::{Abreast, Position};
pub use aggregate::{Aggregate, ScoredFrame};
pub use alert::Alerts;
pub use alert_book::{Alert, AlertState, KnownSilences, OpenSilence};
pub use cameras::{Admitted, CameraInput, Cameras, Entry, OnClockOff, OnEntry, cameras};
pub use compare::{Compare, Compared};
pub use controls::{Control, ControlQueue, Controlled, Place};
pub use credit::{Credit, Permit};
pub use decode::{Decode, DecodedFrame, UnreadableFrame};
pub use embed::{Embed, EmbeddedTile};
pub use expire::Expire;
pub use history::history;
pub use in_order::InOrder;
pub use judge::{Judge, JudgedFrame};
pub use k_center::{CoresetPick, k_center};
pub use latency::{LATENCY_BOUNDS_US, LATENCY_MINUTES_MAX, Latencies, LatencyBuckets, LatencySummary};
pub use ledger::{Account, Ledger};
pub use lots::LotStarted;
pub use mailbox::{Inbox, Outbox, Overflow, mailbox};
pub use match_labels::{ArrivedLabel, FrameChange, MatchLabels};
pub use offload::{Offload, Resources};
pub use passed::Passed;
pub use patch::{Patch, Tile};
pub use patience::{ClockOff, Patience};
pub use pool::{POOL_THREAD_PREFIX, Pool};
pub use rate_plan::{HOP_US, RateKey, RatePlan, SCORE_HOP_US, Scope, Shifts, WINDOWS_US, Window};
pub use rates::{Rate, Rates, Revision, ScoreFigures, ScoreRate};
pub use score::{Score, ScoredTile};
pub use suppress::{Found, FoundFrame, Suppress};
pub use waker::Waker;
pub use watermark::{TIME_MAX_US, Watermark};
pub use what_if::{AlternativeThreshold, WhatIf, WhatIfs};
pub use wire::Wire;
