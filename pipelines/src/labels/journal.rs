//! The journal of labels: a JSON line each, appended and never changed. A line's number is the label's ordinal.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use intakt_operators::Truth;
use serde::{Deserialize, Serialize};

use crate::PipelineError;

/// Longest line that is read, bytes: names and classes of a kilobyte fit.
const LINE_BYTES_MAX: u64 = 4_096;

/// What somebody said about a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenLabel {
    /// Name of the camera.
    pub camera: Arc<str>,
    /// Position in the camera's stream.
    pub seq: u64,
    /// What it is; none takes back what was said before.
    #[serde(deserialize_with = "Option::deserialize")]
    pub truth: Option<Truth>,
}

/// Reads `normal`, `anomalous` or `anomalous:CLASS`, or `unlabelled`, which takes back what was said before.
///
/// # Errors
/// A sentence that says what was found and what it may be.
pub fn parse_truth(typed: &str) -> Result<Option<Truth>, String> {
    match typed.split_once(':') {
        None if typed == "normal" => Ok(Some(Truth::Normal)),
        None if typed == "anomalous" => Ok(Some(Truth::Anomalous(String::new()))),
        None if typed == "unlabelled" => Ok(None),
        Some(("anomalous", class)) if !class.is_empty() && class.len() <= 200 => {
            Ok(Some(Truth::Anomalous(class.to_owned())))
        }
        _ => Err(format!(
            "\"{typed}\" is no truth: it is normal, anomalous, anomalous:CLASS (a class of at most 200 bytes) or unlabelled"
        )),
    }
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalLine {
    /// Its number, counted from 0.
    pub ordinal: u64,
    /// The label, or why there is none.
    pub label: Result<GivenLabel, String>,
}

/// Reads the journal of a run from its beginning, and then what is added.
pub struct LabelJournal {
    path: PathBuf,
    next_byte: u64,
    next_ordinal: u64,
}

impl LabelJournal {
    /// The journal at `path`, which need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            next_byte: 0,
            next_ordinal: 0,
        }
    }

    /// Adds labels; they are on the disk when this returns. Others may add at the same time.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(path: &Path, labels: &[GivenLabel]) -> Result<(), PipelineError> {
        let append = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
            file.lock()?;
            let mut lines = Vec::new();
            if !ends_with_a_line(&mut file)? {
                // A line that was cut by a power loss stays a line of its own, which is no label.
                lines.push(b'\n');
            }
            for label in labels {
                serde_json::to_writer(&mut lines, label)?;
                lines.push(b'\n');
            }
            file.write_all(&lines)?;
            file.sync_data()
        };
        append().map_err(PipelineError::write(path))
    }

    /// The whole lines that were not read yet.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read_new(&mut self) -> Result<Vec<JournalLine>, PipelineError> {
        self.try_read_new().map_err(PipelineError::read(&self.path))
    }

    fn try_read_new(&mut self) -> std::io::Result<Vec<JournalLine>> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        if file.metadata()?.len() <= self.next_byte {
            return Ok(Vec::new());
        }
        file.seek(SeekFrom::Start(self.next_byte))?;
        let mut reader = BufReader::new(file);
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            let mut n_bytes = line.len() as u64;
            let is_whole = line.last() == Some(&b'\n');
            if !is_whole && n_bytes < LINE_BYTES_MAX {
                // Its end is still to come.
                return Ok(lines);
            }
            if !is_whole {
                n_bytes += reader.skip_until(b'\n')? as u64;
            }
            let label = match is_whole {
                true => serde_json::from_slice(&line).map_err(|error| error.to_string()),
                false => Err(format!("it is longer than {LINE_BYTES_MAX} bytes")),
            };
            lines.push(JournalLine {
                ordinal: self.next_ordinal,
                label,
            });
            self.next_ordinal += 1;
            self.next_byte += n_bytes;
        }
    }
}

fn ends_with_a_line(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(seq: u64) -> GivenLabel {
        GivenLabel {
            camera: "left".into(),
            seq,
            truth: match seq % 3 {
                0 => Some(Truth::Normal),
                1 => Some(Truth::Anomalous("hole".to_owned())),
                _ => None,
            },
        }
    }

    #[test]
    fn lines_are_read_once_and_a_cut_one_costs_nothing_but_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("labels.jsonl");
        let mut journal = LabelJournal::new(path.clone());
        assert_eq!(journal.read_new().unwrap(), []);
        LabelJournal::append(&path, &[label(0), label(1)]).unwrap();
        let line = |ordinal, label| JournalLine {
            ordinal,
            label: Ok(label),
        };
        assert_eq!(journal.read_new().unwrap(), [line(0, label(0)), line(1, label(1))]);
        assert_eq!(journal.read_new().unwrap(), []);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"camera\":\"le").unwrap();
        assert_eq!(journal.read_new().unwrap(), [], "a line without its end is not there");
        LabelJournal::append(&path, &[label(2)]).unwrap();
        let lines = journal.read_new().unwrap();
        assert!(lines[0].label.is_err());
        assert_eq!(lines[1..], [line(3, label(2))]);
        file.write_all(&vec![b'x'; 3 * LINE_BYTES_MAX as usize]).unwrap();
        file.write_all(b"\n").unwrap();
        LabelJournal::append(&path, &[label(3)]).unwrap();
        let lines = journal.read_new().unwrap();
        assert!(lines[0].label.as_ref().unwrap_err().contains("longer than"));
        assert_eq!(lines[1..], [line(5, label(3))]);
        assert_eq!(LabelJournal::new(path).read_new().unwrap().len(), 6);
    }

    #[test]
    fn truths_are_read_as_people_write_them() {
        assert_eq!(parse_truth("normal"), Ok(Some(Truth::Normal)));
        assert_eq!(
            parse_truth("anomalous:hole"),
            Ok(Some(Truth::Anomalous("hole".to_owned())))
        );
        assert_eq!(parse_truth("unlabelled"), Ok(None));
        let silent = serde_json::from_str::<GivenLabel>("{\"camera\": \"left\", \"seq\": 1}");
        assert!(
            silent.unwrap_err().to_string().contains("truth"),
            "who says nothing takes nothing back"
        );
        for wrong in ["good", "anomalous:", "normal:x", ""] {
            assert!(parse_truth(wrong).unwrap_err().contains("anomalous:CLASS"), "{wrong}");
        }
    }
}
