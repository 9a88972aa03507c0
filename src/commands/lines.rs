//! Where JSON lines go.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use intakt_pipelines::PipelineError;
use intakt_pipelines::sinks::{Jsonl, outcome_json};
use intakt_pipelines::store::{OutcomeFilter, Store};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::gate::{self, Gate};
use crate::exit::WholeLines;

/// Bytes at the end of a file that are looked through first: the longest line is shorter, and what a run has not committed
/// yet rarely takes more.
const TAIL_BYTES: u64 = 4 << 20;

/// With what a file of JSON lines begins.
#[derive(Clone, Copy)]
pub(crate) enum Begins<'a> {
    /// Nothing.
    Empty,
    /// The whole lines that are in it.
    AsItIs,
    /// What the run that goes on has committed.
    Committed(&'a Store),
}

/// A line about a frame.
#[derive(Deserialize)]
struct AboutFrame {
    camera: Arc<str>,
    seq: u64,
}

/// A line about a rate.
#[derive(Deserialize)]
struct AboutRate {
    at_us: u64,
    #[serde(default)]
    open: bool,
}

/// What became of frames. Of a run that goes on, a file holds as many lines as the run has committed: what is not is cut off,
/// and what is missing is added.
pub(crate) fn outcomes(path: &Path, begins: Begins<'_>) -> Result<Arc<Jsonl>, PipelineError> {
    let committed = |store: &Store| {
        let mut last = None;
        let mut file = continued(path, |AboutFrame { camera, seq }| {
            let is_committed = is_judged(store, &camera, seq)?;
            last = is_committed.then_some((camera, seq)).or(last.take());
            Ok(is_committed)
        })?;
        add_behind(store, last, &mut file).map_err(PipelineError::write(path))?;
        Ok(file)
    };
    Ok(jsonl(path, writer(path, begins, committed)?, Jsonl::outcomes))
}

/// Rates. Of a run that goes on, a file keeps those that are not published again.
pub(crate) fn rates(path: &Path, begins: Begins<'_>) -> Result<Arc<Jsonl>, PipelineError> {
    let committed = |store: &Store| {
        let from_us = store.committed_frontier_us();
        continued(path, |AboutRate { at_us, open }| Ok(at_us < from_us && !open))
    };
    Ok(jsonl(path, writer(path, begins, committed)?, Jsonl::rates))
}

/// Frames on which a shadow disagrees. Of a run that goes on, a file keeps those that are not judged again.
pub(crate) fn disagreements(path: &Path, begins: Begins<'_>) -> Result<Arc<Jsonl>, PipelineError> {
    let committed = |store: &Store| continued(path, |AboutFrame { camera, seq }| is_judged(store, &camera, seq));
    Ok(jsonl(path, writer(path, begins, committed)?, Jsonl::disagreements))
}

/// Verdicts as soon as they exist. They have no order in which a file could be cut, and are added to what is there. A pipe may
/// be without a reader.
pub(crate) fn at_once(path: &Path, begins: Begins<'_>) -> Result<Arc<Jsonl>, PipelineError> {
    if gate::is_pipe(path) {
        return Ok(jsonl(path, Box::new(Gate::open(path)?), Jsonl::at_once));
    }
    let committed = |_: &Store| whole_lines(path).map_err(PipelineError::write(path));
    Ok(jsonl(path, writer(path, begins, committed)?, Jsonl::at_once))
}

fn jsonl(path: &Path, out: Box<dyn Write + Send>, kind: fn(Box<dyn Write + Send>, &str) -> Jsonl) -> Arc<Jsonl> {
    Arc::new(kind(out, &path.to_string_lossy()))
}

/// A file, or standard output for `-`. `committed` opens the file of a run that goes on.
fn writer(
    path: &Path,
    begins: Begins<'_>,
    committed: impl FnOnce(&Store) -> Result<File, PipelineError>,
) -> Result<Box<dyn Write + Send>, PipelineError> {
    if path == Path::new("-") {
        return Ok(Box::new(WholeLines(io::stdout())));
    }
    // Nothing can be taken back from a pipe.
    let can_be_cut = path.metadata().map_or(true, |found| found.is_file());
    let file = match begins {
        Begins::Empty => File::create(path).map_err(PipelineError::write(path))?,
        Begins::Committed(store) if can_be_cut => committed(store)?,
        Begins::AsItIs | Begins::Committed(_) => whole_lines(path).map_err(PipelineError::write(path))?,
    };
    Ok(Box::new(WholeLines(BufWriter::new(file))))
}

/// The file behind the lines that `is_committed`, without the others.
fn continued<T: DeserializeOwned>(
    path: &Path,
    mut is_committed: impl FnMut(T) -> io::Result<bool>,
) -> Result<File, PipelineError> {
    let mut is_foreign = false;
    let mut cut = || -> io::Result<Option<File>> {
        let mut file = open(path)?;
        let end = committed_end(&mut file, |line| {
            let read = serde_json::from_slice(line);
            is_foreign = read.is_err();
            read.map_or(Ok(false), &mut is_committed)
        })?;
        if end == 0 && is_foreign {
            return Ok(None);
        }
        cut_at(&mut file, end)?;
        Ok(Some(file))
    };
    let file = cut().map_err(PipelineError::write(path))?;
    file.ok_or_else(|| {
        PipelineError::Refused(format!(
            "cannot go on with \"{}\": its first line is none of the run's\n  hint: name another file, or move this one away",
            path.display()
        ))
    })
}

/// Where the lines end that `is_committed`, which are the first ones. It is asked about whole lines, in their order.
fn committed_end(file: &mut File, mut is_committed: impl FnMut(&[u8]) -> io::Result<bool>) -> io::Result<u64> {
    let tail = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    // From the beginning only if nothing in the tail is committed: a run of months has hundreds of gigabytes.
    for from in [tail, 0] {
        file.seek(SeekFrom::Start(from))?;
        let mut lines = BufReader::new(&mut *file);
        let begin = match from {
            0 => 0,
            _ => from + lines.skip_until(b'\n')? as u64,
        };
        let (mut end, mut line) = (begin, Vec::new());
        while lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") && is_committed(&line)? {
            end += line.len() as u64;
            line.clear();
        }
        if end > begin {
            return Ok(end);
        }
    }
    Ok(0)
}

/// Adds the outcomes of the store that are behind the `last` one of the file: a power loss may have taken them.
fn add_behind(store: &Store, last: Option<(Arc<str>, u64)>, file: &mut File) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    let filter = OutcomeFilter {
        behind: last,
        ..OutcomeFilter::default()
    };
    for timed in store.query(&filter) {
        out.write_all(&outcome_json(&timed.map_err(io::Error::other)?.outcome)?)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn is_judged(store: &Store, camera: &str, seq: u64) -> io::Result<bool> {
    let found = store.captured_at_us(camera, seq).map_err(io::Error::other)?;
    Ok(found.is_some())
}

/// The file, without what a kill left of its last line.
fn whole_lines(path: &Path) -> io::Result<File> {
    let mut file = open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(file);
    }
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL_BYTES);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut tail)?;
    let whole = match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) => from + newline as u64 + 1,
        None if from == 0 => 0,
        None => length,
    };
    cut_at(&mut file, whole)?;
    Ok(file)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
}

fn cut_at(file: &mut File, end: u64) -> io::Result<()> {
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_of_a_line_is_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines.jsonl");
        let write = |begins| {
            let mut out = writer(&path, begins, |_| unreachable!("nothing is committed")).unwrap();
            out.write_all(b"[]\n").unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        for (before, after) in [("", ""), ("{}\n", "{}\n"), ("{}\n{\"a", "{}\n"), ("{\"a", "")] {
            std::fs::write(&path, before).unwrap();
            assert_eq!(write(Begins::AsItIs), format!("{after}[]\n"), "{before}");
        }
        assert_eq!(write(Begins::Empty), "[]\n");
    }

    #[test]
    fn a_file_is_cut_behind_what_is_committed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines.jsonl");
        let line = |at_us: usize| format!("{{\"at_us\":{at_us},\"more\":\"{}\"}}\n", "x".repeat(1 << 20));
        let lines: String = (0..9).map(line).collect();
        // Lines of a megabyte: the tail holds the last three as a whole.
        for torn in ["", "{\"at_us\":3"] {
            for committed in 0..10 {
                std::fs::write(&path, format!("{lines}{torn}")).unwrap();
                continued(&path, |rate: AboutRate| Ok(rate.at_us < committed)).unwrap();
                let kept = (0..committed as usize).map(line).take(9).collect::<String>();
                assert!(std::fs::read_to_string(&path).unwrap() == kept, "{committed}{torn}");
            }
        }
    }
}
