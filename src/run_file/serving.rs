//! The server of a run, and the cameras that need one.

use std::ops::Range;
use std::sync::Arc;

use intakt_pipelines::sources::{SystemClock, posted};
use toml::Spanned;

use super::typed::{SourceKind, TypedCamera, TypedServer};
use super::{Opened, Reader};
use crate::cli::ServerArgs;
use crate::server::{Listen, Tokens};

impl Reader<'_> {
    /// Where to listen: as the flags say, or the file, whose server is that of process 0.
    pub(super) fn listen(
        &mut self,
        typed: Option<&TypedServer>,
        flags: &ServerArgs,
        cameras: &[Spanned<TypedCamera>],
    ) -> Option<Listen> {
        if flags.listen.is_none() && !self.place.reads(0) {
            return None;
        }
        let in_file = typed.and_then(|server| server.listen.as_ref());
        let address = match (&flags.listen, in_file) {
            (Some(flag), _) => Some((flag.clone(), None)),
            (None, Some(listen)) => Some((listen.get_ref().clone(), Some(listen.span()))),
            (None, None) => None,
        };
        let Some((address, span)) = address else {
            if let Some(file) = typed.and_then(|server| server.token_file.as_ref()) {
                self.problem(
                    &file.span(),
                    "token_file",
                    "nobody asks for it, because there is no `listen`",
                );
            }
            self.refuse_posting(cameras);
            return None;
        };
        let token = self.token(typed, flags)?;
        self.served(span, "listen", Listen::new(&address, token))
    }

    /// The token, if there is to be one; nothing at all if it cannot be had.
    fn token(&mut self, typed: Option<&TypedServer>, flags: &ServerArgs) -> Option<Option<Tokens>> {
        let in_file = typed.and_then(|server| server.token_file.as_ref());
        let (path, span) = match (&flags.token_file, in_file) {
            (Some(flag), _) => (flag.clone(), None),
            (None, Some(file)) => (self.base.join(file.get_ref()), Some(file.span())),
            (None, None) => return Some(None),
        };
        self.served(span, "token_file", Tokens::read(&path)).map(Some)
    }

    /// What was made of a key of the file, or of the flag that overrides it and has no line.
    fn served<S>(&mut self, span: Option<Range<usize>>, key: &str, made: Result<S, String>) -> Option<S> {
        let Some(span) = span else {
            let flag = format!("--{}", key.replace('_', "-"));
            return made
                .map_err(|reason| self.problems.push(format!("{flag}: {reason}")))
                .ok();
        };
        self.opened(&span, key, made)
    }

    fn refuse_posting(&mut self, cameras: &[Spanned<TypedCamera>]) {
        let posted = cameras.iter().map(|camera| &camera.get_ref().source);
        for source in posted.filter(|source| *source.get_ref() == SourceKind::Http) {
            let what = "a source of kind \"http\" needs a server to post to: `listen = \"127.0.0.1:8080\"` under `[server]`, or \
                        `--listen 127.0.0.1:8080`";
            self.problem(&source.span(), "source", what);
        }
    }

    /// A camera whose frames are posted.
    pub(super) fn posted_camera(&mut self, entry: &TypedCamera, name: Arc<str>, span: &Range<usize>) -> Option<Opened> {
        let path = entry.path.as_ref().map(|path| ("path", path.span()));
        for (key, span) in path
            .into_iter()
            .chain(entry.url.as_ref().map(|url| ("url", url.span())))
        {
            self.problem(
                &span,
                key,
                "a source of kind \"http\" has none: its frames are posted to this run's server",
            );
        }
        if entry.paced {
            self.problem(span, "paced", "a source of kind \"http\" comes at its own pace");
        }
        let words = format!("http POST /api/v1/cameras/{name}/frames");
        let made = posted(name, Arc::new(SystemClock));
        let (poster, source) = self.opened(span, "source", made)?;
        self.posters.push(poster);
        Some((Box::new(source), words, None))
    }
}
