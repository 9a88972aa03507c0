//! Creating and opening a run store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::{StoreError, Trouble};
use super::schema::{self, Found};
use super::sql_value::from_key;

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// How long a commit waits for another process that writes, before it gives up.
    pub busy_timeout: Duration,
}

impl Default for StoreOptions {
    /// 5 s: longer than any transaction of ours, short enough that a stuck process is noticed.
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
        }
    }
}

/// The record of one run. See the [module](crate::store).
pub struct Store {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) options: StoreOptions,
    pub(super) frontier_us: u64,
    pub(super) generation: i64,
    /// Numbers of the names that were committed.
    pub(super) names: BTreeMap<Arc<str>, i64>,
}

impl Store {
    /// Whether `path` holds the store of a run. One whose creation was cut holds none, and [`Store::create`] does it again: it is
    /// opened for writing, so that what was begun is taken back.
    ///
    /// # Errors
    /// It is something else, newer, damaged or locked.
    pub fn is_there(path: &Path, options: StoreOptions) -> Result<bool, StoreError> {
        // A file without content is what a full disk left of one.
        if path.metadata().map_or(true, |file| file.is_file() && file.len() == 0) {
            return Ok(false);
        }
        let found = || -> Result<Found, Trouble> {
            schema::examine(&connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, options)?)
        };
        let found =
            found().map_err(|trouble| StoreError::new("open", path, trouble.after_waiting(options.busy_timeout)))?;
        Ok(found == Found::Run)
    }

    /// Makes the store of a new run. A creation that was cut (by a power loss, say) is done again.
    ///
    /// # Errors
    /// The path holds a run already, or something else; the file cannot be written.
    pub fn create(path: &Path, run: &str, options: StoreOptions) -> Result<Self, StoreError> {
        let create = || -> Result<Self, Trouble> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
            let mut connection = connect(path, flags, options)?;
            if schema::examine(&connection)? == Found::Run {
                return Err(Trouble::Exists);
            }
            refuse_read_only(&connection)?;
            connection.execute_batch(schema::WRITING)?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if schema::examine(&transaction)? == Found::Run {
                return Err(Trouble::Exists);
            }
            transaction.execute_batch(schema::TABLES)?;
            transaction.execute_batch(schema::ADDED)?;
            transaction.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
            transaction.execute(
                "INSERT INTO meta VALUES (?, ?, ?)",
                (schema::SCHEMA_VERSION, env!("CARGO_PKG_VERSION"), run),
            )?;
            transaction.execute("INSERT INTO progress VALUES (0, 1, FALSE)", [])?;
            transaction.commit()?;
            Self::with(connection, path, options)
        };
        create().map_err(|trouble| StoreError::new("create", path, trouble.after_waiting(options.busy_timeout)))
    }

    /// Opens the store of a run that goes on, and begins its next generation: whoever wrote to it before can no longer commit.
    ///
    /// # Errors
    /// There is no run; it is not ours, newer, damaged or locked; it cannot be written.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_to(
            "UPDATE progress SET generation = generation + 1, ended = FALSE",
            path,
            options,
        )
    }

    /// The same for a run that does not go on, and is only corrected: whether it came to its end stays as it is, also where the
    /// correction is cut.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_to_correct(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        Self::open_to("UPDATE progress SET generation = generation + 1", path, options)
    }

    fn open_to(begin: &str, path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let open = || -> Result<Self, Trouble> {
            let connection = connect_to_run(path, OpenFlags::SQLITE_OPEN_READ_WRITE, options)?;
            refuse_read_only(&connection)?;
            connection.execute_batch(schema::WRITING)?;
            connection.execute_batch(schema::ADDED)?;
            connection.execute(begin, [])?;
            Self::with(connection, path, options)
        };
        open().map_err(|trouble| StoreError::new("open", path, trouble.after_waiting(options.busy_timeout)))
    }

    /// Opens the store for queries and exports, also while a run writes to it. It shows what was committed when it is asked.
    ///
    /// # Errors
    /// There is no run; it is not ours, newer or damaged.
    pub fn open_read_only(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let open = || {
            Self::with(
                connect_to_run(path, OpenFlags::SQLITE_OPEN_READ_ONLY, options)?,
                path,
                options,
            )
        };
        open().map_err(|trouble| StoreError::new("open", path, trouble.after_waiting(options.busy_timeout)))
    }

    fn with(connection: Connection, path: &Path, options: StoreOptions) -> Result<Self, Trouble> {
        let (frontier, generation) =
            connection.query_row("SELECT frontier_us, generation FROM progress", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let mut names = BTreeMap::new();
        {
            let mut statement = connection.prepare("SELECT name, id FROM names")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                names.insert(row.get::<_, String>(0)?.into(), row.get(1)?);
            }
        }
        Ok(Self {
            connection,
            path: path.to_owned(),
            options,
            frontier_us: from_key(frontier)?,
            generation,
            names,
        })
    }

    /// The store is complete up to here (exclusive), microseconds: as of opening, and of the last commit of this `Store`.
    pub fn committed_frontier_us(&self) -> u64 {
        self.frontier_us
    }

    /// Whether the run came to its end, and was not started again.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn has_ended(&self) -> Result<bool, StoreError> {
        let sql = "SELECT ended FROM progress";
        let ended = self.connection.query_row(sql, [], |row| row.get(0));
        ended.map_err(|error| self.error("read")(error.into()))
    }

    /// Notes that the run came to its end.
    ///
    /// # Errors
    /// The disk is full, or another process writes.
    pub fn end(&self) -> Result<(), StoreError> {
        let ended = self.connection.execute("UPDATE progress SET ended = TRUE", []);
        ended.map(drop).map_err(|error| self.error("commit to")(error.into()))
    }

    /// How often the run was started: 1, and one more each time it was resumed.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    pub(super) fn error(&self, action: &'static str) -> impl Fn(Trouble) -> StoreError + '_ {
        move |trouble| StoreError::new(action, &self.path, trouble.after_waiting(self.options.busy_timeout))
    }
}

fn connect_to_run(path: &Path, flags: OpenFlags, options: StoreOptions) -> Result<Connection, Trouble> {
    if !path.exists() {
        return Err(Trouble::Missing);
    }
    let connection = connect(path, flags, options)?;
    match schema::examine(&connection)? {
        Found::Run => Ok(connection),
        Found::Nothing => Err(Trouble::Foreign("it is empty".to_owned())),
    }
}

fn connect(path: &Path, flags: OpenFlags, options: StoreOptions) -> Result<Connection, Trouble> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(options.busy_timeout)?;
    // The file may come from anywhere: what its schema says is not to be run.
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    Ok(connection)
}

/// SQLite opens a file that must not be written for reading, and says nothing.
fn refuse_read_only(connection: &Connection) -> Result<(), Trouble> {
    if connection.is_readonly("main")? {
        return Err(Trouble::ReadOnly);
    }
    Ok(())
}
