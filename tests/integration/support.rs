//! Runs the program and reads what it wrote.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

use crate::pictures::{blotted, mvtec_dataset};

/// Path of the program under test.
pub(crate) const INTAKT: &str = env!("CARGO_BIN_EXE_intakt");

/// What a run of the program left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Arguments of the program: words and paths.
pub(crate) type Args<'a> = [&'a dyn AsRef<OsStr>];

/// Runs the program to its end.
pub(crate) fn intakt(args: &Args<'_>) -> Ran {
    let output = Command::new(INTAKT)
        .args(args.iter().map(|arg| arg.as_ref()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran::from(output)
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        let code = output.status.code();
        let code = code.unwrap_or_else(|| panic!("a signal ended it\nstdout:\n{stdout}\nstderr:\n{stderr}"));
        Self { code, stdout, stderr }
    }
}

impl Ran {
    /// The same run, which ended with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The same run, which failed with one error that holds all of `fragments`.
    #[track_caller]
    pub(crate) fn expect_error(self, fragments: &[&str]) -> Self {
        let ran = self.expect(2);
        assert_eq!(ran.stderr.matches("error: ").count(), 1, "said once: {}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        for fragment in fragments {
            assert!(ran.stderr.contains(fragment), "`{fragment}` is not in: {}", ran.stderr);
        }
        ran
    }

    /// The verdicts on standard output.
    pub(crate) fn verdicts(&self) -> Vec<Value> {
        json_lines(&self.stdout)
    }
}

/// The JSON objects of a file of lines.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The decision of a verdict.
pub(crate) fn decision(verdict: &Value) -> &str {
    verdict["decision"].as_str().unwrap()
}

/// The file name that a verdict is about, without its extension.
pub(crate) fn stem(verdict: &Value) -> &str {
    Path::new(verdict["origin"].as_str().unwrap())
        .file_stem()
        .and_then(OsStr::to_str)
        .unwrap()
}

/// Whether the first region of a verdict, or of its suppressed ones, overlaps a rectangle `[x, y, width, height]`.
pub(crate) fn overlaps(region: &Value, [x, y, width, height]: [u32; 4]) -> bool {
    let of = |key: &str| u32::try_from(region["bbox_px"][key].as_u64().unwrap()).unwrap();
    of("x") < x + width && x < of("x") + of("width") && of("y") < y + height && y < of("y") + of("height")
}

/// The files of a directory by name, with their bytes.
pub(crate) fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: PathBuf| {
        (
            path.file_name().unwrap().to_str().unwrap().to_owned(),
            fs::read(&path).unwrap(),
        )
    };
    let mut files: Vec<_> = entries.map(named).collect();
    files.sort();
    files
}

/// Something in a detector file's metadata.
pub(crate) fn detector_metadata(detector: &Path, key: &str) -> Value {
    let bytes = fs::read(detector).unwrap();
    let header_bytes = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: Value = serde_json::from_slice(&bytes[8..8 + header_bytes]).unwrap();
    serde_json::from_str(header["__metadata__"][key].as_str().unwrap()).unwrap()
}

/// Fits on `dataset` with the built-in backbone at 64 pixels, and `more` arguments.
#[track_caller]
pub(crate) fn fit_small(dataset: &Path, output: &Path, more: &Args<'_>) -> Ran {
    let mut args: Vec<&dyn AsRef<OsStr>> = vec![&"fit", &dataset, &"-o", &output, &"--size", &"64"];
    args.extend(more);
    intakt(&args).expect(0)
}

/// Panics at the first line that differs.
#[track_caller]
pub(crate) fn assert_same(found: &str, expected: &str, what: &str) {
    let pairs = found.lines().zip(expected.lines()).enumerate();
    for (line, (found, expected)) in pairs {
        assert_eq!(found, expected, "{what}, line {line}");
    }
    assert!(
        found == expected,
        "{what}: {} bytes, not {}",
        found.len(),
        expected.len()
    );
}

/// Labels a frame of a kept run.
pub(crate) fn label(run: &Path, camera: &str, seq: u64, truth: &str) -> Ran {
    let seq = seq.to_string();
    intakt(&[&"label", &run, &"--camera", &camera, &"--seq", &seq, &"--truth", &truth])
}

/// What many tests look at: made once a run, never written to afterwards.
pub(crate) struct Shared {
    /// 32 normal fabric frames to fit on, 4 normal and 4 blotted ones to test on, in MVTec's layout.
    pub(crate) dataset: PathBuf,
    /// The default detector of `dataset` at 64 pixels.
    pub(crate) detector: PathBuf,
    /// A normal frame that is not in `dataset`; inspected before `blotted`.
    pub(crate) normal: PathBuf,
    /// The same frame with a blot.
    pub(crate) blotted: PathBuf,
}

/// Edge rectangle of the blot in [`Shared::blotted`].
pub(crate) const BLOT_PX: [u32; 4] = [150, 90, 48, 48];

pub(crate) static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let root = directory_of_this_run();
    let dataset = root.join("fabric");
    mvtec_dataset(&dataset, 32, 4, 4);
    let detector = root.join("fabric.intakt");
    fit_small(&dataset, &detector, &[]);
    let (normal, blotted_path) = (root.join("0-normal.png"), root.join("1-blotted.png"));
    crate::pictures::normal(200).save(&normal).unwrap();
    blotted(200, BLOT_PX).save(&blotted_path).unwrap();
    Shared {
        dataset,
        detector,
        normal,
        blotted: blotted_path,
    }
});

/// A detector at 64 pixels that was fitted on the negatives of normal fabric frames: it rejects fabric, blotted or not.
pub(crate) static OTHER: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = directory_of_this_run();
    let (negatives, detector) = (root.join("negatives"), root.join("negatives.intakt"));
    fs::create_dir(&negatives).unwrap();
    for n in 0..32 {
        let mut negative = crate::pictures::normal(n);
        image::imageops::invert(&mut negative);
        negative.save(negatives.join(format!("{n:03}.png"))).unwrap();
    }
    fit_small(&negatives, &detector, &[]);
    detector
});

/// A directory for this run under cargo's own for tests; those of earlier runs are removed, because a static is never dropped.
pub(crate) fn directory_of_this_run() -> PathBuf {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for entry in fs::read_dir(parent).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ended = |pid: &str| !Path::new("/proc").join(pid).exists();
            if name.strip_prefix("integration-").is_some_and(ended) {
                // Another run may be removing it too.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let root = parent.join(format!("integration-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        root
    });
    ROOT.clone()
}
