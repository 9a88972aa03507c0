//! The tables of a run store.

use rusqlite::Connection;

use super::error::Trouble;

/// Version of the tables; a store with a higher one is refused.
pub(super) const SCHEMA_VERSION: i64 = 1;

/// "intk": tells a run store from other SQLite databases (`PRAGMA application_id`).
pub(super) const APPLICATION_ID: i64 = 0x696e_746b;

/// Outcomes are appended in the order of time, camera name and sequence, and never deleted: `id` counts from 1 without gaps,
/// and its order is that order. So a time is found by bisection over `id`, without an index.
///
/// Scores are `ANY`, because a `REAL` column turns -0.0 into 0.0, whose JSON differs. Not-a-number is NULL. Unsigned 64-bit
/// numbers that are no key (`captured_at_us`, `area_px`) keep their bits: above 2^63 they look negative.
///
/// A label's `anomalous` is 1 or 0, or [`TAKEN_BACK`].
///
/// Names that recur in every row are numbered in `names`; the views spell them out.
pub(super) const TABLES: &str = "
CREATE TABLE meta (schema_version INTEGER NOT NULL, intakt_version TEXT NOT NULL, run TEXT NOT NULL) STRICT;
CREATE TABLE progress (frontier_us INTEGER NOT NULL, generation INTEGER NOT NULL, ended INTEGER NOT NULL) STRICT;
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE cameras (camera INTEGER PRIMARY KEY REFERENCES names, next_seq INTEGER NOT NULL) STRICT;
CREATE TABLE outcomes (
    id INTEGER PRIMARY KEY,
    time_us INTEGER NOT NULL,
    camera INTEGER NOT NULL REFERENCES names,
    seq INTEGER NOT NULL,
    captured_at_us INTEGER NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('pass', 'reject', 'unreadable', 'dropped')),
    reason TEXT,
    origin TEXT,
    detector INTEGER REFERENCES names,
    image_score ANY,
    threshold ANY,
    calibrated_score ANY,
    regions INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX outcomes_frame ON outcomes (camera, seq);
CREATE INDEX outcomes_camera ON outcomes (camera);
CREATE INDEX outcomes_decision ON outcomes (decision) WHERE decision <> 'pass';
CREATE TABLE regions (
    outcome INTEGER NOT NULL REFERENCES outcomes,
    ordinal INTEGER NOT NULL,
    suppressed_because TEXT,
    x INTEGER NOT NULL,
    y INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    area_px INTEGER NOT NULL,
    peak ANY,
    mean ANY,
    centroid_x ANY,
    centroid_y ANY,
    PRIMARY KEY (outcome, ordinal)
) STRICT, WITHOUT ROWID;
CREATE TABLE labels (
    id INTEGER PRIMARY KEY,
    time_us INTEGER NOT NULL,
    ordinal INTEGER NOT NULL UNIQUE,
    camera TEXT NOT NULL,
    seq INTEGER NOT NULL,
    anomalous INTEGER NOT NULL,
    class TEXT,
    captured_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE metrics (
    id INTEGER PRIMARY KEY,
    at_us INTEGER NOT NULL,
    window_us INTEGER NOT NULL,
    scope INTEGER NOT NULL REFERENCES names,
    name INTEGER NOT NULL REFERENCES names,
    revision INTEGER NOT NULL,
    before ANY,
    after ANY
) STRICT;
CREATE UNIQUE INDEX metrics_key ON metrics (at_us, window_us, scope, name, revision);
CREATE TABLE alerts (
    rule TEXT NOT NULL,
    scope TEXT NOT NULL,
    opened_at_us INTEGER NOT NULL,
    closed_at_us INTEGER,
    retracted INTEGER NOT NULL,
    PRIMARY KEY (opened_at_us, rule, scope)
) STRICT, WITHOUT ROWID;
CREATE TABLE changes (
    id INTEGER PRIMARY KEY,
    time_us INTEGER NOT NULL,
    camera TEXT,
    threshold ANY,
    detector TEXT,
    lot TEXT
) STRICT;
CREATE VIEW verdicts AS
    SELECT outcomes.id, time_us, camera.name AS camera, seq, captured_at_us, decision, reason, origin,
        detector.name AS detector, image_score, threshold, calibrated_score
    FROM outcomes JOIN names AS camera ON camera.id = outcomes.camera
    LEFT JOIN names AS detector ON detector.id = outcomes.detector
    WHERE decision <> 'dropped';
CREATE VIEW drops AS
    SELECT outcomes.id, time_us, camera.name AS camera, seq, captured_at_us, reason
    FROM outcomes JOIN names AS camera ON camera.id = outcomes.camera
    WHERE decision = 'dropped';
";

/// What a label says, in place of whether its frame is anomalous, that takes back what was said before.
pub(super) const TAKEN_BACK: i64 = -1;

/// What stores that were made before lack, and every one that is written to has.
pub(super) const ADDED: &str = "
CREATE INDEX IF NOT EXISTS labels_frame ON labels (camera, seq, time_us, ordinal);
";

/// How a connection that writes behaves: readers go on during a commit, and a commit that returned survives a power loss.
pub(super) const WRITING: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA journal_size_limit = 67108864;
";

/// What is in a file that SQLite opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: a new file, or one whose creation was cut.
    Nothing,
    /// A run that this version understands.
    Run,
}

/// Looks whether the database is a run store.
///
/// # Errors
/// It is another program's, of a newer version, or damaged.
pub(super) fn examine(connection: &Connection) -> Result<Found, Trouble> {
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application == 0 && objects == 0 {
        return Ok(Found::Nothing);
    }
    if application != APPLICATION_ID {
        return Err(Trouble::Foreign(
            "it is an SQLite database of another program".to_owned(),
        ));
    }
    let found: i64 = connection.query_row("SELECT schema_version FROM meta", [], |row| row.get(0))?;
    match found {
        SCHEMA_VERSION => Ok(Found::Run),
        newer if newer > SCHEMA_VERSION => Err(Trouble::Newer {
            found,
            known: SCHEMA_VERSION,
        }),
        _ => Err(Trouble::Damaged(format!("there is no schema version {found}"))),
    }
}
