//! The cameras of the simulated line.

use std::ops::Range;
use std::sync::Arc;

use intakt_pipelines::sources::synthetic::{Synthetic, SyntheticCamera, SyntheticLine};
use toml::Spanned;

use super::typed::TypedCamera;
use super::{Opened, Reader};

/// Frames of a camera whose file states none: more than a day of its event time.
const FRAMES_MAX: u64 = 1_000_000;

/// Seed of a line whose file states none.
const SEED_DEFAULT: u64 = 1;

impl Reader<'_> {
    /// A camera of the simulated line.
    pub(super) fn synthetic_camera(
        &mut self,
        entry: &TypedCamera,
        name: Arc<str>,
        span: &Range<usize>,
    ) -> Option<Opened> {
        let path = entry.path.as_ref().map(|path| ("path", path.span()));
        let url = entry.url.as_ref().map(|url| ("url", url.span()));
        for (key, span) in path.into_iter().chain(url) {
            self.problem(&span, key, "a source of kind \"synthetic\" has a `scene` instead");
        }
        let frames = self.within("frames", &entry.frames, 1..FRAMES_MAX + 1);
        let seed = entry.seed.as_ref().map_or(SEED_DEFAULT, |seed| *seed.get_ref());
        let scene = self.scene(entry.scene.as_ref(), span)?;
        let line = Arc::new(SyntheticLine::new(seed));
        let words = format!("synthetic {}, seed {seed}", scene.name());
        let source = Synthetic::new(name, line, scene, frames.unwrap_or(FRAMES_MAX));
        Some((Box::new(source), words, frames))
    }

    fn scene(&mut self, typed: Option<&Spanned<String>>, span: &Range<usize>) -> Option<SyntheticCamera> {
        let scenes = SyntheticCamera::ALL.map(SyntheticCamera::name).join("\", \"");
        let Some(typed) = typed else {
            let what = format!("a source of kind \"synthetic\" needs one of \"{scenes}\"");
            self.problem(span, "scene", &what);
            return None;
        };
        let scene = SyntheticCamera::by_name(typed.get_ref());
        let scene = scene.ok_or_else(|| format!("there is none called \"{}\", only \"{scenes}\"", typed.get_ref()));
        self.opened(&typed.span(), "scene", scene)
    }
}
