//! What is written in a run file.

use std::path::PathBuf;

use intakt_operators::dataflow::Overflow;
use serde::Deserialize;
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Typed {
    /// Detector of the cameras that name none.
    pub(super) detector: Option<Spanned<PathBuf>>,
    /// Directory to record into.
    pub(super) record: Option<PathBuf>,
    /// Directory to keep the run in.
    pub(super) run: Option<PathBuf>,
    /// What is counted.
    pub(super) rates: Option<TypedRates>,
    /// Other thresholds that are asked about.
    #[serde(default)]
    pub(super) what_if: Vec<Spanned<TypedQuestion>>,
    /// Where the run is served.
    pub(super) server: Option<TypedServer>,
    /// At least one.
    #[serde(default)]
    pub(super) camera: Vec<Spanned<TypedCamera>>,
}

/// `[rates]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TypedRates {
    /// Lengths of the sliding windows.
    pub(super) windows: Option<Vec<Spanned<String>>>,
    /// For how long labels correct.
    pub(super) label_horizon: Option<Spanned<String>>,
    /// When shifts start, by the clock of the plant.
    pub(super) shifts: Option<Spanned<Vec<String>>>,
    /// That clock, `+01:00` ahead of UTC.
    pub(super) utc_offset: Option<Spanned<String>>,
    /// Rules.
    #[serde(default)]
    pub(super) alerts: Vec<Spanned<String>>,
}

/// One `[[what_if]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TypedQuestion {
    pub(super) name: String,
    /// A calibrated score.
    pub(super) threshold: Spanned<f64>,
}

/// The `[server]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TypedServer {
    pub(super) listen: Option<Spanned<String>>,
    pub(super) token_file: Option<Spanned<PathBuf>>,
}

/// One `[[camera]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TypedCamera {
    pub(super) name: Spanned<String>,
    pub(super) source: Spanned<SourceKind>,
    pub(super) path: Option<Spanned<PathBuf>>,
    pub(super) url: Option<Spanned<String>>,
    /// What a simulated camera sees, how many frames of it, and the seed of its parts.
    pub(super) scene: Option<Spanned<String>>,
    pub(super) frames: Option<Spanned<u64>>,
    pub(super) seed: Option<Spanned<u64>>,
    /// How long a file of a hot folder must stay the same until it is complete.
    pub(super) settle_ms: Option<Spanned<u64>>,
    /// Columns, rows and pictures a second of a camera at `/dev/videoN`.
    pub(super) width: Option<Spanned<u32>>,
    pub(super) height: Option<Spanned<u32>>,
    pub(super) fps: Option<Spanned<u32>>,
    /// The line that it is part of.
    pub(super) line: Option<String>,
    pub(super) detector: Option<Spanned<PathBuf>>,
    /// The process that reads it, counted from 0.
    pub(super) process: Option<Spanned<usize>>,
    /// Whether files come at the pace of their event times, as from a live camera.
    #[serde(default)]
    pub(super) paced: bool,
    pub(super) overflow: Option<Overflow>,
    pub(super) depth: Option<Spanned<usize>>,
    pub(super) credit: Option<Spanned<usize>>,
    pub(super) lateness_ms: Option<Spanned<u64>>,
    pub(super) idle_ms: Option<Spanned<u64>>,
    pub(super) skew_ms: Option<Spanned<u64>>,
}

/// Where the frames of a camera come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SourceKind {
    /// The images of a folder, once.
    Directory,
    /// The images that somebody puts into a folder.
    Watch,
    /// An MP4 file.
    Video,
    /// A network camera that sends JPEGs over HTTP.
    Mjpeg,
    /// A network camera that sends H.264 over RTSP.
    Rtsp,
    /// The images that are posted to this run's own server.
    Http,
    /// A camera of the simulated line.
    Synthetic,
    /// A camera at `/dev/videoN`.
    V4l2,
}

impl SourceKind {
    /// How addresses of such a camera begin.
    pub(super) fn scheme(self) -> &'static str {
        if self == Self::Rtsp { "rtsp" } else { "http" }
    }

    /// Whether the camera goes on while nobody takes its frames.
    pub(super) fn is_live(self) -> bool {
        matches!(self, Self::Mjpeg | Self::Rtsp | Self::Http | Self::V4l2)
    }

    /// Whether it can be read again, and its frames then have the same numbers and times.
    pub(super) fn has_own_clock(self) -> bool {
        !self.is_live() && self != Self::Watch
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Watch => "watch",
            Self::Video => "video",
            Self::Mjpeg => "mjpeg",
            Self::Rtsp => "rtsp",
            Self::Http => "http",
            Self::Synthetic => "synthetic",
            Self::V4l2 => "v4l2",
        }
    }
}
