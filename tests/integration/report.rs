//! `intakt report`: a run or an evaluation as one file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::support::{Args, BLOT_PX, INTAKT, Ran, SHARED, intakt, label};

/// A camera's name that would be a picture and a script, if a page took it as it is.
const HOSTILE: &str = "<img src=x onerror=alert(1)>&\"'";

/// A run of two cameras: eight frames of which two have a blot and one is torn, and four normal ones.
fn kept_run() -> (TempDir, PathBuf) {
    let dir = tempdir().unwrap();
    let [left, right, run] = ["left", "right", "run"].map(|name| dir.path().join(name));
    for (camera, frames) in [(&left, 7), (&right, 4)] {
        fs::create_dir(camera).unwrap();
        for frame in 0..frames {
            let is_blotted = camera == &left && frame % 3 == 2;
            let image = if is_blotted { &SHARED.blotted } else { &SHARED.normal };
            fs::copy(image, camera.join(format!("{frame}.png"))).unwrap();
        }
    }
    fs::write(left.join("7.png"), b"torn").unwrap();
    let run_file = dir.path().join("line.toml");
    let camera = |name: &str, path: &str| {
        format!("[[camera]]\nname = '''{name}'''\nsource = \"directory\"\npath = \"{path}\"\n")
    };
    let text = format!(
        "detector = \"{}\"\n{}{}",
        SHARED.detector.display(),
        camera(HOSTILE, "left"),
        camera("right", "right")
    );
    fs::write(&run_file, text).unwrap();
    intakt(&[&"inspect", &run_file, &"--run", &run, &"--jsonl", &"/dev/null"]).expect(1);
    (dir, run)
}

/// The report on a run or an evaluation.
fn report(subject: &Path) -> String {
    let dir = tempdir().unwrap();
    let html = dir.path().join("report.html");
    intakt(&[&"report", &subject, &"-o", &html]).expect(0);
    fs::read_to_string(html).unwrap()
}

/// Removes the pictures that were kept beside a run.
fn forget_pictures(run: &Path) {
    for file in ["pictures.sqlite", "pictures.sqlite-wal", "pictures.sqlite-shm"] {
        // What SQLite writes beside it may be gone already.
        let _ = fs::remove_file(run.join(file));
    }
}

/// How many pictures are in it: each frame is there twice.
fn pictures(html: &str) -> usize {
    html.matches("src=\"data:image/jpeg;base64,").count()
}

#[track_caller]
fn assert_says(html: &str, fragments: &[&str]) {
    for fragment in fragments {
        assert!(html.contains(fragment), "`{fragment}` is not in the report");
    }
}

/// Asks nothing of anybody: no other file, no network, no script.
#[track_caller]
fn assert_stands_alone(html: &str) {
    for forbidden in [
        "http://", "https://", "<script", "@import", "<link", "<iframe", "file://",
    ] {
        assert!(!html.contains(forbidden), "`{forbidden}` is in the report");
    }
    let sources = html.split(" src=\"").skip(1);
    assert!(
        sources
            .into_iter()
            .all(|source| source.starts_with("data:image/jpeg;base64,"))
    );
    let urls = html.split("url(").skip(1);
    assert!(urls.into_iter().all(|url| url.starts_with('#')));
}

#[test]
fn a_report_on_a_run_counts_every_frame_and_says_what_labels_say() {
    let (_dir, run) = kept_run();
    let html = report(&run);
    assert_says(
        &html,
        &[
            "captured 12 = judged 11 + unreadable 1 + dropped 0",
            "judged 11 = passed 9 + rejected 2",
            "frames that the cameras delivered 12 = captured 12",
            "2 of 12 frames (16.7 %) were rejected",
            "Nobody has labelled frames",
            "What its threshold guarantees.",
            "held-out normal scores",
            "Rates over time",
        ],
    );
    assert_eq!(pictures(&html), 2 * (2 + 6), "what was rejected, and six that passed");
    assert_stands_alone(&html);

    for (seq, truth) in [
        (2, "anomalous:blot"),
        (5, "normal"),
        (0, "anomalous:<b>deep</b>"),
        (1, "normal"),
        (7, "normal"),
    ] {
        label(&run, HOSTILE, seq, truth).expect(0);
    }
    label(&run, "right", 999, "normal").expect(0);
    let html = report(&run);
    assert_says(
        &html,
        &[
            "frames labelled 6 = judged 4 + unreadable or dropped 1 + not of this run 1",
            "labelled and judged 4 = defects rejected 1 + false rejects 1 + good parts passed 1 + escapes 1",
            "bad parts 2 = in classes 2",
            "1 of 2 good parts (50.0 %) were rejected, and 1 of 2 bad ones (50.0 %) passed",
            "ROC",
            "&lt;b&gt;deep&lt;/b&gt;",
        ],
    );
    assert_eq!(
        pictures(&html),
        2 * (1 + 1 + 2 + 6),
        "the false reject and the escape, and those as before"
    );
    assert!(!html.contains("does not add up"));
}

#[test]
fn a_report_says_with_what_where_and_how_fast_it_was_inspected_and_what_did_not_count() {
    let dir = tempdir().unwrap();
    let run = dir.path().join("run");
    // The blot is smaller than what counts.
    let args: &Args<'_> = &[
        &"inspect",
        &SHARED.detector,
        &SHARED.normal,
        &SHARED.blotted,
        &"--min-area",
        &"60000",
        &"--run",
        &run,
    ];
    let verdicts = intakt(args).verdicts();
    let html = report(&run);
    let section = |heading: &str| {
        let section = html.split("<h2>").find(|section| section.starts_with(heading));
        section
            .unwrap_or_else(|| panic!("there is no \"{heading}\""))
            .to_owned()
    };
    let id = verdicts[0]["detector"].as_str().unwrap();
    let threshold = verdicts[0]["threshold"].as_f64().unwrap();
    let with = section("What was inspected");
    let recipe = [
        "PaDiM",
        "builtin",
        "64 × 64 px",
        "Training list",
        "Weights",
        "conformal quantile",
    ];
    assert_says(
        &with,
        &[
            &format!("Detector <code>{id}</code>"),
            &format!("threshold {threshold:.4}"),
        ],
    );
    assert_says(&with, &recipe);
    assert_says(&section("Scores"), &["all 2 judged frames", "scores of 2 frames"]);
    let of = |verdict: &Value| verdict["suppressed"].as_array().unwrap().len();
    let (regions, frames) = (
        of(&verdicts[1]),
        verdicts.iter().filter(|verdict| of(verdict) > 0).count(),
    );
    assert_eq!((of(&verdicts[0]), frames), (0, 1), "{verdicts:?}");
    assert_says(
        &section("Suppressed regions"),
        &[&format!("<td>{regions}</td><td>{frames}</td>")],
    );
    let stages = section("How long each stage took");
    for stage in ["decode", "embed", "score", "suppress", "frame"] {
        let row = format!("<th scope=\"row\">{stage}</th><td>2</td>");
        assert_says(&stages, &[&row, &format!("aria-label=\"{stage}: median ")]);
    }
    let version = format!("<th scope=\"row\">Intakt</th><td>{}</td>", env!("CARGO_PKG_VERSION"));
    assert_says(&section("Environment"), &[&version, "Processor", "Cores", "Memory"]);
}

#[test]
fn a_hostile_name_stays_a_name() {
    let (_dir, run) = kept_run();
    let html = report(&run);
    assert!(
        !html.contains("<img src=x") && !html.contains("onerror=alert(1)>&\""),
        "the name is text"
    );
    assert_says(&html, &["&lt;img src=x onerror=alert(1)&gt;&amp;&quot;'"]);
    assert_stands_alone(&html);
}

#[test]
fn the_same_run_gives_the_same_report() {
    let (_dir, run) = kept_run();
    assert_eq!(report(&run), report(&run));
}

#[test]
fn pictures_that_cannot_be_had_are_explained() {
    let (dir, run) = kept_run();
    let left = dir.path().join("left");
    fs::remove_file(left.join("2.png")).unwrap();
    crate::pictures::blotted(201, BLOT_PX).save(left.join("5.png")).unwrap();
    let html = report(&run);
    assert_eq!(pictures(&html), 2 * 8, "what was rejected is kept beside the run");
    forget_pictures(&run);
    let html = report(&run);
    assert_says(&html, &["is not there any more.", "is not what the run saw: it scores"]);
    assert_eq!(pictures(&html), 2 * 6, "those that passed are still there");
    fs::write(run.join("inspected.json"), "{").unwrap();
    let damaged = report(&run);
    fs::remove_file(run.join("inspected.json")).unwrap();
    let html = report(&run);
    assert_eq!(damaged, html, "notes that are damaged are none");
    assert_says(
        &html,
        &[
            "earlier version of Intakt",
            "captured 12 = judged 11 + unreadable 1 + dropped 0",
        ],
    );
    assert_eq!(pictures(&html), 0);
}

#[test]
fn a_run_that_goes_on_with_damaged_notes_adds_up() {
    let (dir, run) = kept_run();
    fs::write(run.join("inspected.json"), "{").unwrap();
    let run_file = dir.path().join("line.toml");
    let resumed = intakt(&[
        &"inspect",
        &run_file,
        &"--run",
        &run,
        &"--resume",
        &"--jsonl",
        &"/dev/null",
    ])
    .expect(0);
    assert!(resumed.stderr.contains("they are made anew"), "{}", resumed.stderr);
    assert_says(&report(&run), &["captured 12 = judged 11 + unreadable 1 + dropped 0"]);
}

#[test]
fn frames_of_a_camera_are_shown_from_its_recording() {
    let dir = tempdir().unwrap();
    let [run_file, run, recording] = ["line.toml", "run", "recording"].map(|name| dir.path().join(name));
    let text = format!(
        "detector = \"{}\"\n[[camera]]\nname = \"loom\"\nsource = \"synthetic\"\nscene = \"fabric\"\nframes = 12\nseed = 7\n",
        SHARED.detector.display()
    );
    fs::write(&run_file, text).unwrap();
    let ran = intakt(&[
        &"inspect",
        &run_file,
        &"--run",
        &run,
        &"--record",
        &recording,
        &"--jsonl",
        &"/dev/null",
    ]);
    assert!(ran.code < 2, "{}", ran.stderr);
    assert!(pictures(&report(&run)) > 0);
    fs::remove_dir_all(&recording).unwrap();
    assert!(pictures(&report(&run)) > 0, "what was rejected is kept beside the run");
    forget_pictures(&run);
    let html = report(&run);
    assert_eq!(pictures(&html), 0);
    assert_says(&html, &["this camera's frames are no files"]);
}

#[test]
fn an_evaluation_gives_the_same_report_at_once_and_later() {
    let dir = tempdir().unwrap();
    let [json, html] = ["figures.json", "report.html"].map(|name| dir.path().join(name));
    intakt(&[
        &"evaluate",
        &SHARED.detector,
        &SHARED.dataset,
        &"--json",
        &json,
        &"--report",
        &html,
    ])
    .expect(0);
    let at_once = fs::read_to_string(&html).unwrap();
    assert_eq!(report(&json), at_once);
    assert_says(
        &at_once,
        &[
            "captured 8 = judged 8 + unreadable 0 + dropped 0",
            "labelled and judged 8 = defects rejected 4 + false rejects 0 + good parts passed 4 + escapes 0",
            "0 of 4 good parts (0 %) were rejected, and 0 of 4 bad ones (0 %) passed",
            "<strong>ROC</strong>: area 1.0000",
            "<strong>PRO</strong>: area up to 30.0 % is",
            "blot",
            "Pixel AUROC",
        ],
    );
    assert_eq!(pictures(&at_once), 2 * 8, "all are close to the threshold");
    assert_stands_alone(&at_once);
}

#[test]
fn figures_that_do_not_add_up_are_told_and_marked() {
    let dir = tempdir().unwrap();
    let [json, html] = ["figures.json", "report.html"].map(|name| dir.path().join(name));
    intakt(&[&"evaluate", &SHARED.detector, &SHARED.dataset, &"--json", &json]).expect(0);
    let mut figures: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    figures["frames"] = 9.into();
    fs::write(&json, figures.to_string()).unwrap();
    intakt(&[&"report", &json, &"-o", &html]).expect_error(&["images in the figures 9 ≠ judged 8"]);
    assert_says(
        &fs::read_to_string(&html).unwrap(),
        &["Do not rely on this report", "✗ does not add up"],
    );
}

#[test]
fn a_missing_browser_is_told_before_anything_is_written() {
    let (dir, run) = kept_run();
    let [html, pdf] = ["report.html", "report.pdf"].map(|name| dir.path().join(name));
    let mut command = Command::new(INTAKT);
    command
        .arg("report")
        .arg(&run)
        .arg("-o")
        .arg(&html)
        .arg("--pdf")
        .arg(&pdf);
    let ran = Ran::from(command.env("PATH", dir.path()).output().unwrap());
    ran.expect_error(&["cannot print a PDF: no browser was found", "--browser", "hint:"]);
    assert!(!html.exists() && !pdf.exists());
    intakt(&[
        &"report",
        &run,
        &"-o",
        &html,
        &"--pdf",
        &pdf,
        &"--browser",
        &dir.path().join("none"),
    ])
    .expect_error(&["there is no browser at"]);
    intakt(&[&"evaluate", &SHARED.detector, &SHARED.dataset, &"--pdf", &pdf])
        .expect_error(&["`--pdf` goes with `--report`"]);
}

#[test]
fn a_browser_is_given_the_page_and_prints_it() {
    let (dir, run) = kept_run();
    let [html, pdf, browser] = ["a report.html", "report.pdf", "browser"].map(|name| dir.path().join(name));
    let script =
        "#!/bin/sh\nfor a in \"$@\"; do case \"$a\" in --print-to-pdf=*) echo \"$@\" > \"${a#*=}\";; esac; done\n";
    fs::write(&browser, script).unwrap();
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).unwrap();
    intakt(&[&"report", &run, &"-o", &html, &"--pdf", &pdf, &"--browser", &browser]).expect(0);
    let arguments = fs::read_to_string(&pdf).unwrap();
    assert!(
        arguments.contains("--headless") && arguments.contains("--user-data-dir="),
        "{arguments}"
    );
    assert!(arguments.trim_end().ends_with("/a%20report.html"), "{arguments}");
    assert!(html.exists());
}

#[test]
fn what_is_no_run_and_no_evaluation_is_refused() {
    let (dir, run) = kept_run();
    let html = dir.path().join("report.html");
    fs::write(&html, "before").unwrap();
    let refused = |subject: &Path, fragments: &[&str]| {
        intakt(&[&"report", &subject, &"-o", &html]).expect_error(fragments);
        assert_eq!(fs::read_to_string(&html).unwrap(), "before");
    };
    refused(&dir.path().join("left"), &["no directory of a run", "hint:"]);
    refused(&dir.path().join("nothing"), &["cannot read"]);
    refused(&SHARED.normal, &["is not what `intakt evaluate --json` writes"]);
    let other = dir.path().join("other.json");
    fs::write(&other, "{\"image_auroc\": 1.0}").unwrap();
    refused(&other, &["does not say that it is an evaluation", "evaluate again"]);
    fs::write(&other, "{\"intakt_evaluation\": 9}").unwrap();
    refused(&other, &["version 9"]);

    let store = run.join("run.sqlite");
    let whole = fs::read(&store).unwrap();
    fs::write(&store, &whole[..whole.len() / 2]).unwrap();
    refused(&run, &["run store"]);
    fs::write(&store, &whole).unwrap();

    for output in [
        dir.path().to_owned(),
        dir.path().join("missing/report.html"),
        run.join("run.sqlite"),
    ] {
        intakt(&[&"report", &run, &"-o", &output]).expect_error(&["cannot write"]);
    }
    assert_eq!(fs::read(&store).unwrap(), whole);
}
