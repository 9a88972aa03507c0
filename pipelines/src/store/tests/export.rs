//! Exports against the live sink and against their own readers.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex};

use intakt_operators::Outcome;
use parquet::data_type::AsBytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::support::{CAMERAS, create, run};
use crate::sinks::{Jsonl, Sink};
use crate::store::parquet_export::{ParquetRows, ROW_GROUP_ROWS};
use crate::store::{ExportFormat, OutcomeFilter, Store, export};

const FRAMES: u64 = 700;

fn some_run() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let mut store = create(&directory.path().join("run.sqlite"));
    run(&mut store, FRAMES, || {});
    (directory, store)
}

fn exported(store: &Store, filter: &OutcomeFilter, format: ExportFormat) -> (u64, Vec<u8>) {
    let mut bytes = Vec::new();
    let rows = export(store, filter, format, &mut bytes).unwrap();
    (rows, bytes)
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn exported_lines_are_those_of_the_live_sink() {
    let (_directory, store) = some_run();
    let live = Shared::default();
    let sink = Jsonl::outcomes(Box::new(live.clone()), "test");
    let mut drops = 0;
    for timed in store.query(&OutcomeFilter::default()) {
        let timed = timed.unwrap();
        drops += u64::from(matches!(timed.outcome, Outcome::Dropped(_)));
        sink.outcome(timed.time_us, &timed.outcome).unwrap();
    }
    let (rows, bytes) = exported(&store, &OutcomeFilter::default(), ExportFormat::Jsonl);
    assert_eq!(rows, 3 * FRAMES);
    assert!(drops > 0 && drops < FRAMES);
    assert_eq!(bytes, *live.0.lock().unwrap());
}

#[test]
fn csv_has_a_row_per_frame() {
    let (_directory, store) = some_run();
    let (rows, bytes) = exported(&store, &OutcomeFilter::default(), ExportFormat::Csv);
    assert_eq!(rows, 3 * FRAMES);
    let mut csv = csv::Reader::from_reader(bytes.as_slice());
    assert_eq!(csv.headers().unwrap(), crate::store::export::COLUMNS.as_slice());
    let records: Vec<_> = csv.records().map(Result::unwrap).collect();
    let outcomes: Vec<_> = store.query(&OutcomeFilter::default()).map(Result::unwrap).collect();
    assert_eq!(records.len(), outcomes.len());
    for (record, timed) in records.iter().zip(&outcomes) {
        assert_eq!(record[0], timed.time_us.to_string());
        assert_eq!(record[1], **timed.outcome.camera());
        assert_eq!(record[2], timed.outcome.seq().to_string());
        match &timed.outcome {
            Outcome::Dropped(_) => assert_eq!((&record[4], &record[6], &record[8]), ("dropped", "", "")),
            Outcome::Judged(verdict) => {
                assert_eq!(record[6], *verdict.origin);
                assert_eq!(
                    record[8].parse::<f64>().unwrap().to_bits(),
                    verdict.image_score.to_bits()
                );
                assert_eq!(record[11], verdict.regions.len().to_string());
            }
        }
    }
    let nothing = OutcomeFilter {
        camera: Some("nobody".to_owned()),
        ..OutcomeFilter::default()
    };
    let (rows, bytes) = exported(&store, &nothing, ExportFormat::Csv);
    assert_eq!((rows, bytes.iter().filter(|byte| **byte == b'\n').count()), (0, 1));
}

fn parquet(bytes: &[u8]) -> SerializedFileReader<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    SerializedFileReader::new(file).unwrap()
}

#[test]
fn parquet_is_read_back_as_it_was() {
    let (_directory, store) = some_run();
    let (rows, bytes) = exported(&store, &OutcomeFilter::default(), ExportFormat::Parquet);
    assert_eq!(rows, 3 * FRAMES);
    let reader = parquet(&bytes);
    let outcomes: Vec<_> = store.query(&OutcomeFilter::default()).map(Result::unwrap).collect();
    let mut n_rows = 0;
    for (row, timed) in reader.get_row_iter(None).unwrap().zip(&outcomes) {
        let fields: Vec<Field> = row.unwrap().get_column_iter().map(|(_, field)| field.clone()).collect();
        assert_eq!(fields[0], Field::ULong(timed.time_us));
        assert_eq!(fields[1], Field::Str(timed.outcome.camera().to_string()));
        assert_eq!(fields[2], Field::ULong(timed.outcome.seq()));
        match &timed.outcome {
            Outcome::Dropped(dropped) => {
                assert_eq!(fields[3], Field::ULong(dropped.captured_at_us));
                assert_eq!(fields[4], Field::Str("dropped".to_owned()));
                assert!(fields[6..11].iter().all(|field| *field == Field::Null));
            }
            Outcome::Judged(verdict) => {
                assert_eq!(fields[6], Field::Str(verdict.origin.to_string()));
                assert_eq!(fields[7], Field::Str(verdict.detector.to_string()));
                let Field::Double(score) = fields[8] else {
                    panic!("{:?}", fields[8])
                };
                assert_eq!(score.as_bytes(), verdict.image_score.as_bytes());
                assert_eq!(fields[12], Field::ULong(verdict.suppressed.len() as u64));
            }
        }
        n_rows += 1;
    }
    assert_eq!(n_rows, outcomes.len());
}

#[test]
fn parquet_row_groups_are_bounded() {
    let (_directory, store) = some_run();
    let filter = OutcomeFilter {
        limit: Some(1),
        camera: Some(CAMERAS[2].to_owned()),
        ..OutcomeFilter::default()
    };
    let timed = store.query(&filter).next().unwrap().unwrap();
    let row = crate::store::export::ExportRow::of(&timed);
    let mut bytes = Vec::new();
    let mut rows = ParquetRows::new(&mut bytes).unwrap();
    for _ in 0..2 * ROW_GROUP_ROWS + 5 {
        rows.push(&row).unwrap();
    }
    rows.finish().unwrap();
    let reader = parquet(&bytes);
    let groups: Vec<i64> = reader
        .metadata()
        .row_groups()
        .iter()
        .map(|group| group.num_rows())
        .collect();
    assert_eq!(groups, [ROW_GROUP_ROWS as i64, ROW_GROUP_ROWS as i64, 5]);
    let (rows, empty) = exported(
        &store,
        &OutcomeFilter {
            limit: Some(0),
            ..filter
        },
        ExportFormat::Parquet,
    );
    assert_eq!((rows, parquet(&empty).metadata().file_metadata().num_rows()), (0, 0));
}

struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_export_that_cannot_be_written_says_so() {
    let (_directory, store) = some_run();
    for format in [ExportFormat::Jsonl, ExportFormat::Csv, ExportFormat::Parquet] {
        let error = export(&store, &OutcomeFilter::default(), format, Full)
            .unwrap_err()
            .to_string();
        assert!(error.contains("cannot export run store"), "{error}");
        assert!(error.contains("no storage space"), "{error}");
    }
}
