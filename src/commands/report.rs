//! `intakt report`: a run or an evaluation as one file to read, print or mail.

mod pdf;
mod pictures;

use std::fs;
use std::path::Path;

use intakt_pipelines::sinks::{LiveStatus, STATUS_FILE_NAME};
use intakt_pipelines::{PipelineError, write_atomically};

use self::pdf::Browser;
use super::run_directory::{RunDirectory, about};
use super::settings;
use crate::cli::{MachineArgs, PrintArgs, ReportArgs};
use crate::document::{Document, KnownRun, of_evaluation, of_run};
use crate::inspected::Inspected;
use crate::{Outcome, terminal};

/// Writes the report.
pub(crate) fn run(args: &ReportArgs) -> Result<Outcome, PipelineError> {
    let writing = Writing::of(&args.output, &args.print)?;
    let subject = &args.subject;
    let document = if subject.is_dir() {
        writing.refuse_overwriting_in(subject)?;
        run_document(subject)?
    } else {
        writing.refuse_overwriting(subject)?;
        let json = fs::read(subject).map_err(PipelineError::read(subject))?;
        of_evaluation(&json, subject)?
    };
    writing.write(&document)?;
    Ok(Outcome::Passed)
}

/// What is known of a run in its directory.
fn run_document(directory: &Path) -> Result<Document, PipelineError> {
    let files = RunDirectory(directory);
    if !files.store().exists() {
        return Err(PipelineError::Refused(format!(
            "cannot report on \"{}\": it is no directory of a run, there is no run.sqlite in it\n  hint: name what `inspect --run` was \
             given, or the file that `evaluate --json` wrote",
            directory.display()
        )));
    }
    let summary = files.open()?.summary()?;
    // What is damaged beside the store is missing in the report, and does not keep it from being made.
    let mut inspected = Inspected::of_run(directory).unwrap_or_else(|error| {
        terminal::say(&format!(
            "note: {error}; what it says of detectors and machine is missing in the report"
        ));
        None
    });
    if let Some(noted) = &mut inspected {
        noted.describe_switched(directory, summary.detectors.values().map(|used| &used.given));
    }
    // A run of an earlier version has no plan that could be read; its times are told by UTC.
    let shifts = about(&files).ok().and_then(|(figures, _)| figures.plan.shifts);
    let options = settings::run_options(MachineArgs {
        workers: None,
        pool: None,
    })?;
    let pictures = pictures::of(&summary.notable, inspected.as_ref(), directory, &options);
    Ok(of_run(KnownRun {
        pictures,
        summary,
        inspected,
        status: status(directory),
        utc_offset_minutes: shifts.map_or(0, |shifts| shifts.utc_offset_minutes),
    }))
}

/// What a run last said of itself; nothing where it has not, or not whole.
fn status(directory: &Path) -> Option<LiveStatus> {
    let json = fs::read(directory.join(STATUS_FILE_NAME)).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Where a report is written to, once it is known that it can be.
pub(crate) struct Writing<'a> {
    html: &'a Path,
    pdf: Option<(&'a Path, Browser)>,
}

impl<'a> Writing<'a> {
    /// Looks whether `html` can be written and what `print` asks for can be done: before the work, not after.
    pub(crate) fn of(html: &'a Path, print: &'a PrintArgs) -> Result<Self, PipelineError> {
        settings::refuse_unwritable(html)?;
        let pdf = match &print.pdf {
            None => None,
            Some(pdf) => {
                settings::refuse_unwritable(pdf)?;
                refuse_same(html, pdf)?;
                Some((pdf.as_path(), Browser::find(print.browser.as_deref())?))
            }
        };
        Ok(Self { html, pdf })
    }

    /// Refuses to write where something is that the report is made from.
    pub(crate) fn refuse_overwriting(&self, input: &Path) -> Result<(), PipelineError> {
        let mut outputs = self.outputs();
        outputs.try_for_each(|output| settings::refuse_overwriting(output, [input]))
    }

    /// The same for all files of a directory.
    fn refuse_overwriting_in(&self, directory: &Path) -> Result<(), PipelineError> {
        let mut outputs = self.outputs();
        outputs.try_for_each(|output| settings::refuse_overwriting_in(output, directory))
    }

    fn outputs(&self) -> impl Iterator<Item = &Path> {
        [self.html].into_iter().chain(self.pdf.as_ref().map(|(pdf, _)| *pdf))
    }

    /// Writes the page, and prints it. What does not add up is told, in the page too.
    pub(crate) fn write(&self, document: &Document) -> Result<(), PipelineError> {
        write_atomically(self.html, document.html().as_bytes())?;
        if let Some((pdf, browser)) = &self.pdf {
            browser.print(self.html, pdf)?;
        }
        let outputs: Vec<String> = self.outputs().map(|path| path.display().to_string()).collect();
        terminal::say(&format!("wrote {}", outputs.join(" and ")));
        match document.contradictions().first() {
            None => Ok(()),
            Some(first) => Err(PipelineError::Refused(format!(
                "{first}\n  note: the report is written, and says so"
            ))),
        }
    }
}

fn refuse_same(html: &Path, pdf: &Path) -> Result<(), PipelineError> {
    if html == pdf {
        return Err(PipelineError::Refused(format!(
            "cannot write the page and the PDF to \"{}\": give each a file of its own",
            html.display()
        )));
    }
    Ok(())
}
