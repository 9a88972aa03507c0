//! Rows as a Parquet file.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::export::{COLUMNS, ExportRow};

/// Rows of a row group, which are held in memory until it is complete: some 20 MB.
pub(super) const ROW_GROUP_ROWS: usize = 65_536;

const SCHEMA: &str = "message frames {
    REQUIRED INT64 time_us (INTEGER(64, false));
    REQUIRED BINARY camera (UTF8);
    REQUIRED INT64 seq (INTEGER(64, false));
    REQUIRED INT64 captured_at_us (INTEGER(64, false));
    REQUIRED BINARY decision (UTF8);
    OPTIONAL BINARY reason (UTF8);
    OPTIONAL BINARY origin (UTF8);
    OPTIONAL BINARY detector (UTF8);
    OPTIONAL DOUBLE image_score;
    OPTIONAL DOUBLE threshold;
    OPTIONAL DOUBLE calibrated_score;
    REQUIRED INT64 regions (INTEGER(64, false));
    REQUIRED INT64 suppressed (INTEGER(64, false));
}";

/// Collects rows by column and writes a row group whenever enough are there.
pub(super) struct ParquetRows<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Column>,
    rows: usize,
}

impl<W: Write + Send> ParquetRows<W> {
    pub(super) fn new(out: W) -> Result<Self> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let mut properties = WriterProperties::builder();
        // They grow steadily: differences are a tenth of the size, and a dictionary would hold every value.
        for growing in ["time_us", "seq", "captured_at_us"] {
            let column = ColumnPath::from(growing);
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
        Ok(Self {
            writer: SerializedFileWriter::new(out, schema, Arc::new(properties.build()))?,
            columns: empty_columns(),
            rows: 0,
        })
    }

    pub(super) fn push(&mut self, row: &ExportRow<'_>) -> Result<()> {
        let text = |text: &str| Cell::Text(ByteArray::from(text.as_bytes().to_vec()));
        let optional_text = |optional: Option<&str>| optional.map_or(Cell::Nothing, text);
        let optional_score = |optional: Option<f64>| optional.map_or(Cell::Nothing, Cell::Score);
        let cells: [Cell; COLUMNS.len()] = [
            Cell::Number(row.time_us as i64),
            text(row.camera),
            Cell::Number(row.seq as i64),
            Cell::Number(row.captured_at_us as i64),
            text(row.decision),
            optional_text(row.reason.as_deref()),
            optional_text(row.origin),
            optional_text(row.detector),
            optional_score(row.image_score),
            optional_score(row.threshold),
            optional_score(row.calibrated_score),
            Cell::Number(row.regions as i64),
            Cell::Number(row.suppressed as i64),
        ];
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.push(cell);
        }
        self.rows += 1;
        if self.rows == ROW_GROUP_ROWS {
            self.write_group()
        } else {
            Ok(())
        }
    }

    /// Writes what is left and the footer, without which the file is unreadable.
    pub(super) fn finish(mut self) -> Result<()> {
        if self.rows > 0 {
            self.write_group()?;
        }
        self.writer.into_inner()?.flush().map_err(ParquetError::from)
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for column in std::mem::replace(&mut self.columns, empty_columns()) {
            let Some(mut writer) = group.next_column()? else {
                unreachable!("the schema has a column for every cell");
            };
            column.write(writer.untyped())?;
            writer.close()?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

enum Cell {
    Nothing,
    Number(i64),
    Score(f64),
    Text(ByteArray),
}

/// The values of a column that are there, and for each row whether one is.
#[derive(Default)]
struct Column {
    present: Vec<i16>,
    numbers: Vec<i64>,
    scores: Vec<f64>,
    texts: Vec<ByteArray>,
}

fn empty_columns() -> Vec<Column> {
    COLUMNS.iter().map(|_| Column::default()).collect()
}

impl Column {
    fn push(&mut self, cell: Cell) {
        self.present.push(i16::from(!matches!(cell, Cell::Nothing)));
        match cell {
            Cell::Nothing => {}
            Cell::Number(number) => self.numbers.push(number),
            Cell::Score(score) => self.scores.push(score),
            Cell::Text(text) => self.texts.push(text),
        }
    }

    fn write(&self, writer: &mut ColumnWriter<'_>) -> Result<()> {
        let present = Some(self.present.as_slice());
        match writer {
            ColumnWriter::Int64ColumnWriter(writer) => writer.write_batch(&self.numbers, None, None)?,
            ColumnWriter::DoubleColumnWriter(writer) => writer.write_batch(&self.scores, present, None)?,
            ColumnWriter::ByteArrayColumnWriter(writer) => {
                let optional = writer.get_descriptor().max_def_level() > 0;
                writer.write_batch(&self.texts, present.filter(|_| optional), None)?
            }
            _ => unreachable!("the schema has no other types"),
        };
        Ok(())
    }
}
