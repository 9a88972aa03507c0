//! Whatever fails, the error is clear and nothing committed is lost.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::support::{HOP_US, create, dump, small_commit};
use crate::store::{OutcomeFilter, Store, StoreError, StoreOptions, Trouble};

const IMPATIENT: StoreOptions = StoreOptions {
    busy_timeout: Duration::from_millis(20),
};

/// A run of one hop.
fn small_run(directory: &Path) -> (PathBuf, Store) {
    let path = directory.join("run.sqlite");
    let mut store = Store::create(&path, "test", IMPATIENT).unwrap();
    store.commit(&small_commit(0..50, HOP_US)).unwrap();
    (path, store)
}

/// Opening fails, the sentence names the file, and says `words`.
fn refused(result: Result<Store, StoreError>, words: &str) {
    let Err(error) = result else {
        panic!("it was opened: expected {words}")
    };
    let sentence = error.to_string();
    assert!(sentence.contains(&error.path.display().to_string()), "{sentence}");
    assert!(sentence.contains(words), "{sentence}");
}

#[test]
fn a_full_disk_loses_nothing_and_the_commit_can_be_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut store) = small_run(directory.path());
    let before = dump(&path);
    let pages: i64 = store
        .connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    store
        .connection
        .execute_batch(&format!("PRAGMA max_page_count = {}", pages + 1))
        .unwrap();
    let large = small_commit(50..500, 2 * HOP_US);
    for _ in 0..2 {
        let error = store.commit(&large).unwrap_err();
        assert!(matches!(error.trouble, Trouble::DiskFull), "{error}");
        assert!(error.to_string().contains("the disk is full"), "{error}");
        assert_eq!(store.committed_frontier_us(), HOP_US);
        assert_eq!(dump(&path), before);
    }
    store
        .connection
        .execute_batch("PRAGMA max_page_count = 1000000")
        .unwrap();
    store.commit(&large).unwrap();
    drop(store);
    let never_full = directory.path().join("never_full.sqlite");
    let mut store = create(&never_full);
    store.commit(&small_commit(0..50, HOP_US)).unwrap();
    store.commit(&large).unwrap();
    assert_eq!(dump(&path), dump(&never_full));
}

#[test]
fn a_locked_store_is_waited_for_and_then_named() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut store) = small_run(directory.path());
    let before = dump(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.commit(&small_commit(50..60, 2 * HOP_US)).unwrap_err();
    assert!(
        matches!(error.trouble, Trouble::Locked { waited } if waited == IMPATIENT.busy_timeout),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("another process has been writing to it for more than 0.02 s"),
        "{error}"
    );
    refused(Store::open(&path, IMPATIENT), "another process");
    assert_eq!(dump(&path), before, "readers are not locked out");
    other.execute_batch("ROLLBACK").unwrap();
    store.commit(&small_commit(50..60, 2 * HOP_US)).unwrap();
}

#[test]
fn an_older_generation_can_no_longer_commit() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut first) = small_run(directory.path());
    let mut second = Store::open(&path, IMPATIENT).unwrap();
    assert_eq!((first.generation(), second.generation()), (1, 2));
    let before = dump(&path);
    let next = small_commit(50..60, 2 * HOP_US);
    let error = first.commit(&next).unwrap_err();
    assert!(
        matches!(error.trouble, Trouble::Superseded { found: 2, own: 1 }),
        "{error}"
    );
    assert_eq!(dump(&path), before);
    second.commit(&next).unwrap();
}

#[test]
fn a_second_outcome_for_a_frame_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut store) = small_run(directory.path());
    let before = dump(&path);
    let error = store.commit(&small_commit(49..60, 2 * HOP_US)).unwrap_err();
    assert!(error.to_string().contains("UNIQUE"), "{error}");
    assert_eq!(dump(&path), before);
    store.commit(&small_commit(50..60, 2 * HOP_US)).unwrap();
}

#[test]
fn names_of_a_failed_commit_are_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut store) = small_run(directory.path());
    let mut new_camera = small_commit(50..60, 2 * HOP_US);
    new_camera.next_seq.insert("zz".into(), u64::MAX);
    let error = store.commit(&new_camera).unwrap_err();
    assert!(error.to_string().contains("18446744073709551615"), "{error}");
    new_camera.next_seq.insert("zz".into(), 3);
    store.commit(&new_camera).unwrap();
    drop(store);
    assert_eq!(
        Store::open(&path, IMPATIENT)
            .unwrap()
            .resume_point("zz")
            .unwrap()
            .next_seq,
        3
    );
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (path, store) = small_run(directory.path());
    store
        .connection
        .execute("UPDATE meta SET schema_version = 7", [])
        .unwrap();
    drop(store);
    let bytes = std::fs::read(&path).unwrap();
    let words = "its schema has version 7, and this version of intakt knows 1";
    refused(Store::open(&path, IMPATIENT), words);
    refused(Store::open_read_only(&path, IMPATIENT), words);
    refused(Store::create(&path, "test", IMPATIENT), words);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn what_is_no_run_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let foreign = directory.path().join("foreign.sqlite");
    Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    let text = directory.path().join("text.sqlite");
    std::fs::write(&text, "no database, but long enough to have a header. ".repeat(100)).unwrap();
    for (path, words) in [(&foreign, "of another program"), (&text, "no SQLite database")] {
        let bytes = std::fs::read(path).unwrap();
        refused(Store::open(path, IMPATIENT), words);
        refused(Store::open_read_only(path, IMPATIENT), words);
        refused(Store::create(path, "test", IMPATIENT), words);
        assert_eq!(std::fs::read(path).unwrap(), bytes);
    }
    let missing = directory.path().join("missing.sqlite");
    refused(Store::open(&missing, IMPATIENT), "there is no such file");
    assert!(!missing.exists());
    let nowhere = directory.path().join("no directory/run.sqlite");
    refused(Store::create(&nowhere, "test", IMPATIENT), "cannot be opened");
}

#[test]
fn a_run_is_not_overwritten_but_a_cut_creation_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let (path, store) = small_run(directory.path());
    refused(Store::create(&path, "again", IMPATIENT), "holds a run already");
    drop(store);
    assert_eq!(Store::open(&path, IMPATIENT).unwrap().committed_frontier_us(), HOP_US);
    let cut = directory.path().join("cut.sqlite");
    std::fs::write(&cut, "").unwrap();
    refused(Store::open(&cut, IMPATIENT), "it is empty");
    assert_eq!(
        Store::create(&cut, "test", IMPATIENT).unwrap().committed_frontier_us(),
        0
    );
}

#[test]
fn a_store_that_must_not_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (path, store) = small_run(directory.path());
    let before = dump(&path);
    drop(store);
    let mut reader = Store::open_read_only(&path, IMPATIENT).unwrap();
    let error = reader.commit(&small_commit(50..60, 2 * HOP_US)).unwrap_err();
    assert!(matches!(error.trouble, Trouble::ReadOnly), "{error}");
    assert_eq!(dump(&path), before);
}

/// Every byte of a damaged store is read without a panic: it is refused, or rows come and then a clear error.
#[test]
fn a_damaged_store_is_an_error_and_never_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    let (path, store) = small_run(directory.path());
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let damaged = directory.path().join("damaged.sqlite");
    let mut n_errors = 0;
    let mut random = super::support::Random(5);
    for attempt in 0..150 {
        let mut bytes = whole.clone();
        if attempt % 3 == 0 {
            bytes.truncate(random.below(whole.len() as u64) as usize);
        } else {
            let at = random.below(whole.len() as u64 - 64) as usize;
            bytes[at..at + 64]
                .iter_mut()
                .for_each(|byte| *byte = random.next() as u8);
        }
        std::fs::write(&damaged, &bytes).unwrap();
        let read = Store::open_read_only(&damaged, IMPATIENT)
            .and_then(|store| store.query(&OutcomeFilter::default()).collect::<Result<Vec<_>, _>>());
        if let Err(error) = read {
            n_errors += 1;
            assert!(error.to_string().contains("damaged.sqlite"), "{error}");
        }
    }
    assert!(n_errors > 50, "{n_errors} of 150");
}
