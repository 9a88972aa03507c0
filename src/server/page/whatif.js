// What another threshold would have done to the frames of this run, and how it is set.
import { ask, query, tell } from "./api.js";
import { dense, histogram, spread } from "./chart.js";
import { poll } from "./poll.js";
import { count, element, fill, percent, score } from "./words.js";

const EVERY_MS = 5000;
const BUCKETS = 256;
// The histogram is drawn with fewer, wider bars than it is counted in.
const BARS = 64;
const find = (selector) => document.querySelector(`#whatif ${selector}`);
const slider = find("input[type=range]");
const status = find(".status");
const said = find(".said");
const own = find("[name=own]");
const given = find(".given");
const dialog = document.querySelector("#apply");

// The threshold that was typed, in the detector's own unit; the slider knows steps only.
let typed = null;
// None while the histogram of the chosen camera, or of its new threshold, is not there yet.
let known = null;
let session = { role: "viewer", live: false };

const refreshing = poll(refresh, EVERY_MS, status);
let isShown = false;

export function show() {
  isShown = true;
  refreshing.now();
}

export function hide() {
  isShown = false;
  refreshing.stop();
}

export function setCameras(names) {
  const camera = find("[name=camera]");
  const isFirst = !camera.value;
  fill(camera, names.map((name) => ({ value: name, text: name })));
  if (isFirst && isShown) refreshing.now();
}

export function setSession(is) {
  session = is;
  draw();
}

find("[name=camera]").addEventListener("change", () => {
  forget();
  refreshing.now();
});
slider.addEventListener("input", () => {
  typed = null;
  draw();
});
own.addEventListener("input", () => typeOwn(own.valueAsNumber));
given.addEventListener("click", () => typeOwn(known.given_threshold));

function typeOwn(threshold) {
  if (!known?.scale || !Number.isFinite(threshold)) return;
  typed = threshold;
  slider.value = Math.round(calibrated(threshold) * BUCKETS);
  draw();
}

async function refresh(signal) {
  const camera = find("[name=camera]").value;
  if (!camera) return;
  const is = await ask(`/histogram${query({ camera, buckets: BUCKETS })}`, { signal });
  const isFirst = !known;
  known = { ...is, camera, all: dense(is.counts, BUCKETS) };
  if (isFirst) {
    typed = null;
    slider.value = known.threshold * BUCKETS;
  }
  status.textContent = is.frames_of_other_detectors
    ? `${count(is.frames_of_other_detectors)} frames are not counted: other detectors judged them.`
    : "";
  draw();
}

// What was known is not shown under another camera's name or for another threshold.
function forget() {
  known = null;
  find(".drawing").replaceChildren(histogram({ buckets: [], at: 0.5, was: 0.5 }));
  for (const cell of document.querySelectorAll("#whatif tbody td")) cell.textContent = "…";
  find("output").textContent = "…";
  own.value = "";
  given.hidden = find(".set").disabled = slider.disabled = own.disabled = true;
}

// Bucket b holds the scores in (b, b + 1] / BUCKETS, so a threshold of k / BUCKETS rejects buckets from k on.
function outcome(all, k) {
  const sum = (truths, from, to) => all.slice(from, to).reduce((total, bucket) => total + truths.reduce((of, truth) => of + bucket[truth], 0), 0);
  const every = ["unlabelled", "normal", "anomalous"];
  return {
    judged: sum(every, 0), rejected: sum(every, k),
    normal: sum(["normal"], 0), falseRejects: sum(["normal"], k),
    anomalous: sum(["anomalous"], 0), escapes: sum(["anomalous"], 0, k),
  };
}

function draw() {
  if (!known) return;
  slider.disabled = false;
  const k = Number(slider.value);
  const now = outcome(known.all, Math.round(known.threshold * BUCKETS));
  const then = outcome(known.all, k);
  const bars = Array.from({ length: BARS }, (_, bar) => {
    const of = known.all.slice((bar * BUCKETS) / BARS, ((bar + 1) * BUCKETS) / BARS);
    const total = (truth) => of.reduce((sum, bucket) => sum + bucket[truth], 0);
    return { unlabelled: total("unlabelled"), normal: total("normal"), anomalous: total("anomalous") };
  });
  const calibration = spread(known.calibration, BARS, now.judged);
  find(".drawing").replaceChildren(histogram({ buckets: bars, calibration, at: k / BUCKETS, was: known.threshold }));
  const share = (part, whole) => (whole ? `${count(part)} of ${count(whole)} (${percent(part / whole)})` : "no labels");
  const rows = [
    ["Rejected", share(now.rejected, now.judged), share(then.rejected, then.judged)],
    ["False rejects, of what is labelled normal", share(now.falseRejects, now.normal), share(then.falseRejects, then.normal)],
    ["Escapes, of what is labelled anomalous", share(now.escapes, now.anomalous), share(then.escapes, then.anomalous)],
  ];
  find("tbody").replaceChildren(
    ...rows.map(([name, is, would]) => element("tr", {}, element("th", { scope: "row", text: name }), element("td", { text: is }), element("td", { class: is === would ? "" : "differs", text: would }))),
  );
  const threshold = wanted();
  find("output").textContent = score(k / BUCKETS);
  own.disabled = threshold == null;
  if (typed == null) own.value = threshold == null ? "" : Number(threshold.toPrecision(6));
  given.hidden = known.given_threshold == null || known.given_threshold === known.image_threshold;
  given.textContent = `${known.given_threshold}, as the detector came`;
  slider.setAttribute("aria-valuetext", `threshold ${score(k / BUCKETS)}: ${share(then.rejected, then.judged)} rejected`);
  const why = !session.live ? "A threshold is set where the run is going on." : session.role !== "admin" ? "Setting it takes an administrator's token." : threshold == null ? "The camera has no detector yet." : threshold <= known.scale.normal_level ? `Normal frames score ${known.scale.normal_level} and more: everything would be rejected.` : "";
  find(".set").disabled = Boolean(why) || (typed == null ? k === Math.round(known.threshold * BUCKETS) : typed === known.image_threshold);
  find(".why").textContent = why;
}

// The threshold that is to be set, in the detector's own unit.
const wanted = () => typed ?? inOwnUnit(Number(slider.value) / BUCKETS);

// The other way round than below.
function calibrated(threshold) {
  const above = Math.max(0, 1 + (threshold - known.scale.threshold) / known.scale.span);
  return above / (1 + above);
}

// A score's distance above normal, in spans, is t / (1 - t).
function inOwnUnit(t) {
  if (!known.scale) return null;
  const { threshold, span } = known.scale;
  const bounded = Math.min(t, 0.999_999);
  return threshold + (bounded / (1 - bounded) - 1) * span;
}

// What is to be confirmed, whatever is known when it is.
let asked = null;

find(".set").addEventListener("click", () => {
  const then = outcome(known.all, Number(slider.value));
  dialog.querySelector("p").textContent =
    `${known.camera} rejects from ${Number(wanted().toPrecision(6))} on, in its detector's own unit: of the frames of this run ${count(then.rejected)} of ${count(then.judged)}. It takes effect at one frame, is recorded, and a replay repeats it there.`;
  said.textContent = "";
  asked = { camera: known.camera, threshold: wanted() };
  // What was answered the last time is no answer: Escape leaves it as it is.
  dialog.returnValue = "";
  dialog.querySelector("input").value = "";
  dialog.showModal();
});

dialog.addEventListener("close", async () => {
  if (dialog.returnValue !== "set") return;
  const atSeq = dialog.querySelector("input").value;
  const body = { threshold: asked.threshold, ...(atSeq ? { at_seq: Number(atSeq) } : {}) };
  try {
    const { notes } = await tell("PUT", `/cameras/${encodeURIComponent(asked.camera)}/threshold`, body);
    const when = atSeq ? `at frame ${atSeq}, or at the next one if that has come` : "at the next frame";
    said.textContent = [`Told. It takes effect ${when}; scores of later frames are seen from the new threshold.`, ...(notes ?? [])].join(" Note: ");
    forget();
    refreshing.now();
  } catch (refused) {
    said.textContent = `The threshold of ${asked.camera} was not set: ${refused.message}`;
  }
});
