//! Prints a page with a browser that has no window.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use intakt_pipelines::PipelineError;
use intakt_pipelines::sources::StopFlag;

/// Names under which systems have Chromium or Chrome.
const NAMES: [&str; 6] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
];

/// How long a browser may take: it starts in seconds, and the longest report takes some more.
const TIMEOUT: Duration = Duration::from_secs(120);

/// How often it is asked whether it has ended.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// What a browser says last is told where it fails, bytes.
const LAST_WORDS: usize = 600;

/// A browser that prints.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Browser(PathBuf);

impl Browser {
    /// The one that was named, or the first on `PATH`.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn find(named: Option<&Path>) -> Result<Self, PipelineError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
        Self::find_in(named, &directories).map_err(PipelineError::Refused)
    }

    fn find_in(named: Option<&Path>, directories: &[PathBuf]) -> Result<Self, String> {
        match named {
            Some(named) if named.is_file() => Ok(Self(named.to_owned())),
            Some(named) => Err(format!(
                "cannot print a PDF: there is no browser at \"{}\"",
                named.display()
            )),
            None => {
                let mut paths = NAMES
                    .iter()
                    .flat_map(|name| directories.iter().map(move |directory| directory.join(name)));
                let found = paths.find(|path| path.is_file());
                found.map(Self).ok_or_else(|| {
                    format!(
                        "cannot print a PDF: no browser was found on PATH (looked for {})\n  hint: install Chromium or Chrome, name one \
                         with `--browser`, or leave out `--pdf` and print the page from any browser",
                        NAMES.join(", ")
                    )
                })
            }
        }
    }

    /// Prints the page at `html` to `pdf`: the whole file or none of it.
    ///
    /// # Errors
    /// The browser cannot be started, fails, takes too long, or prints nothing.
    pub(super) fn print(&self, html: &Path, pdf: &Path) -> Result<(), PipelineError> {
        let refuse = |cause: String| {
            PipelineError::Refused(format!(
                "cannot print \"{}\" with {}: {cause}\n  hint: the page \"{}\" is written, and any browser prints it",
                pdf.display(),
                self.0.display(),
                html.display()
            ))
        };
        let page = fs::canonicalize(html).map_err(PipelineError::read(html))?;
        let profile = tempfile::tempdir().map_err(|error| refuse(format!("no temporary directory: {error}")))?;
        let mut beside = pdf.as_os_str().to_owned();
        beside.push(".partial");
        // The browser has a working directory of its own.
        let beside = std::path::absolute(PathBuf::from(beside)).map_err(PipelineError::write(pdf))?;
        let printed = self.run(&page, &beside, profile.path()).and_then(|()| {
            fs::rename(&beside, pdf).map_err(|error| format!("what it printed cannot be renamed: {error}"))
        });
        printed.map_err(|cause| {
            // Whatever was printed is of no use; if it cannot be removed either, the first error is the one to tell.
            let _ = fs::remove_file(&beside);
            refuse(cause)
        })
    }

    fn run(&self, page: &Path, pdf: &Path, profile: &Path) -> Result<(), String> {
        let said = profile.join("said.txt");
        let log = File::create(&said).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.0);
        command
            .args([
                "--headless",
                "--disable-gpu",
                "--disable-quic",
                "--disable-extensions",
                "--disable-sync",
                "--disable-background-networking",
                "--disable-component-update",
                "--no-first-run",
                "--no-pdf-header-footer",
            ])
            .arg(with_path("--user-data-dir=", profile))
            .arg(with_path("--print-to-pdf=", pdf));
        // The directory was just made by this process, so it has its user; root has no sandbox.
        if fs::metadata(profile).is_ok_and(|made| made.uid() == 0) {
            command.arg("--no-sandbox");
        }
        let child = command
            .arg(file_url(page))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("it cannot be started: {error}"))?;
        let ended = wait(child, TIMEOUT);
        let words = || last_words(&fs::read(&said).unwrap_or_default());
        match ended? {
            status if !status.success() => Err(format!("it ended with {status}: {}", words())),
            _ if fs::metadata(pdf).is_ok_and(|printed| printed.len() > 0) => Ok(()),
            _ => Err(format!("it printed nothing: {}", words())),
        }
    }
}

/// Waits for a process, and ends it if it takes too long.
fn wait(mut child: Child, timeout: Duration) -> Result<std::process::ExitStatus, String> {
    let (never, started) = (StopFlag::default(), Instant::now());
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        if started.elapsed() > timeout {
            // One that has ended meanwhile cannot be killed, and need not be.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it took more than {} s", timeout.as_secs_f64()));
        }
        never.wait(ASK_EVERY);
    }
}

fn with_path(flag: &str, path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from(flag);
    argument.push(path);
    argument
}

/// The URL of a file: bytes that may mean something in a URL are escaped.
fn file_url(path: &Path) -> String {
    let mut url = String::from("file://");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => url.push(char::from(*byte)),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

/// The end of what was said, on one line.
fn last_words(said: &[u8]) -> String {
    let end = &said[said.len().saturating_sub(LAST_WORDS)..];
    let words = String::from_utf8_lossy(end);
    let words: Vec<&str> = words.split_whitespace().collect();
    match words.is_empty() {
        true => "it said nothing".to_owned(),
        false => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_browser_on_the_path_is_taken_and_a_named_one_before_it() {
        let (empty, full) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let browser = full.path().join("google-chrome");
        fs::write(&browser, "").unwrap();
        let directories = [empty.path().to_owned(), full.path().to_owned()];
        assert_eq!(Browser::find_in(None, &directories), Ok(Browser(browser)));
        let named = full.path().join("mine");
        let missing = Browser::find_in(Some(&named), &directories).unwrap_err();
        assert!(missing.contains("there is no browser at"), "{missing}");
        fs::write(&named, "").unwrap();
        assert_eq!(Browser::find_in(Some(&named), &directories), Ok(Browser(named.clone())));
        let none = Browser::find_in(None, &directories[..1]).unwrap_err();
        assert!(
            none.contains("no browser was found") && none.contains("hint:"),
            "{none}"
        );
    }

    #[test]
    fn a_browser_that_hangs_is_ended() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let started = Instant::now();
        let error = wait(child, Duration::from_millis(10)).unwrap_err();
        assert!(
            error.contains("it took more than 0.01 s") && started.elapsed().as_secs() < 30,
            "{error}"
        );
    }

    #[test]
    fn what_means_something_in_a_url_is_escaped() {
        assert_eq!(file_url(Path::new("/a b/ü#?.html")), "file:///a%20b/%C3%BC%23%3F.html");
    }

    #[test]
    fn a_browser_that_prints_nothing_says_why_and_leaves_nothing() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let [browser, html, pdf] = ["browser", "page.html", "page.pdf"].map(|name| dir.path().join(name));
        fs::write(&html, "page").unwrap();
        fs::write(&pdf, "before").unwrap();
        fs::write(&browser, "#!/bin/sh\necho no display >&2\nexit 3\n").unwrap();
        fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).unwrap();
        let error = Browser(browser).print(&html, &pdf).unwrap_err().to_string();
        assert!(
            error.contains("no display") && error.contains("exit status: 3"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&pdf).unwrap(), "before");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
