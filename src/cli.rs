//! What was typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Inspects camera streams at the pace of a production line.
#[derive(Debug, Parser)]
#[command(
    name = "intakt",
    version,
    about,
    after_help = "Exit status: 0 every frame passed, 1 something was rejected or unreadable, 2 the work itself failed."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a simulated line of three cameras through the whole program
    Demo(DemoArgs),
    /// Fit a detector on normal images
    Fit(FitArgs),
    /// Measure a detector on labelled images
    Evaluate(EvaluateArgs),
    /// Give a verdict on every image
    Inspect(InspectArgs),
    /// Say whether a run file can be run, and what it would do
    Check(CheckArgs),
    /// Give the verdicts on a recorded run again, or what another detector or threshold would have decided
    Replay(ReplayArgs),
    /// Say what frames of a kept run truly are; its figures are corrected
    Label(LabelArgs),
    /// Print what a kept run holds, as JSON lines
    Query(QueryArgs),
    /// Write the frames of a kept run as JSON lines, CSV or Parquet
    Export(ExportArgs),
    /// Write a run or an evaluation as one page to read, print or mail
    Report(ReportArgs),
    /// Say what is in a detector file
    Show(ShowArgs),
    /// Measure how fast a detector is on this machine
    Bench(BenchArgs),
    /// Show what a run is doing, while it does
    Top(TopArgs),
    /// Show a kept run in a browser, after it has ended
    Serve(ServeArgs),
    /// Ask a run's server whether it is well: status 0 if it is, 1 if not
    Health(HealthArgs),
}

/// Where a run is kept
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct KeepArgs {
    /// Keep the run in this directory: verdicts, labels and figures, exactly once, whatever ends the process
    #[arg(long, value_name = "DIR")]
    pub(crate) run: Option<PathBuf>,
    /// Go on with the run that is in the directory, if there is one
    #[arg(long)]
    pub(crate) resume: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LabelArgs {
    /// Directory of a kept run
    pub(crate) run: PathBuf,
    /// Camera of the frame
    #[arg(long, requires_all = ["seq", "truth"])]
    pub(crate) camera: Option<String>,
    /// Number of the frame in the camera's stream
    #[arg(long, requires = "camera")]
    pub(crate) seq: Option<u64>,
    /// What it is: normal, anomalous or anomalous:CLASS; unlabelled takes back what was said before
    #[arg(long, requires = "camera")]
    pub(crate) truth: Option<String>,
    /// A table with the columns camera, seq and truth
    #[arg(long, conflicts_with = "camera", required_unless_present = "camera")]
    pub(crate) csv: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Of this camera
    #[arg(long)]
    pub(crate) camera: Option<String>,
    /// From this time on (2026-01-05T06:00:00Z, or microseconds)
    #[arg(long)]
    pub(crate) since: Option<String>,
    /// Before this time
    #[arg(long)]
    pub(crate) until: Option<String>,
    /// With this decision
    #[arg(long)]
    pub(crate) decision: Option<DecisionName>,
    /// At most so many, the earliest
    #[arg(long)]
    pub(crate) limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DecisionName {
    Pass,
    Reject,
    Unreadable,
    Dropped,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// Directory of a kept run
    pub(crate) run: PathBuf,
    /// What to print
    #[arg(long, default_value = "outcomes")]
    pub(crate) show: QueryKind,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QueryKind {
    /// What became of frames
    Outcomes,
    /// Figures of full minutes, quarters, hours, shifts and lots, each with its corrections
    Metrics,
    /// What people said about frames
    Labels,
    /// Changes of thresholds, detectors and lots
    Changes,
    /// Alerts as they stand
    Alerts,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("form").required(true).multiple(true).args(["jsonl", "csv", "parquet"])))]
pub(crate) struct ExportArgs {
    /// Directory of a kept run
    pub(crate) run: PathBuf,
    /// Write JSON lines to this file, as `inspect` prints them; - is standard output
    #[arg(long)]
    pub(crate) jsonl: Option<PathBuf>,
    /// Write a table to this file; - is standard output
    #[arg(long)]
    pub(crate) csv: Option<PathBuf>,
    /// Write a Parquet file; - is standard output
    #[arg(long)]
    pub(crate) parquet: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Directory of a kept run, or the file that `evaluate --json` wrote
    #[arg(value_name = "RUN|EVALUATION")]
    pub(crate) subject: PathBuf,
    /// HTML file to write; it needs no other file and no network
    #[arg(short, long)]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
}

/// How a report is printed
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PrintArgs {
    /// Print the report to this PDF file too, with Chromium or Chrome
    #[arg(long)]
    pub(crate) pdf: Option<PathBuf>,
    /// Browser that prints [default: the first of Chromium and Chrome on PATH]
    #[arg(long, requires = "pdf")]
    pub(crate) browser: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Frames per camera
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) frames: u64,
    /// Seed of the simulated line
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Directory for verdicts, detectors and pictures
    #[arg(long, default_value = "out/demo")]
    pub(crate) out: PathBuf,
    /// Show the line in a browser, at its own pace, until it is interrupted
    #[arg(long)]
    pub(crate) serve: bool,
    /// With `--serve`: keep the run in this directory, and go on with the one that is there [default: one that is removed at the end]
    #[arg(long, value_name = "DIR", requires = "serve")]
    pub(crate) run: Option<PathBuf>,
    /// With `--serve`: address and port to listen on
    #[arg(long, default_value = "127.0.0.1:8080", requires = "serve")]
    pub(crate) listen: String,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

/// How the work is spread over the machine; no result depends on it
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct MachineArgs {
    /// Dataflow workers [default: 1; fit: number of cores]
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
    /// Threads for decoding, embedding and scoring [default: number of cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) pool: Option<u16>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DatasetArgs {
    /// Folder or manifest with images
    pub(crate) dataset: PathBuf,
    /// How the dataset is laid out [default: detected]
    #[arg(long)]
    pub(crate) layout: Option<LayoutName>,
    /// Which fabric of an AITEX dataset: its code (02) or its folder
    #[arg(long)]
    pub(crate) fabric: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LayoutName {
    /// train/good, test/<defect>, ground_truth/<defect>
    Mvtec,
    /// NODefect_images/<fabric>, Defect_images, Mask_images
    Aitex,
    /// normal, optional anomalous and masks; or one flat folder of normal images
    Folder,
    /// Manifest: path, split, label, mask, camera, captured_at
    Csv,
}

/// What a fit is asked for; `--without` takes all of it from the detector.
const FIT_SETTINGS: [&str; 21] = [
    "detector",
    "backbone",
    "weights",
    "precision",
    "size",
    "crop",
    "tile",
    "overlap",
    "layers",
    "coreset_ratio",
    "seed",
    "image_score",
    "calibrate",
    "false_reject_rate",
    "keep_sums",
    "roi",
    "border",
    "min_area",
    "min_peak",
    "hysteresis",
    "static_artefacts",
];

#[derive(Debug, Args)]
pub(crate) struct FitArgs {
    #[command(flatten)]
    pub(crate) dataset: DatasetArgs,
    /// Detector file to write
    #[arg(short, long)]
    pub(crate) output: PathBuf,
    /// Scorer [default: patchcore with weights; without, the built-in backbone's best]
    #[arg(long)]
    pub(crate) detector: Option<DetectorName>,
    /// Network [default: builtin; resnet18 and others need --weights]
    #[arg(long)]
    pub(crate) backbone: Option<BackboneName>,
    /// Weights of the network, safetensors with torchvision's or timm's key names
    #[arg(long)]
    pub(crate) weights: Option<PathBuf>,
    /// What a network with weights computes in [default: auto: int8 where the CPU is fastest with it, else f32; f32 with
    /// --keep-sums]
    #[arg(long)]
    pub(crate) precision: Option<PrecisionName>,
    /// Edge of the square that frames are resized to, pixels [default: 256; with --tile: tile × enlarge]
    #[arg(long, conflicts_with = "tile")]
    pub(crate) size: Option<u32>,
    /// Edge of the square cut from the middle after resizing, pixels
    #[arg(long, conflicts_with = "tile")]
    pub(crate) crop: Option<u32>,
    /// Cut large frames into overlapping square tiles of this edge, pixels
    #[arg(long)]
    pub(crate) tile: Option<u32>,
    /// Pixels that neighbouring tiles share at least [default: a quarter of the tile]
    #[arg(long, requires = "tile")]
    pub(crate) overlap: Option<u32>,
    /// How many times a tile is enlarged before the network sees it
    #[arg(long, requires = "tile", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(crate) enlarge: u32,
    /// Layers to tap, separated by commas [default: the papers': layer2,layer3; padim: layer1,layer2,layer3]
    #[arg(long, value_delimiter = ',')]
    pub(crate) layers: Option<Vec<String>>,
    /// Share of the normal patches that patchcore keeps
    #[arg(long, default_value_t = 0.01)]
    pub(crate) coreset_ratio: f64,
    /// Seed of everything random: dimensions of padim and gaussian, coreset of patchcore
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u32,
    /// Image score: max, top:N (mean of the N highest pixels), or reweighted (patchcore) [default: the papers']
    #[arg(long)]
    pub(crate) image_score: Option<String>,
    /// How the threshold is chosen: conformal, pot (peaks over threshold), f1-max (needs labels), fixed:X
    #[arg(long, default_value = "conformal")]
    pub(crate) calibrate: String,
    /// Share of normal frames that may be rejected
    #[arg(long, default_value_t = 0.01)]
    pub(crate) false_reject_rate: f64,
    #[command(flatten)]
    pub(crate) suppression: SuppressionArgs,
    /// Keep padim's sums in the detector, so that an image can be taken out again
    #[arg(long)]
    pub(crate) keep_sums: bool,
    /// Take this image of the dataset out of the detector given with --from, instead of fitting anew
    #[arg(long, requires = "from", conflicts_with_all = FIT_SETTINGS)]
    pub(crate) without: Option<String>,
    /// Detector that --without starts from; it was fitted with --keep-sums
    #[arg(long, requires = "without")]
    pub(crate) from: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

/// What a network computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionName {
    /// What the CPU is fastest with
    Auto,
    /// 8-bit integers, ranged on the normal images
    Int8,
    /// 16-bit floating point: fast where the CPU has AMX
    Bf16,
    /// 32-bit floating point
    F32,
}

/// What does not count; `inspect` and `evaluate` override what was stated at `fit`
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Suppression")]
pub(crate) struct SuppressionArgs {
    /// Mask image: only what is white is inspected
    #[arg(long)]
    pub(crate) roi: Option<PathBuf>,
    /// Ignore a border of this width, frame pixels
    #[arg(long)]
    pub(crate) border: Option<u32>,
    /// Ignore regions of fewer frame pixels
    #[arg(long)]
    pub(crate) min_area: Option<u64>,
    /// Ignore regions whose peak is below this calibrated score (the threshold is 0.5)
    #[arg(long)]
    pub(crate) min_peak: Option<f64>,
    /// Extend regions down to this calibrated score
    #[arg(long)]
    pub(crate) hysteresis: Option<f64>,
    /// Ignore regions that recur at the same place in most frames of a camera: dirt on the lens
    #[arg(long)]
    pub(crate) static_artefacts: Option<bool>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub(crate) enum DetectorName {
    /// Memory bank of normal patches, nearest neighbour
    Patchcore,
    /// A Gaussian per position: aligned parts
    Padim,
    /// One Gaussian for all positions: textures
    Gaussian,
    /// Nearest pooled vectors: whole images, without a map
    GlobalKnn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum BackboneName {
    /// Fitted on the normal images in closed form; needs no weights
    Builtin,
    Resnet18,
    Resnet50,
    #[value(name = "wide_resnet50_2")]
    WideResnet50_2,
}

#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// Detector file
    pub(crate) detector: PathBuf,
    #[command(flatten)]
    pub(crate) dataset: DatasetArgs,
    /// Write the figures as JSON, with all that a report needs
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Write a report: an HTML file that needs no other file and no network
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) print: PrintArgs,
    /// Write a picture of every test image into this directory
    #[arg(long)]
    pub(crate) heatmaps: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) suppression: SuppressionArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Detector file; or a run file (*.toml), which names detectors and cameras
    #[arg(value_name = "DETECTOR|RUN_FILE")]
    pub(crate) detector: PathBuf,
    /// Images, directories of images (one camera each), or manifests; none with a run file
    pub(crate) paths: Vec<PathBuf>,
    /// Override a key of the run file: `camera.depth=8` of all cameras, `camera.left.depth=8` of one, `rates.label_horizon=8h`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Write verdicts as JSON lines to this file; - is standard output
    #[arg(long, default_value = "-")]
    pub(crate) jsonl: PathBuf,
    /// Write every verdict as soon as it exists, in no particular order, to this file or pipe: for a reject gate
    #[arg(long)]
    pub(crate) at_once: Option<PathBuf>,
    /// Write rolling rates as JSON lines to this file; - is standard output
    #[arg(long)]
    pub(crate) rates: Option<PathBuf>,
    /// Write pictures of rejected frames into this directory
    #[arg(long)]
    pub(crate) heatmaps: Option<PathBuf>,
    /// Draw every frame, not only the rejected ones
    #[arg(long, requires = "heatmaps")]
    pub(crate) all: bool,
    /// Print the regions that were suppressed, with their reasons
    #[arg(long)]
    pub(crate) log_suppressed: bool,
    /// Detector that looks at every frame too without deciding anything; its disagreements are counted
    #[arg(long, value_name = "DETECTOR")]
    pub(crate) shadow: Option<PathBuf>,
    /// Write the frames on which the shadow disagrees as JSON lines to this file
    #[arg(long, requires = "shadow")]
    pub(crate) disagreements: Option<PathBuf>,
    /// Record the frames as received into this directory, for `replay`; in a cluster each process into its own below it
    #[arg(long)]
    pub(crate) record: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) suppression: SuppressionArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

/// Where a run is served over HTTP; overrides the run file
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Serve verdicts and figures on this address and port (127.0.0.1:8080; port 0 takes any that is free)
    #[arg(long, visible_alias = "serve", value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// File with the token that requests carry, or with lines `role token`; needed where others can reach the address
    #[arg(long)]
    pub(crate) token_file: Option<PathBuf>,
}

/// The processes of one run
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Several machines")]
pub(crate) struct HostsArgs {
    /// File with a line host:port for every process; the run file says whose a camera is
    #[arg(long, requires = "process")]
    pub(crate) hosts: Option<PathBuf>,
    /// Number of this process: its line in the hosts file, counted from 0. Process 0 writes verdicts and rates
    #[arg(long, requires = "hosts")]
    pub(crate) process: Option<usize>,
    /// Seconds of silence after which another process counts as lost and the run is given up [default: 30]
    #[arg(long, requires = "hosts", value_parser = clap::value_parser!(u64).range(2..=3600))]
    pub(crate) watchdog: Option<u64>,
}

/// One run in several processes
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Several machines")]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    pub(crate) hosts: HostsArgs,
    /// Start the run again when it fails for a reason that may pass: a panic, or the loss of another process
    #[arg(long)]
    pub(crate) supervise: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Run file (TOML)
    pub(crate) run_file: PathBuf,
    /// Override a key of the run file, as for `inspect`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Directory that the run will be kept in, as for `inspect`; nothing is written there
    #[arg(long, value_name = "DIR")]
    pub(crate) run: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Directory that `inspect --record` wrote
    pub(crate) recording: PathBuf,
    /// Detector file to use instead of the recorded ones
    #[arg(long)]
    pub(crate) detector: Option<PathBuf>,
    /// Image score above which frames are rejected, instead of the detectors' own threshold
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) threshold: Option<f32>,
    /// Event time per wall time: max, or a number (1 is the pace of the recorded line)
    #[arg(long, default_value = "max")]
    pub(crate) speed: String,
    /// Cameras to replay, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    pub(crate) cameras: Option<Vec<String>>,
    /// Leave out what entered before this time (2026-01-05T06:00:00Z, or microseconds)
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// Leave out what entered at this time or later
    #[arg(long)]
    pub(crate) to: Option<String>,
    /// Print the frames whose decision differs from the recorded one, instead of all verdicts
    #[arg(long)]
    pub(crate) diff: bool,
    /// Write verdicts as JSON lines to this file; - is standard output [default: -, with --diff: nowhere]
    #[arg(long)]
    pub(crate) jsonl: Option<PathBuf>,
    /// Write rolling rates as JSON lines to this file; - is standard output
    #[arg(long)]
    pub(crate) rates: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) hosts: HostsArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Detector file
    pub(crate) detector: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Detector file
    pub(crate) detector: PathBuf,
    /// Images, directories of images, or manifests: frames like those of the line
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Frames to measure; images are taken again and again
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) frames: u64,
    /// Print the steps of the network: time, operations a second, share of what this machine can do
    #[arg(long)]
    pub(crate) layers: bool,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Directory of a kept run
    pub(crate) run: PathBuf,
    /// Directory of another kept run of the same frames, to see which decisions differ: `replay --run` makes one
    #[arg(long, value_name = "OTHER")]
    pub(crate) compare: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Directory of the run: what `inspect --run` was given
    pub(crate) run: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// What to ask: /health says whether the program lives, /ready whether it takes frames and decides on them
    #[arg(default_value = "http://127.0.0.1:8080/health")]
    pub(crate) url: String,
    /// File with the server's token, which /ready asks for
    #[arg(long)]
    pub(crate) token_file: Option<PathBuf>,
}
