// What another threshold would have done to the frames of this run, and how it is set.
import { ask, query, tell } from "./api.js";
import { dense, histogram, spread } from "./chart.js";
import { poll } from "./poll.js";
import { count, element, fill, percent, score } from "./words.js";

const EVERY_MS = 5000;
const AWAITED_EVERY_MS = 1000;
// The slider's steps; a threshold that is typed lies between two of them, and is looked for in finer buckets.
const BUCKETS = 256;
const FINE_BUCKETS = 4096;
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
// What is in the field and no number; null while that is one.
let misread = null;
// None while the histogram of the chosen camera, or of its new threshold, is not there yet.
let known = null;
let session = { role: "viewer", live: false };
// What was told and may not be in effect yet: until it is, it is what is shown.
let awaited = null;
let again;

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
  typed = misread = null;
  draw();
});
own.addEventListener("input", () => {
  const threshold = numberOf(own.value);
  misread = threshold != null ? null : THOUSANDS.test(own.value) ? "Write it without a comma, or with a point before its decimals." : "This is no number.";
  if (threshold == null) draw();
  else typeOwn(threshold);
});
given.addEventListener("click", () => {
  own.value = known.given_threshold;
  misread = null;
  typeOwn(known.given_threshold);
});

// With a point or a comma before its decimals, as people type it. What may be a thousand or a thousandth is neither.
const THOUSANDS = /^\s*-?[1-9]\d{0,2}(,\d{3})+\s*$/;
function numberOf(text) {
  const isOne = /^\s*-?(\d+([.,]\d*)?|[.,]\d+)(e[-+]?\d+)?\s*$/i.test(text) && !THOUSANDS.test(text);
  return isOne ? Number(text.trim().replace(",", ".")) : null;
}

function typeOwn(threshold) {
  if (!known?.scale || !Number.isFinite(threshold)) return;
  typed = threshold;
  slider.value = atSlider(calibrated(threshold));
  draw();
  refreshing.now();
}

async function refresh(signal) {
  const camera = find("[name=camera]").value;
  if (!camera) return;
  const buckets = typed == null ? BUCKETS : FINE_BUCKETS;
  const is = await ask(`/histogram${query({ camera, buckets })}`, { signal });
  const isFirst = !known;
  known = { ...is, camera, all: dense(is.counts, buckets) };
  const waits = awaited?.camera === camera ? awaited : null;
  // It is in effect, or something else took its place.
  const isOver = waits && known.image_threshold != null && !isNear(waits.before, known.image_threshold);
  if (isFirst || (isOver && typed === waits.threshold)) {
    typed = misread = null;
    slider.value = atSlider(known.threshold);
  } else if (typed != null) {
    // What others set moves the scale.
    slider.value = atSlider(calibrated(typed));
  }
  if (isOver) {
    said.textContent = [`${camera} rejects from ${rounded(known.image_threshold)} on now.`, ...waits.notes].join(" Note: ");
    awaited = null;
  } else if (waits) {
    if (isFirst) showAwaited();
    clearTimeout(again);
    again = setTimeout(() => isShown && session.live && refreshing.now(), AWAITED_EVERY_MS);
  }
  status.textContent = is.frames_of_other_detectors
    ? `${count(is.frames_of_other_detectors)} frames are not counted: other detectors judged them.`
    : "";
  draw();
}

// What was told is shown until it is in effect.
function showAwaited() {
  own.value = rounded(awaited.threshold);
  misread = null;
  typeOwn(awaited.threshold);
}

// What was known is not shown under another camera's name.
function forget() {
  known = typed = misread = null;
  find(".drawing").replaceChildren(histogram({ buckets: [], at: 0.5, was: 0.5 }));
  for (const cell of document.querySelectorAll("#whatif tbody td")) cell.textContent = "…";
  find("output").textContent = "…";
  own.value = "";
  given.hidden = find(".set").disabled = slider.disabled = own.disabled = true;
}

const atSlider = (threshold) => Math.round(threshold * BUCKETS);
const rounded = (threshold) => Number(threshold.toPrecision(6));
// The run keeps its thresholds in fewer digits.
const isNear = (one, other) => Math.abs(one - other) <= Math.max(2e-6, 1e-6 * Math.abs(one));

// Of n buckets, bucket b holds the scores in (b, b + 1] / n, so a threshold of k / n rejects buckets from k on. Of the one that a
// threshold lies within it is not known which frames are above it: at least and at most so many are.
function outcome(all, at) {
  const [least, most] = [Math.ceil(at * all.length), Math.floor(at * all.length)];
  const sum = (truths, from, to) => all.slice(from, to).reduce((total, bucket) => total + truths.reduce((of, truth) => of + bucket[truth], 0), 0);
  const from = (truths) => [sum(truths, least), sum(truths, most)];
  const every = ["unlabelled", "normal", "anomalous"];
  return {
    judged: sum(every, 0), rejected: from(every),
    normal: sum(["normal"], 0), falseRejects: from(["normal"]),
    anomalous: sum(["anomalous"], 0), escapes: [sum(["anomalous"], 0, most), sum(["anomalous"], 0, least)],
  };
}

function share([least, most], whole) {
  if (!whole) return "no labels";
  return least === most ? `${count(least)} of ${count(whole)} (${percent(least / whole)})` : `${count(least)} to ${count(most)} of ${count(whole)}`;
}

function draw() {
  if (!known) return;
  slider.disabled = false;
  const k = Number(slider.value);
  const at = calibratedWanted();
  const now = outcome(known.all, known.threshold);
  const then = outcome(known.all, at);
  const perBar = known.all.length / BARS;
  const bars = Array.from({ length: BARS }, (_, bar) => {
    const of = known.all.slice(bar * perBar, (bar + 1) * perBar);
    const total = (truth) => of.reduce((sum, bucket) => sum + bucket[truth], 0);
    return { unlabelled: total("unlabelled"), normal: total("normal"), anomalous: total("anomalous") };
  });
  const calibration = spread(known.calibration, BARS, now.judged);
  find(".drawing").replaceChildren(histogram({ buckets: bars, calibration, at, was: known.threshold }));
  const rows = [
    ["Rejected", share(now.rejected, now.judged), share(then.rejected, then.judged)],
    ["False rejects, of what is labelled normal", share(now.falseRejects, now.normal), share(then.falseRejects, then.normal)],
    ["Escapes, of what is labelled anomalous", share(now.escapes, now.anomalous), share(then.escapes, then.anomalous)],
  ];
  find("tbody").replaceChildren(
    ...rows.map(([name, is, would]) => element("tr", {}, element("th", { scope: "row", text: name }), element("td", { text: is }), element("td", { class: is === would ? "" : "differs", text: would }))),
  );
  const threshold = wanted();
  find("output").textContent = score(at);
  own.disabled = threshold == null;
  own.setAttribute("aria-invalid", String(misread != null));
  if (typed == null && misread == null) own.value = threshold == null ? "" : rounded(threshold);
  given.hidden = known.given_threshold == null || known.given_threshold === known.image_threshold;
  given.textContent = `${known.given_threshold}, as the detector came`;
  slider.setAttribute("aria-valuetext", `threshold ${score(at)}: ${share(then.rejected, then.judged)} rejected`);
  const why = misread ?? (!session.live ? "A threshold is set where the run is going on." : session.role !== "admin" ? "Setting it takes an administrator's token." : threshold == null ? "The camera has no detector yet." : threshold <= known.scale.normal_level ? `Normal frames score ${rounded(known.scale.normal_level)} and more: everything would be rejected.` : "");
  find(".set").disabled = Boolean(why) || (typed == null ? k === atSlider(known.threshold) : typed === known.image_threshold);
  find(".why").textContent = why;
}

// The threshold that is to be set, in the detector's own unit.
const wanted = () => typed ?? inOwnUnit(Number(slider.value) / BUCKETS);
const calibratedWanted = () => (typed == null ? Number(slider.value) / BUCKETS : calibrated(typed));

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
  const then = outcome(known.all, calibratedWanted());
  const far = known.scale && wanted() > known.scale.far_from ? " It is far above the one that holds: hardly anything will be rejected." : "";
  dialog.querySelector("p").textContent =
    `${known.camera} rejects from ${rounded(wanted())} on, in its detector's own unit: of the frames of this run ${share(then.rejected, then.judged)}. It takes effect at one frame, is recorded, and a replay repeats it there.${far}`;
  said.textContent = "";
  asked = { camera: known.camera, threshold: wanted(), before: known.image_threshold };
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
    said.textContent = [`Told. It takes effect ${when}: ${asked.camera} rejects from ${rounded(asked.threshold)} on then. Another change until then takes its place.`, ...(notes ?? [])].join(" Note: ");
    awaited = { ...asked, notes: notes ?? [] };
    if (known?.camera === asked.camera) showAwaited();
  } catch (refused) {
    said.textContent = `The threshold of ${asked.camera} was not set: ${refused.message}`;
  }
});
