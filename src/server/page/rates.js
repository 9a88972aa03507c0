// Rolling figures: what the run knows of windows that are closed, how labels corrected it, and the open end.
import { ask, query } from "./api.js";
import { dense, histogram, lineChart, spread } from "./chart.js";
import { poll } from "./poll.js";
import { clock, count, element, fill, minutesOf, percent, score } from "./words.js";

const EVERY_MS = 2000;
const CHOICES_EVERY_MS = 60_000;
const WINDOWS_MAX = 1000;
const RARE_MAX = 200;
const ROLLED_MAX = 600;
const SHOWN_MAX = 240;
// A page may hold few windows that are long, or of one camera of many.
const PAGES_MAX = 8;
const SCORE_BARS = 64;
const CORRECTIONS_MAX = 20;
const LATENCY_MINUTES_MAX = 60;

const ms = (us) => (us == null ? "–" : `${(us / 1000).toFixed(us < 10_000 ? 1 : 0)} ms`);
const CHARTS = [
  { title: "Rejected", names: ["reject_rate"], write: percent },
  { title: "Precision and recall", names: ["precision", "recall"], write: percent, full: 1, needs: "Needs labels." },
  { title: "Escapes and false rejects", names: ["escape_rate", "false_reject_rate"], write: percent, needs: "Needs labels." },
  { title: "AUROC", names: ["auroc"], write: score, full: 1, needs: "Needs labels of normal and of anomalous frames." },
  { title: "Scores (threshold 0.5)", names: ["score_p50", "score_p95", "score_p99"], write: score, full: 1, needs: "Scores are counted once a minute." },
  { title: "Drift from calibration", names: ["drift"], write: score, needs: "Is of one camera, once a minute: cameras have detectors of their own." },
  { title: "Frames and rejects", names: ["frames", "rejects"], write: count },
  { title: "Dropped and unreadable", names: ["dropped", "unreadable"], write: count },
];
const NAMES = {
  reject_rate: "rejected", escape_rate: "escapes", false_reject_rate: "false rejects", score_p50: "median", score_p95: "95 %",
  score_p99: "99 %", auroc: "AUROC", f1: "F1",
};
const WRITTEN = { auroc: score, drift: score, score_p50: score, score_p95: score, score_p99: score, f1: score };
const COUNTS = ["frames", "rejects", "unreadable", "dropped", "labelled"];

const scope = document.querySelector("#rates-scope");
const window_ = document.querySelector("#rates-window");
const charts = document.querySelector("#rates-charts");
const table = document.querySelector("#rates-table tbody");
const corrections = document.querySelector("#rates-corrections tbody");
const stages = document.querySelector("#rates-stages tbody");
const scores = document.querySelector("#rates-scores");
const status = document.querySelector("#rates-status");

let shown = "";
// The open ends that were seen of each choice: the newest window rolls on every second, while those that are kept are a length apart.
const rolled = new Map();
let askedAt = -Infinity;
// The windows of the choice by when they begin and end, and when the pages behind the first one were asked for.
let kept = { choice: "", windows: new Map(), askedAt: -Infinity };
const refreshing = poll(refresh, EVERY_MS, status);

export function show() {
  askedAt = -Infinity;
  refreshing.now();
}

export function hide() {
  refreshing.stop();
}

// Nothing moves when the figures come.
drawCharts([], [], "…");

for (const select of [scope, window_]) select.addEventListener("change", refreshing.now);

async function refresh(signal) {
  if (performance.now() - askedAt >= CHOICES_EVERY_MS && !(await askForChoices(signal))) {
    status.textContent = "No window has ended yet.";
    return;
  }
  draw(await askForWindows(signal));
  await drawStages(signal);
  await drawScores(signal);
}

// Which scopes and windows there are, which changes rarely; whether there are any.
async function askForChoices(signal) {
  // Shifts and lots end seldom: among the newest windows there may be none.
  const asked = [{ limit: WINDOWS_MAX }, { window: "shift", limit: RARE_MAX }, { window: "lot", limit: RARE_MAX }];
  const pages = await Promise.all(asked.map((filter) => ask(`/rates${query(filter)}`, { signal })));
  const { cameras } = await ask("/cameras", { signal });
  const known = pages.flatMap(({ tail, windows }) => [...tail, ...windows]);
  if (!known.length) return false;
  const isFirst = !window_.value;
  const choices = (first, of) => [...new Set([...first, ...known.map((window) => window[of])])].map((value) => ({ value, text: value.replace("camera/", "") }));
  const scopes = choices(["all", ...cameras.map(({ camera }) => `camera/${camera}`)], "scope");
  fill(scope, scopes.sort((a, b) => (b.value === "all") - (a.value === "all") || a.text.localeCompare(b.text)));
  fill(window_, choices(pages[0].lengths, "window"));
  // Of others none may have ended.
  if (isFirst) window_.value = known[0].window;
  askedAt = performance.now();
  return true;
}

// The newest windows of the choice. What is behind the first page is asked for as rarely as the choices: labels correct it seldom.
async function askForWindows(signal) {
  const filter = { scope: scope.value, window: window_.value, limit: SHOWN_MAX };
  const choice = JSON.stringify(filter);
  if (choice !== kept.choice) kept = { choice, windows: new Map(), askedAt: -Infinity };
  const first = await ask(`/rates${query(filter)}`, { signal });
  keep(first);
  if (performance.now() - kept.askedAt >= CHOICES_EVERY_MS) {
    let { next } = first;
    for (let n = 1; next && n < PAGES_MAX && kept.windows.size < SHOWN_MAX; n += 1) {
      const page = await ask(`/rates${query({ ...filter, cursor: next })}`, { signal });
      keep(page);
      next = page.next;
    }
    kept.askedAt = performance.now();
  }
  const newest = [...kept.windows].sort(([, a], [, b]) => b.end_us - a.end_us).slice(0, SHOWN_MAX);
  kept.windows = new Map(newest);
  return { ...first, windows: newest.map(([, window]) => window) };
}

function keep({ windows }) {
  for (const window of windows) kept.windows.set(`${window.start_us} ${window.end_us}`, window);
}

function roll(tail) {
  const choice = `${scope.value} ${window_.value}`;
  const known = rolled.get(choice) ?? [];
  for (const window of tail) if (!known.length || known.at(-1).end_us < window.end_us) known.push(window);
  rolled.set(choice, known.slice(-ROLLED_MAX));
  return rolled.get(choice);
}

function draw({ windows, tail, closed_up_to_us, corrected_from_us }) {
  const between = roll(tail);
  const key = JSON.stringify([windows, tail]);
  if (key === shown) return;
  shown = key;
  const open = tail.filter((window) => !windows.some(({ end_us }) => end_us === window.end_us));
  const inOrder = [...windows].reverse().concat(open);
  drawCharts(inOrder, between.filter(({ end_us }) => end_us >= (inOrder[0]?.end_us ?? 0)));
  const newest = inOrder.findLast(({ closed }) => closed) ?? inOrder.at(-1);
  const caption = document.querySelector("#rates-table caption");
  table.closest(".scrolled").hidden = !newest;
  if (newest) {
    caption.textContent = `The newest window, ${clock(newest.start_us, true)} to ${clock(newest.end_us)}`;
    table.replaceChildren(...Object.entries(newest.figures).map(([name, figure]) => row(name, figure)));
  }
  drawCorrections(inOrder);
  status.textContent = closed_up_to_us == null
    ? "No window is closed yet."
    : `Closed up to ${clock(closed_up_to_us)}; labels correct windows that ended after ${clock(corrected_from_us, true)}. Hollow marks: not closed yet.`;
}

// What labels made of the figures that are charted, the newest windows first: a chart says so only where it is pointed at.
function drawCorrections(inOrder) {
  const found = inOrder.toReversed().flatMap((window) =>
    CHARTS.flatMap(({ names, write }) => names.map((name) => ({ name, write, window, ...window.figures[name] })))
      .filter(({ value, before }) => before != null && before !== value),
  );
  corrections.closest(".scrolled").hidden = !found.length;
  corrections.replaceChildren(
    ...found.slice(0, CORRECTIONS_MAX).map(({ name, write, window, value, before, revision }) => element(
      "tr", {},
      element("th", { scope: "row", text: `${clock(window.end_us, true)} ${nameOf(name)}` }),
      element("td", { class: "corrected", text: corrected(write, before, value) }),
      element("td", { text: revision }),
    )),
  );
}

// `note` is said in place of a chart that has no points; otherwise what it needs.
function drawCharts(inOrder, between = [], note = "") {
  const isYoung = inOrder.length && !inOrder.some(({ closed }) => closed);
  const times = [...inOrder, ...between].map(({ end_us }) => end_us);
  const span = [Math.min(...times), Math.max(...times)];
  const withGaps = gapped(inOrder);
  charts.replaceChildren(
    ...CHARTS.map(({ title, names, write, full, needs }) => {
      const series = names.map((name) => ({
        name: NAMES[name] ?? name,
        points: withGaps.filter(({ figures }) => !figures || figures[name]).map((window) => ({
          at_us: window.end_us, is_open: !window.closed, value: null, ...window.figures?.[name],
        })),
        between: between.filter(({ figures }) => figures[name]).map(({ end_us, figures }) => ({ at_us: end_us, value: figures[name].value })),
      }));
      const missing = [needs, isYoung && "The first window is still open."].filter(Boolean).join(" ");
      return lineChart({ title, series, span, write, full, note: note || missing });
    }),
  );
}

// Where no frame came for a while, there are no windows.
function gapped(inOrder) {
  return inOrder.flatMap((window, at) => {
    const before = inOrder[at - 1];
    return before && window.closed && window.start_us > before.end_us ? [{ end_us: before.end_us, closed: true }, window] : [window];
  });
}

// How the scores of a camera are spread, beside how those of normal frames were when the threshold was chosen.
async function drawScores(signal) {
  const camera = cameraOf(scope.value);
  scores.hidden = !camera;
  if (!camera) return;
  const { counts, judged, threshold, calibration } = await ask(`/histogram${query({ camera, buckets: SCORE_BARS })}`, { signal });
  const buckets = dense(counts, SCORE_BARS);
  const drawing = histogram({ buckets, calibration: spread(calibration, SCORE_BARS, judged), at: threshold, was: threshold });
  scores.querySelector("svg").replaceWith(drawing);
}

function cameraOf(scope) {
  return scope.startsWith("camera/") ? scope.slice("camera/".length) : null;
}

const nameOf = (name) => NAMES[name] ?? name.replaceAll("_", " ");
const written = (write, value) => (value == null ? "undefined" : write(value));
const corrected = (write, before, value) => `${write(before)} → ${written(write, value)}`;

function row(name, { value, before, first, revision }) {
  const write = COUNTS.includes(name) ? count : WRITTEN[name] ?? percent;
  const isCorrected = before != null && before !== value;
  return element(
    "tr", {},
    element("th", { scope: "row", text: nameOf(name) }),
    element("td", { text: written(write, value ?? (COUNTS.includes(name) ? 0 : null)) }),
    element("td", { class: isCorrected ? "corrected" : "", text: isCorrected ? corrected(write, before, value) : "" }),
    element("td", { text: first == null || first === value ? "" : write(first) }),
    element("td", { text: revision || "" }),
  );
}

// How long the stages of all cameras or one take, in the last minutes where that is known. Shifts and lots are longer than it is.
async function drawStages(signal) {
  const camera = cameraOf(scope.value);
  const window = minutesOf(window_.value) <= LATENCY_MINUTES_MAX ? window_.value : null;
  const { minutes, stages: all } = await ask(`/latencies${query({ camera, window })}`, { signal });
  const when = minutes ? (minutes === 1 ? "in the last minute" : `in the last ${minutes} minutes`) : "since the run began";
  document.querySelector("#rates-stages caption").textContent = `Latency of the stages, ${camera ?? "all cameras"}, ${when}`;
  stages.closest(".scrolled").hidden = !all.length;
  stages.replaceChildren(
    ...all.map((stage) => element(
      "tr", {},
      element("th", { scope: "row", text: stage.stage }),
      element("td", { text: count(stage.count) }), element("td", { text: ms(stage.micros_p50) }), element("td", { text: ms(stage.micros_p99) }), element("td", { text: ms(stage.micros_max) }),
    )),
  );
}
