//! Whether a run that goes on finds the files that it has judged.

use std::path::{Path, PathBuf};

use intakt_pipelines::store::Store;
use intakt_pipelines::{Camera, PipelineError};

/// Frames of a camera that are compared, the last ones. If these are where they were, those that follow are too; and what
/// overtook an earlier frame is among them.
const COMPARED: u32 = 64;

/// Refuses to go on with cameras whose files are passed over by their number, where these are no longer those that were judged:
/// some frames would be judged twice, or never.
pub(super) fn refuse_changed_files(store: &Store, cameras: &[Camera]) -> Result<(), PipelineError> {
    for camera in cameras.iter().filter(|camera| !camera.source.is_live()) {
        let Some(files) = camera.source.files() else { continue };
        let name = camera.source.camera();
        for (seq, origin) in store.last_origins(name, COMPARED)? {
            let now = usize::try_from(seq).ok().and_then(|seq| files.get(seq));
            if !now.is_some_and(|file| is_same(&origin, file)) {
                return Err(changed(name, seq, &origin, now));
            }
        }
    }
    Ok(())
}

/// Whether a frame is the same file. Its directory may have been moved, or be named from elsewhere.
fn is_same(origin: &str, file: &Path) -> bool {
    file.to_string_lossy() == origin || Path::new(origin).file_name() == file.file_name()
}

fn changed(camera: &str, seq: u64, origin: &str, now: Option<&PathBuf>) -> PipelineError {
    let now = match now {
        Some(file) => format!("is \"{}\" now", file.display()),
        None => "there is no file for it now".to_owned(),
    };
    PipelineError::Refused(format!(
        "cannot go on with camera \"{camera}\": frame {seq} was \"{origin}\" when it was judged, and {now}\n  hint: files that were \
         judged are passed over by their number. Take out what came in between and put back what is gone, or keep the files that are \
         there now as a run in another directory"
    ))
}
