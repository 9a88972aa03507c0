//! Who changed what: a JSON line for every change, beside the run, appended and never changed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use intakt_pipelines::Begun;
use intakt_pipelines::sources::{Clock, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::asked::{Wanted, cursor, forged, limit};
use super::problem::Refusal;
use super::routes::{Shared, SharedState};
use super::served::blocking;
use super::tokens::{Caller, Role};

/// Entries on a page.
const PAGE: usize = 100;
const PAGE_MAX: usize = 500;

/// Bytes of the file that one page looks at: the longest entry, with a hundred labels in it, is a tenth of it.
const BYTES_AT_ONCE: u64 = 1 << 20;

/// With what cursors begin.
const CURSOR: &str = "before";

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

/// A line of the audit log.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
struct Noted {
    /// Wall clock, microseconds since 1970.
    at_us: u64,
    /// What their token's line calls them; `local` without a token. Of what took effect: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Arc<str>>,
    /// Where they asked from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    address: Option<IpAddr>,
    /// threshold, detector, upload, lot, question, labels; or `took effect` and `failed`, of an earlier entry.
    what: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    camera: Option<Arc<str>>,
    /// What it was, where that is known.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    before: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    after: Value,
    /// The frame from which it is to hold, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_seq: Option<u64>,
    /// The entry that took effect or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<u64>,
    /// The first frame that it held for.
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<u64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Entries with their numbers, and before which further ones are.
type NotedPage = (Vec<(u64, Noted)>, Option<u64>);

impl Audit {
    /// The log in the file at `path`, which need not exist yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            waiting: Mutex::default(),
        }
    }

    /// Notes what somebody wants to change; it is on the disk when this returns. The number of the entry.
    fn note(&self, caller: &Caller, address: Option<IpAddr>, change: &Change) -> io::Result<u64> {
        self.append(&Noted {
            who: Some(caller.name.clone()),
            role: Some(caller.role.name().into()),
            address,
            camera: change.camera.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
            at_seq: change.at_seq,
            ..Noted::now(change.what)
        })
    }

    /// Notes that nothing came of an entry.
    fn failed(&self, of: u64, reason: &str) -> io::Result<u64> {
        self.append(&Noted {
            of: Some(of),
            reason: Some(reason.to_owned()),
            ..Noted::now("failed")
        })
    }

    /// Notes what took effect, and at which frame.
    pub(super) fn took_effect(&self, begun: Begun) -> io::Result<()> {
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
    fn read(&self, before: Option<u64>, most: usize) -> io::Result<NotedPage> {
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
            Some((*number, serde_json::from_slice(line).ok()?))
        });
        Ok((entries.collect(), (reads_on || skipped > 0).then_some(earliest)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Arc<str>, u32), u64>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
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

/// Who asks, from where.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    pub(super) caller: Caller,
    pub(super) address: Option<IpAddr>,
}

impl SharedState {
    /// Changes something: it is noted before, and where that cannot be, it is not changed. `change` gives the camera and the setup
    /// that it made, where it made one.
    pub(super) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        asking: Asking,
        what: Change,
        make: impl FnOnce() -> Result<(T, Option<(Arc<str>, u32)>), String> + Send + 'static,
    ) -> Result<T, Refusal> {
        let shared = self.clone();
        let changed = move || {
            let Some(audit) = &shared.served.audit else {
                return make().map(|(made, _)| made).map_err(Refusal::busy);
            };
            let noted = audit.note(&asking.caller, asking.address, &what).map_err(unnoted)?;
            // Held, so that what takes effect at once finds its entry.
            let mut waiting = audit.lock();
            match make() {
                Ok((made, setup)) => {
                    waiting.extend(setup.map(|setup| (setup, noted)));
                    Ok(made)
                }
                Err(reason) => {
                    // It has failed anyway; what cannot be noted now is that.
                    let _ = audit.failed(noted, &reason);
                    Err(Refusal::busy(reason))
                }
            }
        };
        blocking(changed).await?
    }
}

fn unnoted(error: io::Error) -> Refusal {
    Refusal::new(
        StatusCode::INSUFFICIENT_STORAGE,
        format!("nothing was changed, because it cannot be noted in the audit log: {error}"),
    )
}

/// Which entries are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedEntries {
    /// Entries on a page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(pattern = r"^before\.[0-9]{1,18}$")]
    cursor: Option<String>,
}

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    /// The newest first.
    entries: Vec<Entry>,
    /// What to give as `cursor` for the next page; null when there is none.
    next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Entry {
    /// Its number; `of` of a later entry is one.
    id: u64,
    #[serde(flatten)]
    line: Noted,
}

/// Who changed what, the newest first.
#[utoipa::path(get, path = "/audit", tag = "changes", params(WantedEntries), responses(
    (status = 200, body = AuditPage),
    (status = 409, description = "The run is not kept"),
))]
pub(super) async fn audit(
    State(shared): State<Shared>,
    Wanted(wanted): Wanted<WantedEntries>,
) -> Result<Json<AuditPage>, Refusal> {
    let limit = limit(wanted.limit, PAGE, PAGE_MAX)?;
    let before = match wanted.cursor.as_deref().map(|typed| cursor(typed, CURSOR)) {
        Some(None) => return Err(forged()),
        Some(Some([before])) => Some(before),
        None => None,
    };
    let Some(audit) = shared.served.audit.clone() else {
        let error =
            "the run is neither kept nor recorded, so that changes are noted nowhere: start it with `--run DIR`";
        return Err(Refusal::new(StatusCode::CONFLICT, error.to_owned()));
    };
    let (entries, next) = blocking(move || audit.read(before, limit)).await?.map_err(|error| {
        let error = format!("cannot read the audit log: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    })?;
    let entries = entries.into_iter().map(|(id, line)| Entry { id, line });
    Ok(Json(AuditPage {
        entries: entries.collect(),
        next: next.map(|next| format!("{CURSOR}.{next}")),
    }))
}

/// Whether a role may do what another one is needed for.
pub(super) fn may(caller: &Caller, needed: Role) -> Result<(), Refusal> {
    match caller.role >= needed {
        true => Ok(()),
        false => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            format!(
                "this needs the role {}, and the token that was shown has the role {}",
                needed.name(),
                caller.role.name()
            ),
        )),
    }
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
            found.extend(entries.into_iter().map(|(_, line)| line.after.as_u64().unwrap()));
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
        let numbers: Vec<u64> = entries.iter().map(|(number, _)| *number).collect();
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
        audit.took_effect(begun.clone()).unwrap();
        audit.took_effect(begun).unwrap();
        let (entries, _) = audit.read(None, 10).unwrap();
        let effects: Vec<_> = entries.iter().filter(|(_, line)| line.of == Some(noted)).collect();
        assert_eq!(effects.len(), 1);
        assert_eq!(effects[0].1.frame, Some(7));
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
