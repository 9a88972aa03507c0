//! Layout `csv`: a manifest says what every image is. Paths are relative to the manifest; spaces around cells do not count.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, Trim};
use intakt_operators::Truth;

use super::files::{folder_name, name_of, parent_of};
use super::rows::{BoundedRows, READ_AHEAD_BYTES, RowEnd};
use super::timestamp::parse_micros;
use super::{Dataset, DatasetError, Item, Layout, Split};

/// The columns of a manifest, in any order.
const COLUMNS: [&str; 6] = ["path", "split", "label", "mask", "camera", "captured_at"];
/// Columns that a dataset cannot do without.
const DATASET_COLUMNS: &[&str] = &["path", "split", "label"];
/// Columns that a list of frames to inspect cannot do without.
const FRAMES_COLUMNS: &[&str] = &["path"];

/// Labels that could be meant as "normal" but would be read as the name of a defect.
const NEARLY_NORMAL: [&str; 7] = ["good", "ok", "pass", "none", "0", "000", "false"];

/// A row of a list of frames to inspect.
pub(super) struct FrameRow {
    pub(super) path: PathBuf,
    /// Line of the manifest, counted from 1.
    pub(super) line: u64,
    pub(super) camera: String,
    pub(super) captured_at_us: Option<u64>,
}

/// Reads the manifest of a dataset.
pub(super) fn read(manifest: &Path, rows_max: usize) -> Result<Dataset, DatasetError> {
    let mut table = Table::open(manifest, DATASET_COLUMNS, rows_max)?;
    let mut items = Vec::new();
    while let Some(row) = table.next_row()? {
        items.push(dataset_item(&row)?);
    }
    Ok(Dataset {
        root: manifest.to_owned(),
        layout: Layout::Csv,
        fabric: None,
        items,
        ignored: 0,
    })
}

/// Reads a manifest as a list of frames: only `path`, `camera` and `captured_at` count.
pub(super) fn read_frames(manifest: &Path, rows_max: usize) -> Result<Vec<FrameRow>, DatasetError> {
    let mut table = Table::open(manifest, FRAMES_COLUMNS, rows_max)?;
    let mut frames = Vec::new();
    while let Some(row) = table.next_row()? {
        frames.push(FrameRow {
            path: row.path.clone(),
            line: row.line,
            camera: row.camera(),
            captured_at_us: row.captured_at_us()?,
        });
    }
    Ok(frames)
}

fn dataset_item(row: &Row<'_>) -> Result<Item, DatasetError> {
    let (split, truth) = (row.split()?, row.truth()?);
    if split == Split::Train && truth.is_anomalous() {
        let reason = "a train image must be `normal`: detectors are fitted on normal images only; use split `test`";
        return Err(row.error("label", reason));
    }
    Ok(Item {
        path: row.path.clone(),
        name: name_of(Path::new(row.cell("path")))?,
        split,
        truth,
        masks: row.mask()?.into_iter().collect(),
        camera: row.camera(),
        captured_at_us: row.captured_at_us()?,
    })
}

/// A manifest while it is read.
struct Table<'a> {
    manifest: &'a Path,
    default_camera: String,
    reader: csv::Reader<BoundedRows<File>>,
    row_end: RowEnd,
    /// Position of each of [`COLUMNS`] in a row.
    columns: [Option<usize>; COLUMNS.len()],
    /// Lines by the file they name.
    seen: BTreeMap<PathBuf, u64>,
    rows_max: usize,
}

/// One row, its path checked.
struct Row<'a> {
    manifest: &'a Path,
    default_camera: &'a str,
    columns: [Option<usize>; COLUMNS.len()],
    record: StringRecord,
    line: u64,
    path: PathBuf,
}

impl<'a> Table<'a> {
    fn open(manifest: &'a Path, needed: &[&'static str], rows_max: usize) -> Result<Self, DatasetError> {
        if !fs::metadata(manifest).map_err(DatasetError::read(manifest))?.is_file() {
            return Err(DatasetError::NotThisLayout {
                path: manifest.to_owned(),
                layout: Layout::Csv,
                looked_for: "a manifest `*.csv`",
                found: "a directory".to_owned(),
            });
        }
        let file = File::open(manifest).map_err(DatasetError::read(manifest))?;
        let (bounded, row_end) = BoundedRows::new(file);
        let mut reader = ReaderBuilder::new()
            .trim(Trim::All)
            .buffer_capacity(READ_AHEAD_BYTES)
            .from_reader(bounded);
        let header = reader.headers().map_err(|error| malformed(manifest, 1, &error))?;
        let columns = columns_of(header, needed).map_err(|reason| in_manifest(manifest, 1, None, reason))?;
        Ok(Table {
            manifest,
            default_camera: folder_name(parent_of(manifest)),
            reader,
            row_end,
            columns,
            seen: BTreeMap::new(),
            rows_max,
        })
    }

    fn next_row(&mut self) -> Result<Option<Row<'_>>, DatasetError> {
        let (mut record, line) = (StringRecord::new(), self.reader.position().line());
        self.row_end.starts_at(self.reader.position().byte());
        let more = self.reader.read_record(&mut record);
        if !more.map_err(|error| malformed(self.manifest, line, &error))? {
            return Ok(None);
        }
        if self.seen.len() >= self.rows_max {
            return Err(DatasetError::TooMany {
                path: self.manifest.to_owned(),
                entries_max: self.rows_max,
            });
        }
        let mut row = Row {
            manifest: self.manifest,
            default_camera: &self.default_camera,
            columns: self.columns,
            line: record.position().map_or(line, csv::Position::line),
            record,
            path: PathBuf::new(),
        };
        row.path = row.existing_file("path", row.cell("path"))?;
        let real = fs::canonicalize(&row.path).map_err(DatasetError::read(&row.path))?;
        match self.seen.insert(real, row.line) {
            Some(first) => Err(row.error(
                "path",
                format!("{:?} is listed on line {first} already", row.cell("path")),
            )),
            None => Ok(Some(row)),
        }
    }
}

impl Row<'_> {
    /// The cell of a column; empty where the manifest has no such column.
    fn cell(&self, column: &str) -> &str {
        let position = COLUMNS.iter().position(|&known| known == column);
        let position = position.and_then(|known| self.columns[known]);
        position
            .and_then(|position| self.record.get(position))
            .unwrap_or_default()
    }

    fn error(&self, column: &'static str, reason: impl Into<String>) -> DatasetError {
        in_manifest(self.manifest, self.line, Some(column), reason.into())
    }

    fn existing_file(&self, column: &'static str, written: &str) -> Result<PathBuf, DatasetError> {
        if written.is_empty() {
            return Err(self.error(
                column,
                "it is empty; write a path, relative to the manifest or absolute",
            ));
        }
        let dir = self.manifest.parent().unwrap_or(Path::new(""));
        let path = dir.join(written);
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(path),
            Ok(_) => Err(self.error(column, format!("{path:?} is not a file"))),
            Err(error) => Err(self.error(column, format!("cannot find {path:?}: {error}"))),
        }
    }

    fn split(&self) -> Result<Split, DatasetError> {
        let word = self.cell("split");
        let all = [Split::Train, Split::Calibrate, Split::Test];
        let found = all.into_iter().find(|split| split.name() == word);
        found.ok_or_else(|| self.error("split", format!("`{word}` is no split; write train, calibrate or test")))
    }

    fn truth(&self) -> Result<Truth, DatasetError> {
        match self.cell("label") {
            "normal" => Ok(Truth::Normal),
            "" => Err(self.error(
                "label",
                "it is empty; write normal, anomalous or the class of the defect",
            )),
            label if label.eq_ignore_ascii_case("normal") || NEARLY_NORMAL.contains(&&*label.to_ascii_lowercase()) => {
                let reason = format!("`{label}` would be the class of a defect; write normal for an image without one");
                Err(self.error("label", reason))
            }
            class => Ok(Truth::Anomalous(class.to_owned())),
        }
    }

    fn mask(&self) -> Result<Option<PathBuf>, DatasetError> {
        match self.cell("mask") {
            "" => Ok(None),
            written => self.existing_file("mask", written).map(Some),
        }
    }

    fn camera(&self) -> String {
        match self.cell("camera") {
            "" => self.default_camera.to_owned(),
            camera => camera.to_owned(),
        }
    }

    fn captured_at_us(&self) -> Result<Option<u64>, DatasetError> {
        let text = self.cell("captured_at");
        if text.is_empty() {
            return Ok(None);
        }
        let reason = || {
            format!(
                "`{text}` is no time; write microseconds since 1970 or RFC 3339 with a zone, 2026-05-04T06:30:00.25Z"
            )
        };
        parse_micros(text)
            .map(Some)
            .ok_or_else(|| self.error("captured_at", reason()))
    }
}

/// Where each of [`COLUMNS`] stands in `header`; what is wrong with the header otherwise.
fn columns_of(header: &StringRecord, needed: &[&str]) -> Result<[Option<usize>; COLUMNS.len()], String> {
    let mut columns = [None; COLUMNS.len()];
    for (position, name) in header.iter().enumerate() {
        let known = COLUMNS.iter().position(|&column| column == name);
        let known = known.ok_or_else(|| format!("no column is called `{name}`; known are {}", COLUMNS.join(", ")))?;
        if columns[known].replace(position).is_some() {
            return Err(format!("column `{name}` comes twice"));
        }
    }
    for (column, position) in COLUMNS.iter().zip(columns) {
        if needed.contains(column) && position.is_none() {
            let found = header.iter().collect::<Vec<_>>().join(", ");
            return Err(format!(
                "column `{column}` is missing; the header is `{found}`, known are {}",
                COLUMNS.join(", ")
            ));
        }
    }
    Ok(columns)
}

/// An error at a place of a manifest.
pub(super) fn in_manifest(path: &Path, line: u64, column: Option<&'static str>, reason: String) -> DatasetError {
    DatasetError::Manifest {
        path: path.to_owned(),
        line,
        column,
        reason,
    }
}

fn malformed(manifest: &Path, line: u64, error: &csv::Error) -> DatasetError {
    let line = error.position().map_or(line, csv::Position::line);
    let reason = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} cells, but the header has {expected_len}; a path with a comma in it needs quotes")
        }
        csv::ErrorKind::Utf8 { .. } => "it is not valid UTF-8; save the manifest as UTF-8".to_owned(),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    };
    in_manifest(manifest, line, None, reason)
}
