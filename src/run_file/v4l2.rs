//! The cameras at `/dev/videoN`.

use std::ops::Range;
use std::sync::Arc;

use super::typed::TypedCamera;
use super::{Opened, Reader};

#[cfg(not(all(feature = "v4l2", target_os = "linux")))]
impl Reader<'_> {
    /// Refuses a camera at `/dev/videoN`, which this program cannot read.
    pub(super) fn device_camera(&mut self, entry: &TypedCamera, _: Arc<str>, _: &Range<usize>) -> Option<Opened> {
        let what = "this program was built without cameras of kind \"v4l2\"; on Linux, `cargo build --release --features v4l2` \
                    builds one with them";
        self.problem(&entry.source.span(), "source", what);
        None
    }
}

#[cfg(all(feature = "v4l2", target_os = "linux"))]
impl Reader<'_> {
    /// A camera at `/dev/videoN`.
    pub(super) fn device_camera(&mut self, entry: &TypedCamera, name: Arc<str>, span: &Range<usize>) -> Option<Opened> {
        use intakt_pipelines::sources::{SystemClock, V4l2};

        if let Some(url) = &entry.url {
            self.problem(&url.span(), "url", "a source of kind \"v4l2\" has a `path` instead");
        }
        if entry.paced {
            self.problem(span, "paced", "a source of kind \"v4l2\" comes at its own pace");
        }
        let options = self.device_options(entry);
        let Some(typed) = &entry.path else {
            let what = "a source of kind \"v4l2\" needs one, like \"/dev/video0\"";
            self.problem(span, "path", what);
            return None;
        };
        let path = self.base.join(typed.get_ref());
        let words = format!("v4l2 {}", path.display());
        let source = V4l2::new(name, &path, options, Arc::new(SystemClock));
        let source = self.opened(&typed.span(), "path", source)?;
        Some((Box::new(source), words, None))
    }

    fn device_options(&mut self, entry: &TypedCamera) -> intakt_pipelines::sources::V4l2Options {
        /// Columns, rows and pictures a second that can be asked for.
        const SIZE_PX: Range<u32> = 1..65_537;
        const FPS: Range<u32> = 1..1_001;

        let width = self.within("width", &entry.width, SIZE_PX);
        let height = self.within("height", &entry.height, SIZE_PX);
        match (&entry.width, &entry.height) {
            (Some(width), None) => self.problem(&width.span(), "width", "there has to be a `height` too"),
            (None, Some(height)) => self.problem(&height.span(), "height", "there has to be a `width` too"),
            _ => {}
        }
        intakt_pipelines::sources::V4l2Options {
            size_px: width.zip(height),
            fps: self.within("fps", &entry.fps, FPS),
            ..Default::default()
        }
    }
}
