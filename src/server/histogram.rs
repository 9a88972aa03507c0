//! `GET /api/v1/histogram`: the scores of a camera's frames, so that whoever looks can try thresholds.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use intakt_operators::detector::{Calibration, ScoreScale};
use intakt_operators::fixed_point;
use intakt_operators::metrics::SCORE_BUCKETS;
use intakt_pipelines::store::{CountedCamera, LabelledScores};
use serde::Deserialize;
use utoipa::IntoParams;

use super::asked::Wanted;
use super::problem::Refusal;
use super::routes::Shared;
use super::served::{KeptRun, NotedDetectors, Run};
use super::wire::histogram::{Bucket, Histogram};
use super::wire::problem::Problem;

/// Buckets unless others are asked for: as many as a screen shows.
const BUCKETS: u16 = 256;

/// Whose scores are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WantedHistogram {
    /// Of this camera.
    camera: String,
    /// Buckets between 0 and 1: a power of two from 2 to 4096.
    #[param(minimum = 2, maximum = 4096, default = 256)]
    buckets: Option<u16>,
}

/// The calibrated scores of a camera's frames, by what people say that these are.
#[utoipa::path(get, path = "/histogram", tag = "results", params(WantedHistogram), responses(
    (status = 200, body = Histogram),
    (status = 404, description = "There is no such camera in the run", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn histogram(
    State(shared): State<Shared>,
    KeptRun(kept): KeptRun,
    Wanted(WantedHistogram { camera, buckets }): Wanted<WantedHistogram>,
) -> Result<Json<Histogram>, Refusal> {
    let buckets = buckets.unwrap_or(BUCKETS);
    if !(2..=SCORE_BUCKETS).contains(&buckets) || !buckets.is_power_of_two() {
        return Err(Refusal::bad("buckets: it is a power of two from 2 to 4096".to_owned()));
    }
    let (run, noted) = (shared.served.run.clone(), kept.detectors.clone());
    let name = camera.clone();
    let counted = shared.read_counted(&kept, move |store, counted| {
        let Some(frames) = counted.camera(&name) else {
            // A camera of the run of which nothing is kept yet.
            let is_known = store.cameras()?.iter().any(|known| **known == *name);
            return Ok(is_known.then(|| {
                let frames = CountedCamera::default();
                let calibrated = Calibrated::of(&run, &*noted, &name, &frames);
                (frames, LabelledScores::default(), calibrated)
            }));
        };
        let labelled = store.labelled_scores(&name, counted)?;
        let calibrated = Calibrated::of(&run, &*noted, &name, frames);
        Ok(Some((frames.clone(), labelled, calibrated)))
    });
    match counted.await? {
        Some((frames, labelled, calibrated)) => {
            Ok(Json(Histogram::new(camera, buckets, &frames, &labelled, calibrated)))
        }
        None => {
            shared.camera_of_run(&kept, Some(&camera)).await?;
            let error = format!("nothing of camera \"{camera}\" is kept yet");
            Err(Refusal::new(StatusCode::NOT_FOUND, error))
        }
    }
}

/// How the detector of a camera's newest frame is calibrated.
struct Calibrated {
    /// Under the threshold of that frame; before the first, under its own.
    now: Option<Calibration>,
    /// The threshold that the detector came with.
    given_threshold: Option<f32>,
}

impl Calibrated {
    fn of(run: &Run, noted: &dyn NotedDetectors, camera: &str, counted: &CountedCamera) -> Self {
        let last = counted.last.as_ref();
        let given = counted
            .detector()
            .and_then(|detector| noted.of(&detector))
            .map(|noted| noted.calibration);
        let given_threshold = given.as_ref().map(|given| given.image.threshold);
        let calibration = match run {
            Run::Here(live) => live.controls.newest(camera).ok().and_then(|newest| {
                let calibration = newest.calibration().clone();
                let is_same = last.is_none_or(|last| {
                    // With another threshold it has another id; one that was put in its place is scaled otherwise.
                    let of_frames = counted.normal_level();
                    let level = f64::from(calibration.image.normal_level);
                    *newest.id() == last.detector || of_frames.is_some_and(|of_frames| is_near(of_frames, level))
                });
                is_same.then_some(calibration)
            }),
            Run::Elsewhere(_) => given,
        };
        let now = calibration.map(|calibration| {
            let threshold = last.map_or(calibration.image.threshold, |last| last.threshold as f32);
            let image = ScoreScale {
                threshold,
                ..calibration.image
            };
            Calibration { image, ..calibration }
        });
        Self { now, given_threshold }
    }
}

/// Scores are kept in the fixed point of verdicts.
fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-3 * (1.0 + b.abs())
}

impl Histogram {
    fn new(
        camera: String,
        buckets: u16,
        frames: &CountedCamera,
        labelled: &LabelledScores,
        calibrated: Calibrated,
    ) -> Self {
        let width = usize::from(SCORE_BUCKETS / buckets);
        let sums = |scores: &[u64]| -> Vec<u64> { scores.chunks(width).map(|chunk| chunk.iter().sum()).collect() };
        let now = frames.scores_now();
        let [all, normal, anomalous] = [&now.scores, &labelled.normal, &labelled.anomalous].map(|of| sums(of));
        let counts: Vec<Bucket> = (0..buckets)
            .map(|bucket| {
                let idx = usize::from(bucket);
                Bucket {
                    bucket,
                    unlabelled: all[idx].saturating_sub(normal[idx] + anomalous[idx]),
                    normal: normal[idx],
                    anomalous: anomalous[idx],
                }
            })
            .filter(|count| count.unlabelled + count.normal + count.anomalous > 0)
            .collect();
        let total = |of: fn(&Bucket) -> u64| counts.iter().map(of).sum();
        let last = frames.last.as_ref();
        let Calibrated {
            now: calibration,
            given_threshold,
        } = calibrated;
        Self {
            camera,
            buckets,
            threshold: 0.5,
            judged: total(|count| count.unlabelled + count.normal + count.anomalous),
            unlabelled: total(|count| count.unlabelled),
            normal: total(|count| count.normal),
            anomalous: total(|count| count.anomalous),
            detector: last.map(|last| last.detector.clone()),
            image_threshold: last.map(|last| last.threshold),
            given_threshold: given_threshold.map(fixed_point),
            frames_of_other_detectors: now.of_other_detectors,
            scale: calibration.as_ref().map(|known| known.image.into()),
            calibration: calibration.map_or_else(Vec::new, |known| known.calibrated_normal_scores()),
            counts,
        }
    }
}
