// Frames that people should look at: one after the other, labelled by a key.
import { ask, picturePath, query, tell } from "./api.js";
import { hideNearest, patchMarks, showNearest } from "./nearest.js";
import { poll } from "./poll.js";
import { goOnIn, neighbour, optionId, perform, replace, select, steps } from "./queue.js";
import { DECISIONS, NOT_LOADED, NOT_PICTURED, clock, drawn, element, fill, minutesOf, percent, score, zone } from "./words.js";

const EVERY_MS = 2000;
const LISTED = 60;
// Shifts that end within a day.
const SHIFT_MINUTES_MAX = 24 * 60;
const SHIFTS_MAX = 50;
// As many as there are pictures of.
const LISTED_MAX = 2000;
// What came while nobody listed it is asked for in pages as large as there are, so many at most.
const MISSED = 500;
const MISSED_PAGES_MAX = 5;
// Those nearest to the threshold are looked for among all.
const UNCERTAIN_EVERY_MS = 15_000;
// A run takes labels in within seconds; what it does not take in is not shown for ever.
const TAKEN_IN_MS = 20000;
// From this calibrated score on a frame that passed is borderline: it is four fifths of the way to the threshold, which is 0.5.
const BORDERLINE = 0.4;
const find = (selector) => document.querySelector(`#review ${selector}`);
const list = find(".queue");
const status = find(".status");
const image = find(".picture .plain");
const heatmap = find(".picture .heatmap");
const closer = find(".picture .closer");

let frames = [];
// Where the page behind the listed frames begins.
let next = null;
let listedAt = -Infinity;
let chosen = null;
// The frame around which figures are shown: the one that was chosen, or labelled since.
let about = null;
// Labels that can be taken back, and those that the run may not have taken in yet, by frame.
const done = [];
// The frame whose earlier label was given back to it: who takes back once too often does not lose that.
let restored = null;
const said = new Map();
let mayLabel = true;
let heatmapIsOn = true;
// Whether a frame that is larger than its picture is shown pixel by pixel where something was found.
let closerIsOn = false;
// What is told of the frame whose picture is shown.
let pictured = null;
// The kinds of windows that may be shown, the widest first.
let kinds = null;
// The figures that are shown, and those that were when the last label was said.
let figures = {};
let figuresBefore = {};

const refreshing = poll(refresh, EVERY_MS, status);

const idOf = (frame) => optionId("frame", frame);
const key = ({ camera, seq }) => `${camera}\n${seq}`;

export function show() {
  refreshing.now();
}

export function hide() {
  refreshing.stop();
}

export function setSession({ role }) {
  mayLabel = role !== "viewer";
  for (const button of document.querySelectorAll("#review .normal, #review .anomalous, #review [name=class]")) button.disabled = !mayLabel;
  find(".keys .why").textContent = mayLabel ? "" : "Labelling takes an inspector's token.";
  allowUndo();
}

export function setCameras(names) {
  fill(find("[name=camera]"), [{ value: "", text: "all cameras" }, ...names.map((name) => ({ value: name, text: name }))]);
}

const selects = document.querySelectorAll("#review .filters select");
goOnIn(list, selects);
for (const select of selects) {
  select.addEventListener("change", () => {
    beginAnew();
    refreshing.now();
  });
}

// Shows the frames of this camera, when the view is shown.
export function lookAt(camera) {
  find("[name=camera]").value = camera;
  beginAnew();
}

// For another choice of frames.
function beginAnew() {
  chosen = null;
  // A picture that is loaded while nothing is chosen is not drawn on; should it be of the next choice, it is loaded again.
  delete image.dataset.picture;
  // Until these frames come, those of the choice before are seen; keys do nothing.
  frames = [];
  next = null;
  list.setAttribute("aria-busy", "true");
  listedAt = -Infinity;
  status.textContent = "";
}

function wanted() {
  const filters = {
    doubtful: { min_score: BORDERLINE, order: "newest" },
    rejected: { decision: "reject", order: "newest" },
    uncertain: { order: "uncertain" },
    unlabelled: { order: "uncertain", labelled: false },
    all: { order: "newest" },
  }[find("[name=which]").value];
  return { camera: find("[name=camera]").value, limit: LISTED, ...filters };
}

async function refresh(signal) {
  const filters = wanted();
  const everyMs = filters.order === "uncertain" ? UNCERTAIN_EVERY_MS : 0;
  if (performance.now() - listedAt >= everyMs) {
    const first = await ask(`/verdicts${query(filters)}`, { signal });
    const goesOn = filters.order === "newest" && behind(first.verdicts).length;
    const page = goesOn ? await upToListed(first, filters, signal) : first;
    listedAt = performance.now();
    const rest = behind(page.verdicts);
    next = rest.length ? next : page.next;
    keep(page.verdicts, rest);
  }
  await showFigures(signal);
}

// What stays of the list behind its first page for one who goes through it, or listed more: nobody is carried off by what is newer, and
// there is a way back.
function behind(verdicts) {
  const isListed = new Set(verdicts.map(key));
  const goesThrough = chosen && !isListed.has(key(chosen));
  if (!goesThrough && frames.length <= LISTED) return [];
  const rest = frames.filter((frame) => !isListed.has(key(frame)));
  if (rest.length <= LISTED_MAX) return rest;
  const at = rest.findIndex((frame) => chosen && key(frame) === key(chosen));
  return at < 0 ? [] : rest.slice(Math.max(0, at - LISTED));
}

// The first page with what is between it and the frames that are listed. Where that is too much these are listed no more: a list has no
// holes.
async function upToListed(first, filters, signal) {
  const isListed = new Set(frames.map(key));
  const meets = ({ verdicts }) => verdicts.some((frame) => isListed.has(key(frame)));
  const pages = [first];
  while (!meets(pages.at(-1))) {
    const cursor = pages.at(-1).next;
    if (!cursor || pages.length > MISSED_PAGES_MAX) {
      frames = [];
      return first;
    }
    pages.push(await ask(`/verdicts${query({ ...filters, limit: MISSED, cursor })}`, { signal }));
  }
  return { verdicts: pages.flatMap(({ verdicts }) => verdicts), next: pages.at(-1).next };
}

async function listMore() {
  const filters = wanted();
  const cursor = next;
  try {
    const page = await ask(`/verdicts${query({ ...filters, cursor })}`);
    if (next !== cursor || JSON.stringify(filters) !== JSON.stringify(wanted())) return;
    next = page.next;
    const isListed = new Set(frames.map(key));
    keep(frames, page.verdicts.filter((frame) => !isListed.has(key(frame))));
  } catch (refused) {
    status.textContent = refused.message;
  }
}

function keep(first, rest) {
  const isAnotherChoice = list.hasAttribute("aria-busy");
  list.removeAttribute("aria-busy");
  const known = new Map(frames.map((frame) => [key(frame), frame]));
  frames = [...first, ...rest];
  for (const frame of frames) {
    const told = said.get(key(frame));
    if (told?.truth === frame.truth || told?.until < Date.now()) said.delete(key(frame));
    else if (told) frame.truth = told.truth;
  }
  find(".more").hidden = !next;
  chosen = (chosen && frames.find((frame) => key(frame) === key(chosen))) ?? chosen;
  if (chosen) drawFrame();
  else if (frames.length) choose(frames[0], false);
  const isSame = frames.length === known.size
    && frames.every((frame) => known.has(key(frame)) && known.get(key(frame)).truth === frame.truth);
  if (!isSame) drawList();
  if (isAnotherChoice) list.scrollTop = 0;
  if (!frames.length) {
    chosen = about = null;
    status.textContent = "There is no such frame.";
    find(".frame").hidden = true;
  }
}

function drawList() {
  replace(
    list,
    frames.map((frame) => {
      const [mark, word] = DECISIONS[frame.decision];
      const item = element(
        "li", { role: "option", id: idOf(frame), "aria-selected": String(chosen != null && key(frame) === key(chosen)), "data-decision": frame.decision },
        element("span", { class: "mark", "aria-hidden": "true", text: mark }),
        element("span", {}, `${frame.camera} ${frame.seq}`, element("span", { class: "heard", text: `, ${word}` })),
        element("span", { class: "score-of", text: score(frame.calibrated_score) }),
        element("span", { class: "truth", text: truthOf(frame) }),
      );
      item.title = `${word}, ${clock(frame.captured_at_us, true)}`;
      item.addEventListener("click", () => choose(frame));
      return item;
    }),
  );
}

const truthWord = (truth) => (truth == null ? "nobody said" : truthOf({ truth }));
const truthOf = ({ truth }) => (truth == null ? "" : truth === "normal" ? "○ normal" : `● ${truth.replace("anomalous:", "")}`);

function choose(frame, isAsked = true) {
  restored = null;
  chosen = about = frame;
  select(list, idOf(frame), isAsked);
  find(".frame").hidden = false;
  drawFrame();
}

function drawFrame() {
  const frame = chosen;
  const [mark, word] = DECISIONS[frame.decision];
  find(".frame h3").textContent = `${frame.camera}, frame ${frame.seq}`;
  find(".frame .when").textContent = clock(frame.captured_at_us, true) + zone(frame.captured_at_us);
  const decision = find(".frame .decision");
  decision.dataset.decision = frame.decision;
  decision.textContent = `${mark} ${word}${frame.calibrated_score == null ? "" : ` at ${score(frame.calibrated_score)}`}`;
  find(".frame .truth").textContent = truthWord(frame.truth);
  allowUndo();
  const path = picturePath(frame.camera, frame.seq, "image");
  // Of a frame that was just judged there may be none yet.
  const picture = frame.has_picture ? path : `none of ${path}`;
  if (image.dataset.picture !== picture) {
    image.dataset.picture = picture;
    image.hidden = heatmap.hidden = closer.hidden = true;
    closer.removeAttribute("src");
    find(".closer-toggle").disabled = true;
    pictured = null;
    find(".picture").classList.remove("is-closer");
    find(".picture .part").textContent = "";
    find(".picture .outlines").replaceChildren();
    hideNearest();
    image.alt = `frame ${frame.seq} of ${frame.camera}`;
    if (frame.has_picture) {
      find(".picture .nothing").textContent = "…";
      image.src = path;
      heatmap.src = picturePath(frame.camera, frame.seq, "heatmap");
    } else {
      find(".picture .nothing").textContent = NOT_PICTURED;
      for (const picture of [image, heatmap]) picture.removeAttribute("src");
    }
  }
  const regions = frame.regions ?? [];
  const suppressed = frame.suppressed ?? [];
  find(".regions").replaceChildren(
    ...regions.map((region, at) => element("li", {}, element("b", { text: `${at + 1} ` }), `${region.area_px} px², peak ${score(region.peak)}`)),
    ...suppressed.map((region) => element("li", { class: "suppressed" }, `does not count (${String(region.reason).replaceAll("_", " ")}): ${region.area_px} px², peak ${score(region.peak)}`)),
  );
  find(".regions-none").hidden = regions.length + suppressed.length > 0;
}

image.addEventListener("load", async () => {
  image.hidden = false;
  find(".picture .nothing").textContent = "";
  const frame = chosen;
  // While it was loaded, another choice of frames turned out to be of none.
  if (!frame) return;
  const answer = await ask(`/cameras/${encodeURIComponent(frame.camera)}/frames/${frame.seq}`).catch(() => null);
  if (!answer || !chosen || key(chosen) !== key(frame)) return;
  pictured = answer;
  if (answer.closer_px) closer.src = picturePath(frame.camera, frame.seq, "closer");
  find(".closer-toggle").disabled = !answer.closer_px;
  find(".closer-toggle").title = answer.closer_px ? "" : "The picture shows all of the frame's pixels.";
  drawOutlines();
  showNearest(frame, answer.nearest);
});
closer.addEventListener("load", drawOutlines);
// Until it is there, the one of the frame before would be seen.
heatmap.addEventListener("load", () => {
  heatmap.dataset.loaded = heatmap.getAttribute("src");
  heatmap.hidden = !heatmapIsOn;
});
image.addEventListener("error", () => {
  find(".picture .nothing").textContent = NOT_LOADED;
  delete image.dataset.picture;
});

// Over what is shown of the frame: all of it, or its part pixel by pixel.
function drawOutlines() {
  if (!pictured || !chosen) return;
  const { width_px, height_px, closer_px, nearest } = pictured;
  closer.hidden = !(closerIsOn && closer_px && closer.complete && closer.naturalWidth);
  find(".picture").classList.toggle("is-closer", !closer.hidden);
  const { x, y, width, height } = closer.hidden ? { x: 0, y: 0, width: width_px, height: height_px } : closer_px;
  closer.alt = `frame ${chosen.seq} of ${chosen.camera}, pixel by pixel`;
  find(".picture .part").textContent = closer.hidden ? "" : `${width} × ${height} px from ${x}, ${y}, of ${width_px} × ${height_px}`;
  const { regions = [], suppressed = [] } = chosen;
  const outline = (name) => ({ bbox_px: rect }) => drawn("rect", { class: name, ...rect, "vector-effect": "non-scaling-stroke" });
  const size = Math.max(width, height) / 28;
  const outlines = find(".picture .outlines");
  outlines.setAttribute("viewBox", `${x} ${y} ${width} ${height}`);
  // What lies beyond is cut off.
  const within = drawn("svg", { x, y, width, height, viewBox: `${x} ${y} ${width} ${height}` });
  within.append(
    ...regions.map(outline("region")), ...suppressed.map(outline("suppressed")),
    ...numbers(regions, nearest, size), ...patchMarks(nearest, size),
  );
  outlines.replaceChildren(within);
}

// Those of the list beside it, within the upper right corners, or before a region that they would cover; where nearest patches are shown,
// these have them.
function numbers(regions, nearest, size) {
  if (regions.length < 2) return [];
  const numbered = regions.map(({ bbox_px: { x, y, width } }, at) => {
    const right = width < 2 * size && x > size ? x : x + width;
    return { at, x: right - size / 6, y: y + size };
  });
  return numbered.filter(({ at }) => !nearest.some(({ region }) => region === at))
    .map(({ at, x, y }) => drawn("text", { x, y, "font-size": size, "text-anchor": "end", text: at + 1 }));
}

function toggleCloser() {
  if (find(".closer-toggle").disabled) return;
  closerIsOn = !closerIsOn;
  find(".closer-toggle").setAttribute("aria-pressed", String(closerIsOn));
  drawOutlines();
}

async function label(truth) {
  const frame = chosen;
  if (!mayLabel || !frame || frame.decision === "dropped") return;
  const told = { frame, before: frame.truth, isTaken: send(frame, truth) };
  done.push(told);
  // The next frame has a defect of its own.
  const field = find("[name=class]");
  const named = field.value;
  field.value = "";
  move(1);
  allowUndo();
  about = frame;
  const taken = await told.isTaken;
  if (taken) {
    status.textContent = [`${frame.camera} ${frame.seq} is ${truth}. U takes it back.`, ...taken.notes].join(" Note: ");
  } else if (done.includes(told)) {
    done.splice(done.indexOf(told), 1);
    field.value ||= named;
    allowUndo();
  }
}

const hasLabelOfOthers = () => chosen?.truth != null && restored !== key(chosen);

function allowUndo() {
  find(".undo").disabled = !mayLabel || (!done.length && !hasLabelOfOthers());
}

// What the server said to it; null where it refused it.
async function send(frame, truth) {
  const before = frame.truth;
  mark(frame, truth);
  try {
    figuresBefore = figures;
    return await tell("POST", "/labels", { camera: frame.camera, seq: frame.seq, truth: truth ?? "unlabelled" });
  } catch (refused) {
    mark(frame, before);
    status.textContent = `${frame.camera} ${frame.seq} was not labelled: ${refused.message}`;
    return null;
  }
}

// Shows a label before the run has taken it in.
function mark(frame, truth) {
  said.set(key(frame), { truth, until: Date.now() + TAKEN_IN_MS });
  frame.truth = truth;
  for (const listed of frames) if (key(listed) === key(frame)) listed.truth = truth;
  drawList();
  if (chosen && key(chosen) === key(frame)) find(".frame .truth").textContent = truthWord(truth);
}

// What was said last is said as it was before; where nothing was said here, the chosen frame is unlabelled.
async function undo() {
  if (!mayLabel) return;
  const last = done.pop();
  allowUndo();
  if (!last) {
    const frame = chosen;
    const was = frame?.truth;
    if (!hasLabelOfOthers() || !(await send(frame, null))) return;
    status.textContent = `${frame.camera} ${frame.seq} is unlabelled again; it was ${was}.`;
    about = frame;
    allowUndo();
    return;
  }
  // It may not be taken yet, or not at all.
  if (!(await last.isTaken)) return;
  const { frame, before } = last;
  if (!(await send(frame, before))) {
    done.push(last);
    allowUndo();
    return;
  }
  status.textContent = `${frame.camera} ${frame.seq} is ${before ?? "unlabelled"} again.`;
  choose(frames.find((listed) => key(listed) === key(frame)) ?? frame);
  restored = key(frame);
  allowUndo();
}

function move(by) {
  const found = neighbour(frames, chosen, key, by);
  if (found) choose(found);
  if (next && by > 0 && found === frames.at(-1)) listMore();
}

function toggleHeatmap() {
  heatmapIsOn = !heatmapIsOn;
  heatmap.hidden = !heatmapIsOn || heatmap.dataset.loaded !== heatmap.getAttribute("src");
  find(".toggle").setAttribute("aria-pressed", String(heatmapIsOn));
}

find(".more").addEventListener("click", listMore);
find(".normal").addEventListener("click", () => label("normal"));
find(".anomalous").addEventListener("click", () => label(defect()));
find(".undo").addEventListener("click", undo);
find(".toggle").addEventListener("click", toggleHeatmap);
find(".closer-toggle").addEventListener("click", toggleCloser);
const defect = () => {
  const name = find("[name=class]").value.trim();
  return name ? `anomalous:${name}` : "anomalous";
};

find("[name=class]").addEventListener("keydown", (event) => {
  if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
  event.preventDefault();
  if (event.key === "Enter" && !event.repeat) label(defect());
  event.target.blur();
});

export function pressed(event) {
  // A key that is held down goes through the list, but labels one frame.
  const once = (act) => () => event.repeat || act();
  perform(event, { n: once(() => label("normal")), a: once(() => label(defect())), u: once(undo), h: once(toggleHeatmap), z: once(toggleCloser), ...steps(move) });
}

// The widest window with labels that the frame is in, of this camera or of all; without a frame the newest.
async function askForLabelled(scope, signal) {
  if (!kinds) {
    const { lengths } = await ask(`/rates${query({ limit: 1 })}`, { signal });
    kinds = lengths.length ? lengths.toReversed() : ["shift"];
  }
  const at = about?.time_us;
  for (const window of kinds) {
    const to = at == null ? null : at + Math.round(60e6 * (minutesOf(window) || SHIFT_MINUTES_MAX));
    const { windows, tail } = await ask(`/rates${query({ scope, window, from: at, to, limit: SHIFTS_MAX })}`, { signal });
    const holds = ({ start_us, end_us }) => at == null || (start_us <= at && at < end_us);
    const found = [...tail, ...windows].find((window) => window.figures.labelled?.value && holds(window));
    if (found) return { ...found, isNewest: tail.includes(found) };
  }
  return null;
}

// What the labels did to the figures.
async function showFigures(signal) {
  const camera = find("[name=camera]").value;
  const scope = camera ? `camera/${camera}` : "all";
  const widest = await askForLabelled(scope, signal);
  // The newest rolls on.
  const until = widest && !widest.isNewest ? ` to ${clock(widest.end_us)}` : "";
  figures = { of: `${scope} ${widest?.window}${until}` };
  for (const name of ["precision", "recall", "escape_rate", "false_reject_rate"]) {
    const { value, before } = widest?.figures[name] ?? {};
    figures[name] = value;
    const was = figuresBefore.of === figures.of ? figuresBefore[name] : before;
    find(`[data-rate=${name}]`).textContent = `${was != null && was !== value ? `${percent(was)} → ` : ""}${percent(value)}`;
  }
  find("[data-rate=labelled]").textContent = widest ? widest.figures.labelled.value.toLocaleString("en") : "0";
  find(".rates-of").textContent = widest ? `${camera || "all cameras"}, ${widest.window}${until}` : about ? "no labels near this frame" : "no labels yet";
}
