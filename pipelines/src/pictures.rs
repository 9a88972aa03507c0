//! Pictures of the frames of a run that people should look at, in one SQLite file beside the run's store: rejected and borderline
//! frames, the newest of them, with the normal patches nearest to what was found in them. Losing it loses no verdict, so it is written
//! without waiting for the disk.

mod nearest;

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::review::ReviewPicture;
use crate::sinks::small_size;

/// Frames that are kept: some 300 MB of pictures.
pub const PICTURES_MAX: u32 = 2_000;

/// The longer side of a picture, pixels.
pub(crate) const SIDE_PX: u32 = 800;

/// Largest picture that is read, bytes: a file that is damaged, or made by somebody else, is no reason to run out of memory.
const PICTURE_BYTES_MAX: u32 = 16 << 20;

/// "Ipic": what the file says that it is.
const APPLICATION_ID: i32 = 0x4970_6963;

const BUSY: Duration = Duration::from_secs(5);

pub use nearest::{NearestPatch, TrainingPicture};

/// A frame as it was, and with its heatmap and regions.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptPicture {
    /// Size of the frame, of which the pictures may be smaller copies.
    pub frame_px: [u32; 2],
    /// A JPEG file.
    pub frame_jpeg: Vec<u8>,
    /// A JPEG file of the same size.
    pub heatmap_jpeg: Vec<u8>,
    /// The normal patches nearest to what was found in it; none of a detector that knows none.
    pub nearest: Vec<NearestPatch>,
}

impl From<KeptPicture> for ReviewPicture {
    fn from(kept: KeptPicture) -> Self {
        let [width_px, height_px] = small_size(kept.frame_px, SIDE_PX);
        Self {
            width_px,
            height_px,
            frame_jpeg: kept.frame_jpeg,
            heatmap_jpeg: kept.heatmap_jpeg,
        }
    }
}

/// The file.
pub struct Pictures {
    connection: Connection,
}

impl Pictures {
    /// Opens the file to add to it, and makes it if it is not there.
    ///
    /// # Errors
    /// A sentence: it is something else, or cannot be written.
    pub fn open(path: &Path) -> Result<Self, String> {
        let open = || -> rusqlite::Result<Self> {
            let flags =
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "OFF")?;
            connection.pragma_update(None, "foreign_keys", "ON")?;
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS pictures (
                    id INTEGER PRIMARY KEY, camera TEXT NOT NULL, seq INTEGER NOT NULL,
                    width_px INTEGER NOT NULL, height_px INTEGER NOT NULL, frame BLOB NOT NULL, heatmap BLOB NOT NULL,
                    UNIQUE (camera, seq))",
            )?;
            nearest::create(&connection)?;
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            Ok(Self { connection })
        };
        open().map_err(|error| format!("cannot open {}: {error}", path.display()))
    }

    /// Opens the file to look at it; none if there is none.
    ///
    /// # Errors
    /// A sentence: it is something else, or damaged.
    pub fn look(path: &Path) -> Result<Option<Self>, String> {
        if !path.is_file() {
            return Ok(None);
        }
        let open = || -> rusqlite::Result<(Self, i32)> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY)?;
            let id = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
            Ok((Self { connection }, id))
        };
        match open() {
            Ok((pictures, APPLICATION_ID)) => Ok(Some(pictures)),
            Ok(_) => Err(format!("{} holds no pictures of a run", path.display())),
            Err(error) => Err(format!("cannot open {}: {error}", path.display())),
        }
    }

    /// Keeps the pictures of a frame, in place of those that it had, and forgets the oldest frames beyond [`PICTURES_MAX`].
    ///
    /// # Errors
    /// A sentence: the disk is full, or another process writes.
    pub fn keep(&mut self, camera: &str, seq: u64, picture: &KeptPicture) -> Result<(), String> {
        let keep = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            let [width_px, height_px] = picture.frame_px;
            transaction.execute(
                "INSERT OR REPLACE INTO pictures VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                params![
                    camera,
                    seq.cast_signed(),
                    width_px,
                    height_px,
                    picture.frame_jpeg,
                    picture.heatmap_jpeg
                ],
            )?;
            let newest = transaction.last_insert_rowid();
            nearest::keep(&transaction, newest, &picture.nearest)?;
            transaction.execute("DELETE FROM pictures WHERE id <= ?", [newest - i64::from(PICTURES_MAX)])?;
            nearest::forget_unused(&transaction)?;
            transaction.commit()
        };
        keep(&mut self.connection).map_err(|error| format!("cannot keep a picture: {error}"))
    }

    /// The pictures of a frame; none if they were not kept.
    ///
    /// # Errors
    /// A sentence: the file is damaged.
    pub fn of(&self, camera: &str, seq: u64) -> Result<Option<KeptPicture>, String> {
        let read = |connection: &Connection| -> rusqlite::Result<KeptPicture> {
            let (id, picture) = connection.query_row(
                "SELECT id, width_px, height_px, frame, heatmap FROM pictures
                WHERE camera = ? AND seq = ? AND length(frame) <= ? AND length(heatmap) <= ?",
                params![camera, seq.cast_signed(), PICTURE_BYTES_MAX, PICTURE_BYTES_MAX],
                |row| {
                    let picture = KeptPicture {
                        frame_px: [row.get(1)?, row.get(2)?],
                        frame_jpeg: row.get(3)?,
                        heatmap_jpeg: row.get(4)?,
                        nearest: Vec::new(),
                    };
                    Ok((row.get(0)?, picture))
                },
            )?;
            let nearest = nearest::of(connection, id)?;
            Ok(KeptPicture { nearest, ..picture })
        };
        read(&self.connection)
            .optional()
            .map_err(|error| format!("cannot read a picture: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(of: u8) -> KeptPicture {
        KeptPicture {
            frame_px: [4, 3],
            frame_jpeg: vec![of; 5],
            heatmap_jpeg: vec![of; 6],
            nearest: Vec::new(),
        }
    }

    #[test]
    fn the_newest_pictures_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pictures.sqlite");
        assert!(Pictures::look(&path).unwrap().is_none());
        let mut pictures = Pictures::open(&path).unwrap();
        for seq in 0..u64::from(PICTURES_MAX) + 3 {
            pictures.keep("dock", seq, &picture(seq as u8)).unwrap();
        }
        pictures.keep("left", 1, &picture(9)).unwrap();
        pictures.keep("left", 1, &picture(10)).unwrap();
        let seen = Pictures::look(&path).unwrap().unwrap();
        assert_eq!(seen.of("dock", 2).unwrap(), None, "the oldest");
        assert_eq!(seen.of("dock", 5).unwrap(), Some(picture(5)));
        assert_eq!(seen.of("left", 1).unwrap(), Some(picture(10)));
        assert_eq!(seen.of("left", u64::MAX).unwrap(), None);
    }

    #[test]
    fn what_holds_no_pictures_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pictures.sqlite");
        std::fs::write(&path, "no database at all, whatever its name says").unwrap();
        assert!(Pictures::look(&path).is_err());
        assert!(Pictures::open(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("CREATE TABLE pictures (id INTEGER)").unwrap();
        assert!(Pictures::look(&path).is_err_and(|error| error.contains("no pictures of a run")));
    }
}
