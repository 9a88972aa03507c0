//! The normal patches nearest to what was found in a frame. A training image is stored once for all frames that it is shown with, and
//! forgotten with the last of them.

use intakt_operators::RectPx;
use intakt_operators::detector::{NAME_BYTES_MAX, TrainingImage};
use intakt_operators::postprocess::NEAREST_MAX;
use rusqlite::{Connection, Row, Transaction, params};

use super::PICTURE_BYTES_MAX;

/// A patch of a frame and the normal patch nearest to it.
#[derive(Clone, Debug, PartialEq)]
pub struct NearestPatch {
    /// Index of the region of the verdict whose peak the patch is at; none where the frame has no region.
    pub region: Option<u32>,
    /// The patch, frame pixels.
    pub rect_px: RectPx,
    /// How far it is from what is normal, in the detector's own unit.
    pub distance: f64,
    /// The training image that the normal patch is in.
    pub training: TrainingPicture,
    /// The normal patch, pixels of the training image.
    pub training_rect_px: RectPx,
}

/// A training image of a detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingPicture {
    /// The detector's id.
    pub detector: String,
    /// What the detector knows of it.
    pub image: TrainingImage,
}

pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS training (
            id INTEGER PRIMARY KEY, detector TEXT NOT NULL, name TEXT NOT NULL,
            width_px INTEGER NOT NULL, height_px INTEGER NOT NULL, jpeg BLOB NOT NULL, UNIQUE (detector, name));
        CREATE TABLE IF NOT EXISTS nearest (
            picture INTEGER NOT NULL REFERENCES pictures (id) ON DELETE CASCADE, rank INTEGER NOT NULL,
            region INTEGER, x INTEGER NOT NULL, y INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
            distance REAL NOT NULL, training INTEGER NOT NULL REFERENCES training (id),
            training_x INTEGER NOT NULL, training_y INTEGER NOT NULL,
            training_width INTEGER NOT NULL, training_height INTEGER NOT NULL,
            PRIMARY KEY (picture, rank)) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS nearest_training ON nearest (training)",
    )
}

pub(super) fn drop(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("DROP TABLE IF EXISTS nearest; DROP TABLE IF EXISTS training")
}

pub(super) fn keep(transaction: &Transaction<'_>, picture: i64, nearest: &[NearestPatch]) -> rusqlite::Result<()> {
    for (rank, patch) in nearest.iter().take(NEAREST_MAX).enumerate() {
        let TrainingPicture { detector, image } = &patch.training;
        transaction.execute(
            "INSERT OR IGNORE INTO training VALUES (NULL, ?, ?, ?, ?, ?)",
            params![detector, image.name, image.width_px, image.height_px, image.jpeg],
        )?;
        let (at, there) = (patch.rect_px, patch.training_rect_px);
        transaction.execute(
            "INSERT INTO nearest SELECT ?, ?, ?, ?, ?, ?, ?, ?, id, ?, ?, ?, ? FROM training WHERE detector = ? AND name = ?",
            params![
                picture,
                rank as i64,
                patch.region,
                at.x,
                at.y,
                at.width,
                at.height,
                patch.distance,
                there.x,
                there.y,
                there.width,
                there.height,
                detector,
                image.name
            ],
        )?;
    }
    Ok(())
}

/// Forgets training images that no frame is shown with any more.
pub(super) fn forget_unused(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute(
        "DELETE FROM training WHERE NOT EXISTS (SELECT 1 FROM nearest WHERE nearest.training = training.id)",
        [],
    )?;
    Ok(())
}

/// Those of a picture, the strongest region first.
pub(super) fn of(connection: &Connection, picture: i64) -> rusqlite::Result<Vec<NearestPatch>> {
    let mut statement = connection.prepare(
        "SELECT region, x, y, width, height, distance, training_x, training_y, training_width, training_height,
            detector, name, width_px, height_px, jpeg
        FROM nearest JOIN training ON training.id = nearest.training
        WHERE picture = ?1 AND length(detector) <= ?2 AND length(name) <= ?2 AND length(jpeg) <= ?3 ORDER BY rank LIMIT ?4",
    )?;
    let read = statement.query_map(
        params![picture, NAME_BYTES_MAX as i64, PICTURE_BYTES_MAX, NEAREST_MAX as i64],
        nearest_patch,
    )?;
    read.collect()
}

fn nearest_patch(row: &Row<'_>) -> rusqlite::Result<NearestPatch> {
    let rect = |first: usize| -> rusqlite::Result<RectPx> {
        Ok(RectPx {
            x: row.get(first)?,
            y: row.get(first + 1)?,
            width: row.get(first + 2)?,
            height: row.get(first + 3)?,
        })
    };
    Ok(NearestPatch {
        region: row.get(0)?,
        rect_px: rect(1)?,
        distance: row.get(5)?,
        training_rect_px: rect(6)?,
        training: TrainingPicture {
            detector: row.get(10)?,
            image: TrainingImage {
                name: row.get(11)?,
                width_px: row.get(12)?,
                height_px: row.get(13)?,
                jpeg: row.get(14)?,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::{AboutPicture, KeptPicture, PICTURES_MAX, Pictures};
    use super::*;

    fn rect(x: u32) -> RectPx {
        RectPx {
            x,
            y: 2,
            width: 8,
            height: 9,
        }
    }

    fn patch(detector: &str, name: &str, region: Option<u32>) -> NearestPatch {
        NearestPatch {
            region,
            rect_px: rect(3),
            distance: 1.25,
            training: TrainingPicture {
                detector: detector.to_owned(),
                image: TrainingImage {
                    name: name.to_owned(),
                    width_px: 900,
                    height_px: 700,
                    jpeg: name.as_bytes().to_vec(),
                },
            },
            training_rect_px: rect(4),
        }
    }

    fn picture(seq: u64, nearest: Vec<NearestPatch>) -> KeptPicture {
        KeptPicture {
            frame_px: [4, 3],
            frame_jpeg: vec![1],
            heatmap_jpeg: vec![2],
            closer: None,
            nearest,
            about: AboutPicture {
                seq,
                is_rejected: true,
                drawn_at_us: 1,
            },
        }
    }

    fn stored(pictures: &Pictures) -> Vec<(String, String)> {
        let mut statement = pictures
            .connection
            .prepare("SELECT detector, name FROM training ORDER BY detector, name")
            .unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(detector, name): &(&str, &str)| ((*detector).to_owned(), (*name).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn nearest_patches_are_read_as_they_were_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut pictures = Pictures::open(&folder.path().join("pictures.sqlite")).unwrap();
        let kept = picture(
            7,
            vec![
                patch("d1", "b.png", Some(0)),
                patch("d1", "a.png", Some(1)),
                patch("d1", "b.png", None),
            ],
        );
        pictures.keep("dock", &kept).unwrap();
        assert_eq!(pictures.of("dock", 7).unwrap(), Some(kept));
    }

    #[test]
    fn a_training_image_is_stored_once_and_forgotten_with_the_last_frame() {
        let folder = tempfile::tempdir().unwrap();
        let mut pictures = Pictures::open(&folder.path().join("pictures.sqlite")).unwrap();
        let mut keep = |seq, nearest| {
            pictures.keep("dock", &picture(seq, nearest)).unwrap();
            stored(&pictures)
        };
        let a = || patch("d1", "a.png", None);
        assert_eq!(keep(0, vec![a()]), named(&[("d1", "a.png")]));
        assert_eq!(keep(1, vec![a(), patch("d1", "b.png", Some(0))]).len(), 2);
        assert_eq!(keep(2, vec![patch("d2", "a.png", None)]).len(), 3);
        assert_eq!(
            keep(1, vec![a()]),
            named(&[("d1", "a.png"), ("d2", "a.png")]),
            "the frame was looked at again"
        );
        for seq in 0..u64::from(PICTURES_MAX) {
            keep(3 + seq, vec![]);
        }
        assert_eq!(keep(9_000, vec![]), named(&[]));
    }
}
