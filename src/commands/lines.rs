//! Where JSON lines go.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use intakt_pipelines::PipelineError;
use intakt_pipelines::sinks::Jsonl;

use crate::exit::WholeLines;

/// Bytes that are looked through for the end of the last whole line: the longest line is shorter.
const TAIL_BYTES: u64 = 4 << 20;

/// JSON lines of a kind, like [`Jsonl::rates`], to where `path` says.
pub(crate) fn jsonl(
    path: &Path,
    goes_on: bool,
    kind: impl FnOnce(Box<dyn Write + Send>, &str) -> Jsonl,
) -> Result<Arc<Jsonl>, PipelineError> {
    Ok(Arc::new(kind(writer(path, goes_on)?, &path.to_string_lossy())))
}

/// A file, or standard output for `-`. A run that goes on adds to a file, behind its last whole line.
fn writer(path: &Path, goes_on: bool) -> Result<Box<dyn Write + Send>, PipelineError> {
    if path == Path::new("-") {
        return Ok(Box::new(WholeLines(io::stdout())));
    }
    let opened = match goes_on {
        true => continued(path),
        false => File::create(path),
    };
    let file = opened.map_err(PipelineError::write(path))?;
    Ok(Box::new(WholeLines(BufWriter::new(file))))
}

/// The file, without what a kill left of its last line.
fn continued(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)?;
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
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_of_a_line_is_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines.jsonl");
        for (before, after) in [("", ""), ("{}\n", "{}\n"), ("{}\n{\"a", "{}\n"), ("{\"a", "")] {
            std::fs::write(&path, before).unwrap();
            writer(&path, true).unwrap().write_all(b"[]\n").unwrap();
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                format!("{after}[]\n"),
                "{before}"
            );
        }
        writer(&path, false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }
}
