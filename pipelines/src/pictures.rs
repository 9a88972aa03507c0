//! Pictures of the frames of a run that people should look at, in one SQLite file beside the run's store: rejected and borderline
//! frames, the newest of each camera, and its last frame, with the normal patches nearest to what was found in them. Losing it loses no
//! verdict, so it is written without waiting for the disk.

mod nearest;

use std::path::Path;
use std::time::Duration;

use intakt_operators::RectPx;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use crate::review::ReviewPicture;
use crate::sinks::small_size;

/// Frames that are kept of all cameras: some 300 MB of pictures, half as much again of frames that are larger than these.
pub const PICTURES_MAX: u32 = 2_000;

/// The longer side of a picture, pixels.
pub(crate) const SIDE_PX: u32 = 800;

/// Largest picture that is read, bytes: a file that is damaged, or made by somebody else, is no reason to run out of memory.
const PICTURE_BYTES_MAX: u32 = 16 << 20;

/// "Ipic": what the file says that it is.
const APPLICATION_ID: i32 = 0x4970_6963;

/// How its tables are laid out. Pictures that are laid out otherwise are forgotten.
const VERSION: i32 = 3;

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
    /// A part of the frame, pixel by pixel; none of a frame whose picture is as large as it is.
    pub closer: Option<Closer>,
    /// The normal patches nearest to what was found in it; none of a detector that knows none.
    pub nearest: Vec<NearestPatch>,
    /// What is told of it without looking at it.
    pub about: AboutPicture,
}

/// The part of a frame around what was found in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Closer {
    /// Where it lies in the frame.
    pub rect_px: RectPx,
    /// A JPEG file of that size.
    pub jpeg: Vec<u8>,
}

/// What is told of a frame's pictures without looking at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AboutPicture {
    /// Position of the frame in the camera's stream.
    pub seq: u64,
    /// What was decided.
    pub is_rejected: bool,
    /// When they were drawn, wall clock, microseconds since 1970.
    pub drawn_at_us: u64,
}

/// The newest frames of a camera whose pictures are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewestPictures {
    /// The newest.
    pub newest: Option<AboutPicture>,
    /// The newest that was rejected.
    pub rejected: Option<AboutPicture>,
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
            if version(&connection)? != VERSION {
                nearest::drop(&connection)?;
                connection.execute_batch("DROP TABLE IF EXISTS pictures")?;
            }
            connection.pragma_update(None, "foreign_keys", "ON")?;
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS pictures (
                    id INTEGER PRIMARY KEY, camera TEXT NOT NULL, seq INTEGER NOT NULL, rejected INTEGER NOT NULL,
                    drawn_at_us INTEGER NOT NULL, width_px INTEGER NOT NULL, height_px INTEGER NOT NULL,
                    frame BLOB NOT NULL, heatmap BLOB NOT NULL, closer BLOB,
                    closer_x INTEGER, closer_y INTEGER, closer_width INTEGER, closer_height INTEGER, UNIQUE (camera, seq));
                CREATE INDEX IF NOT EXISTS pictures_newest ON pictures (camera, rejected)",
            )?;
            nearest::create(&connection)?;
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            connection.pragma_update(None, "user_version", VERSION)?;
            Ok(Self { connection })
        };
        open().map_err(|error| {
            let path = path.display();
            format!("cannot open \"{path}\": {error}\n  hint: it holds pictures alone; the run goes on without it, and begins another")
        })
    }

    /// Opens the file to look at it; none if there is none.
    ///
    /// # Errors
    /// A sentence: it is something else, or damaged.
    pub fn look(path: &Path) -> Result<Option<Self>, String> {
        if !path.is_file() {
            return Ok(None);
        }
        let open = || -> rusqlite::Result<(Self, i32, i32)> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY)?;
            let id = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
            let version = version(&connection)?;
            Ok((Self { connection }, id, version))
        };
        match open() {
            Ok((pictures, APPLICATION_ID, VERSION)) => Ok(Some(pictures)),
            Ok((_, APPLICATION_ID, _)) => Ok(None),
            Ok(_) => Err(format!("{} holds no pictures of a run", path.display())),
            Err(error) => Err(format!("cannot open \"{}\": {error}", path.display())),
        }
    }

    /// Keeps the pictures of a frame, in place of those that it had. Beyond [`PICTURES_MAX`] the oldest frame goes of the camera and
    /// decision of which most are kept, so that no camera and no flood of borderline frames pushes the others out.
    ///
    /// # Errors
    /// A sentence: the disk is full, or another process writes.
    pub fn keep(&mut self, camera: &str, picture: &KeptPicture) -> Result<(), String> {
        let keep = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            let [width_px, height_px] = picture.frame_px;
            let about = picture.about;
            let closer = picture.closer.as_ref();
            let closer_px = closer.map(|closer| closer.rect_px);
            transaction.execute(
                "INSERT OR REPLACE INTO pictures VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    camera,
                    about.seq.cast_signed(),
                    about.is_rejected,
                    about.drawn_at_us.cast_signed(),
                    width_px,
                    height_px,
                    picture.frame_jpeg,
                    picture.heatmap_jpeg,
                    closer.map(|closer| &closer.jpeg),
                    closer_px.map(|rect| rect.x),
                    closer_px.map(|rect| rect.y),
                    closer_px.map(|rect| rect.width),
                    closer_px.map(|rect| rect.height)
                ],
            )?;
            let newest = transaction.last_insert_rowid();
            nearest::keep(&transaction, newest, &picture.nearest)?;
            transaction.execute(
                "DELETE FROM pictures WHERE id IN (
                    SELECT min(id) FROM pictures WHERE (SELECT count(*) FROM pictures) > ?
                    GROUP BY camera, rejected ORDER BY count(*) DESC, min(id) LIMIT 1)",
                [PICTURES_MAX],
            )?;
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
                "SELECT id, width_px, height_px, frame, heatmap, seq, rejected, drawn_at_us,
                    closer, closer_x, closer_y, closer_width, closer_height FROM pictures
                WHERE camera = ?1 AND seq = ?2 AND length(frame) <= ?3 AND length(heatmap) <= ?3
                    AND coalesce(length(closer), 0) <= ?3",
                params![camera, seq.cast_signed(), PICTURE_BYTES_MAX],
                |row| {
                    let picture = KeptPicture {
                        frame_px: [row.get(1)?, row.get(2)?],
                        frame_jpeg: row.get(3)?,
                        heatmap_jpeg: row.get(4)?,
                        closer: closer(row, 8)?,
                        nearest: Vec::new(),
                        about: about(row, 5)?,
                    };
                    Ok((row.get(0)?, picture))
                },
            )?;
            let nearest = nearest::of(connection, id)?;
            Ok(KeptPicture { nearest, ..picture })
        };
        read(&self.connection).optional().map_err(cannot_read)
    }

    /// Whether there are pictures of each of these frames, camera and position.
    ///
    /// # Errors
    /// A sentence: the file is damaged.
    pub fn have<'a>(&self, frames: impl IntoIterator<Item = (&'a str, u64)>) -> Result<Vec<bool>, String> {
        let sql = "SELECT 1 FROM pictures WHERE camera = ? AND seq = ?";
        let read = || -> rusqlite::Result<Vec<bool>> {
            let mut statement = self.connection.prepare(sql)?;
            let frames = frames.into_iter();
            frames
                .map(|(camera, seq)| statement.exists(params![camera, seq.cast_signed()]))
                .collect()
        };
        read().map_err(cannot_read)
    }

    /// The newest frames of a camera.
    ///
    /// # Errors
    /// A sentence: the file is damaged.
    pub fn newest(&self, camera: &str) -> Result<NewestPictures, String> {
        let newest = |is_rejected: bool| {
            let sql = "SELECT seq, rejected, drawn_at_us, id FROM pictures WHERE camera = ? AND rejected = ? ORDER BY id DESC LIMIT 1";
            let mut statement = self.connection.prepare(sql)?;
            let found = statement.query_row(params![camera, is_rejected], |row| {
                Ok((about(row, 0)?, row.get::<_, i64>(3)?))
            });
            found.optional()
        };
        let read = || -> rusqlite::Result<NewestPictures> {
            let (rejected, passed) = (newest(true)?, newest(false)?);
            let latest = [rejected, passed].into_iter().flatten().max_by_key(|(_, id)| *id);
            Ok(NewestPictures {
                newest: latest.map(|(about, _)| about),
                rejected: rejected.map(|(about, _)| about),
            })
        };
        read().map_err(cannot_read)
    }
}

/// The version of a file; 0 of one that is new.
fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Of the columns `seq`, `rejected` and `drawn_at_us`, from `first` on.
fn about(row: &Row<'_>, first: usize) -> rusqlite::Result<AboutPicture> {
    Ok(AboutPicture {
        seq: row.get::<_, i64>(first)?.cast_unsigned(),
        is_rejected: row.get(first + 1)?,
        drawn_at_us: row.get::<_, i64>(first + 2)?.cast_unsigned(),
    })
}

/// Of the columns `closer`, `closer_x`, `closer_y`, `closer_width` and `closer_height`, from `first` on.
fn closer(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Closer>> {
    let Some(jpeg) = row.get(first)? else { return Ok(None) };
    let rect_px = RectPx {
        x: row.get(first + 1)?,
        y: row.get(first + 2)?,
        width: row.get(first + 3)?,
        height: row.get(first + 4)?,
    };
    Ok(Some(Closer { rect_px, jpeg }))
}

fn cannot_read(error: rusqlite::Error) -> String {
    format!("cannot read a picture: {error}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn picture(seq: u64, is_rejected: bool) -> KeptPicture {
        let of = seq as u8;
        KeptPicture {
            frame_px: [4, 3],
            frame_jpeg: vec![of; 5],
            heatmap_jpeg: vec![of; 6],
            closer: None,
            nearest: Vec::new(),
            about: AboutPicture {
                seq,
                is_rejected,
                drawn_at_us: 1_000 + seq,
            },
        }
    }

    #[test]
    fn the_newest_pictures_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pictures.sqlite");
        assert!(Pictures::look(&path).unwrap().is_none());
        let mut pictures = Pictures::open(&path).unwrap();
        for seq in 0..4 {
            pictures.keep("left", &picture(seq, seq == 2)).unwrap();
        }
        for seq in 0..u64::from(PICTURES_MAX) + 3 {
            pictures.keep("dock", &picture(seq, true)).unwrap();
        }
        let closer = Closer {
            rect_px: RectPx {
                x: 1,
                y: 2,
                width: 3,
                height: 4,
            },
            jpeg: vec![8],
        };
        let redrawn = KeptPicture {
            heatmap_jpeg: vec![7],
            closer: Some(closer),
            ..picture(1, false)
        };
        pictures.keep("left", &redrawn).unwrap();
        let seen = Pictures::look(&path).unwrap().unwrap();
        assert_eq!(
            seen.of("dock", 6).unwrap(),
            None,
            "the oldest of those of which there are most"
        );
        assert_eq!(seen.of("dock", 7).unwrap(), Some(picture(7, true)));
        assert_eq!(
            seen.have([("dock", 7), ("dock", 6), ("left", 7)]).unwrap(),
            [true, false, false]
        );
        assert_eq!(seen.of("left", 0).unwrap(), Some(picture(0, false)));
        assert_eq!(seen.of("left", 1).unwrap(), Some(redrawn));
        assert_eq!(seen.of("left", u64::MAX).unwrap(), None);
    }

    #[test]
    fn the_newest_of_a_camera_are_told_without_their_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let mut pictures = Pictures::open(&folder.path().join("pictures.sqlite")).unwrap();
        assert_eq!(pictures.newest("dock").unwrap(), NewestPictures::default());
        for (seq, is_rejected) in [(1, true), (2, true), (3, false)] {
            pictures.keep("dock", &picture(seq, is_rejected)).unwrap();
        }
        pictures.keep("left", &picture(9, true)).unwrap();
        let expected = NewestPictures {
            newest: Some(picture(3, false).about),
            rejected: Some(picture(2, true).about),
        };
        assert_eq!(pictures.newest("dock").unwrap(), expected);
    }

    #[test]
    fn pictures_of_another_version_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pictures.sqlite");
        let older = Connection::open(&path).unwrap();
        older
            .execute_batch(&format!(
                "CREATE TABLE pictures (id INTEGER PRIMARY KEY); PRAGMA application_id = {APPLICATION_ID}"
            ))
            .unwrap();
        assert!(Pictures::look(&path).unwrap().is_none());
        let mut pictures = Pictures::open(&path).unwrap();
        pictures.keep("dock", &picture(1, true)).unwrap();
        assert_eq!(
            Pictures::look(&path).unwrap().unwrap().have([("dock", 1)]).unwrap(),
            [true]
        );
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
