//! Labels from a CSV file.

use std::path::Path;

use super::{GivenLabel, parse_truth};
use crate::PipelineError;

/// Most labels of one file.
const LABELS_MAX: usize = 10_000_000;

/// Reads a table with the columns camera, seq and truth.
///
/// # Errors
/// With file and line: a column is missing, a cell cannot be read, there are too many.
pub fn read_labels(path: &Path) -> Result<Vec<GivenLabel>, PipelineError> {
    let refuse = |line: u64, cause: String| {
        PipelineError::Refused(format!(
            "cannot read labels \"{}\": line {line}: {cause}\n  hint: the columns are camera, seq, truth; a truth is normal, \
             anomalous, anomalous:CLASS or unlabelled",
            path.display()
        ))
    };
    let file = std::fs::File::open(path).map_err(PipelineError::read(path))?;
    let mut reader = csv::Reader::from_reader(file);
    let headers = reader.headers().map_err(|error| refuse(1, error.to_string()))?.clone();
    let column = |name: &str| {
        let found = headers.iter().position(|header| header.trim() == name);
        found.ok_or_else(|| refuse(1, format!("there is no column `{name}`")))
    };
    let [camera, seq, truth] = [column("camera")?, column("seq")?, column("truth")?];
    let mut labels = Vec::new();
    for record in reader.records() {
        let record =
            record.map_err(|error| refuse(error.position().map_or(0, csv::Position::line), error.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |idx: usize| record.get(idx).unwrap_or_default().trim();
        if labels.len() == LABELS_MAX {
            return Err(refuse(line, format!("there are more than {LABELS_MAX} labels")));
        }
        labels.push(GivenLabel {
            camera: cell(camera).into(),
            seq: cell(seq)
                .parse()
                .map_err(|_| refuse(line, format!("seq is \"{}\", and must be a whole number", cell(seq))))?,
            truth: parse_truth(cell(truth)).map_err(|cause| refuse(line, cause))?,
        });
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use intakt_operators::Truth;

    use super::*;

    fn read(text: &str) -> Result<Vec<GivenLabel>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read_labels(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_come_in_any_order() {
        let labels = read("truth,note,camera,seq\nanomalous:hole,x,left,7\nnormal,,\"a, b\",8\n").unwrap();
        assert_eq!(labels[0].truth, Some(Truth::Anomalous("hole".to_owned())));
        assert_eq!(
            (&*labels[1].camera, labels[1].seq, labels[1].truth.clone()),
            ("a, b", 8, Some(Truth::Normal))
        );
    }

    #[test]
    fn errors_name_the_line() {
        for (text, said) in [
            ("camera,seq\n", "line 1: there is no column `truth`"),
            (
                "camera,seq,truth\nleft,1,normal\nleft,x,normal\n",
                "line 3: seq is \"x\"",
            ),
            ("camera,seq,truth\nleft,1,bad\n", "line 2: \"bad\" is no truth"),
            ("camera,seq,truth\nleft,1\n", "line 2"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said) && error.contains("hint:"), "{error}");
        }
    }
}
