//! Who changed what: a JSON line for every change, beside the run, appended and never changed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use intakt_pipelines::Begun;
use intakt_pipelines::sources::{Clock, SystemClock};
use serde_json::Value;

use super::tokens::Caller;
use super::wire::audit::{Entry, Noted};

/// Bytes of the file that one page looks at: the longest entry, with a hundred labels in it, is a tenth of it.
const BYTES_AT_ONCE: u64 = 1 << 20;

/// The audit log of a run.
pub(crate) struct Audit {
    path: PathBuf,
    /// The entries of setups that have not taken effect, by camera and setup.
    waiting: Mutex<BTreeMap<(Arc<str>, u32), u64>>,
}

/// Something that somebody wants to change.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub(super) what: &'static str,
    pub(super) camera: Option<Arc<str>>,
    /// What it was, where that is known.
    pub(super) before: Value,
    pub(super) after: Value,
    /// The frame from which it is to hold.
    pub(super) at_seq: Option<u64>,
}

impl Audit {
    /// The log in the file at `path`, which need not exist yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            waiting: Mutex::default(),
        }
    }

    /// Notes what somebody wants to change; it is on the disk when this returns. The number of the entry.
    pub(super) fn note(&self, caller: &Caller, address: Option<IpAddr>, change: &Change) -> io::Result<u64> {
        self.append(&Noted::asked(caller, address, change))
    }

    /// Notes that nothing came of an entry.
    pub(super) fn failed(&self, of: u64, reason: &str) -> io::Result<u64> {
        self.append(&Noted {
            of: Some(of),
            reason: Some(reason.to_owned()),
            ..Noted::now("failed")
        })
    }

    /// Notes what took effect, and at which frames. What cannot be noted took effect nevertheless, as its entry says that it would.
    pub(super) fn took_effect(&self, begun: Vec<Begun>) {
        let _ = begun.into_iter().try_for_each(|begun| self.note_effect(begun));
    }

    fn note_effect(&self, begun: Begun) -> io::Result<()> {
        let of = self.lock().remove(&(begun.camera.clone(), begun.setup));
        if of.is_some() {
            self.append(&Noted {
                of,
                camera: Some(begun.camera),
                frame: Some(begun.seq),
                ..Noted::now("took effect")
            })?;
        }
        Ok(())
    }

    /// Appends a line as a whole or not at all; its number is where it begins.
    fn append(&self, line: &Noted) -> io::Result<u64> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&self.path)?;
        file.lock()?;
        let end = file.metadata()?.len();
        let is_whole = end == 0 || byte_at(&mut file, end - 1)? == b'\n';
        let begins = if is_whole { end } else { end + 1 };
        if !is_whole {
            // What a power loss left of a line stays a line of its own.
            bytes.insert(0, b'\n');
        }
        let written = file.write_all(&bytes).and_then(|()| file.sync_data());
        if written.is_err() {
            // A disk that is full took a part of it.
            let _ = file.set_len(end);
        }
        written.map(|()| begins)
    }

    /// The `most` newest entries before `before`, the newest first, and whether there may be earlier ones.
    pub(super) fn read(&self, before: Option<u64>, most: usize) -> io::Result<(Vec<Entry>, Option<u64>)> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), None)),
            file => file?,
        };
        let end = file.metadata()?.len().min(before.unwrap_or(u64::MAX));
        let begin = end.saturating_sub(BYTES_AT_ONCE);
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.take(end - begin).read_to_end(&mut bytes)?;
        // A line that begins before is on the next page.
        let mut first = match begin {
            0 => 0,
            _ => bytes
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(bytes.len(), |at| at + 1),
        };
        let reads_on = begin > 0;
        let mut lines = Vec::new();
        while let Some(length) = bytes[first..].iter().position(|byte| *byte == b'\n') {
            lines.push((begin + first as u64, &bytes[first..first + length]));
            first += length + 1;
        }
        let skipped = lines.len().saturating_sub(most);
        let earliest = lines.get(skipped).map_or(begin, |(number, _)| *number);
        let entries = lines[skipped..].iter().rev().filter_map(|(number, line)| {
            // A line that was cut is no entry.
            let line = serde_json::from_slice(line).ok()?;
            Some(Entry { id: *number, line })
        });
        Ok((entries.collect(), (reads_on || skipped > 0).then_some(earliest)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<(Arc<str>, u32), u64>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is noted of a change where no file is there for it, as JSON.
pub(super) fn line(caller: &Caller, address: Option<IpAddr>, change: &Change) -> String {
    serde_json::to_string(&Noted::asked(caller, address, change)).expect("an entry is JSON")
}

impl Noted {
    fn asked(caller: &Caller, address: Option<IpAddr>, change: &Change) -> Self {
        Self {
            who: Some(caller.name.clone()),
            role: Some(caller.role.name().into()),
            address,
            camera: change.camera.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
            at_seq: change.at_seq,
            ..Self::now(change.what)
        }
    }

    fn now(what: &str) -> Self {
        Self {
            at_us: SystemClock.now_us(),
            who: None,
            role: None,
            address: None,
            what: what.into(),
            camera: None,
            before: Value::Null,
            after: Value::Null,
            at_seq: None,
            of: None,
            frame: None,
            reason: None,
        }
    }
}

fn byte_at(file: &mut File, at: u64) -> io::Result<u8> {
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: u64) -> Change {
        Change {
            what: "threshold",
            camera: Some("dock".into()),
            after: n.into(),
            ..Change::default()
        }
    }

    #[test]
    fn pages_of_the_log_are_complete_while_it_grows() {
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::new(directory.path().join("audit.jsonl"));
        assert!(matches!(audit.read(None, 10).unwrap(), (entries, None) if entries.is_empty()));
        let note = |n| audit.note(&Caller::local(), None, &change(n)).unwrap();
        for n in 0..25 {
            note(n);
        }
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let (entries, next) = audit.read(before, 10).unwrap();
            found.extend(entries.into_iter().map(|entry| entry.line.after.as_u64().unwrap()));
            note(99);
            before = next;
            if before.is_none() {
                break;
            }
        }
        assert!(found.into_iter().eq((0..25).rev()));
    }

    #[test]
    fn a_cut_line_costs_nothing_but_itself_and_forged_places_nothing_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let audit = Audit::new(path.clone());
        let first = audit.note(&Caller::local(), None, &change(1)).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"at_us\":7,").unwrap();
        let second = audit.note(&Caller::local(), None, &change(2)).unwrap();
        let (entries, next) = audit.read(None, 10).unwrap();
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.id).collect();
        assert_eq!((numbers, next), (vec![second, first], None));
        for place in [0, 1, first + 3, second, second + 1, u64::MAX] {
            audit.read(Some(place), 10).unwrap();
        }
    }

    #[test]
    fn a_setup_that_took_effect_is_noted_once_with_its_frame() {
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::new(directory.path().join("audit.jsonl"));
        let noted = audit.note(&Caller::local(), None, &change(1)).unwrap();
        audit.lock().insert(("dock".into(), 1), noted);
        let begun = Begun {
            camera: "dock".into(),
            setup: 1,
            seq: 7,
        };
        audit.took_effect(vec![begun.clone(), begun.clone()]);
        audit.took_effect(vec![begun]);
        let (entries, _) = audit.read(None, 10).unwrap();
        let effects: Vec<_> = entries.iter().filter(|entry| entry.line.of == Some(noted)).collect();
        assert_eq!(effects.len(), 1);
        assert_eq!(effects[0].line.frame, Some(7));
    }

    #[test]
    fn a_log_that_cannot_be_written_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let audit = Audit::new(directory.path().join("none").join("audit.jsonl"));
        assert!(audit.note(&Caller::local(), None, &change(1)).is_err());
        // A device that is always full.
        let full = Audit::new("/dev/full".into());
        assert!(full.note(&Caller::local(), None, &change(1)).is_err());
    }
}
