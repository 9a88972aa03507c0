// Two runs of the same frames: how many decisions flip, and each of these frames in both.
import { ask, picturePath, query } from "./api.js";
import { poll } from "./poll.js";
import { goOnIn, neighbour, optionId, perform, replace, select, steps } from "./queue.js";
import { DECISIONS, NOT_LOADED, NOT_PICTURED, clock, count, element, fill, percent, score, zone } from "./words.js";

const EVERY_MS = 5000;
const LISTED = 50;
// So far behind the end of the list the chosen one is looked for when more flips come before it.
const FURTHER_MAX = 4 * LISTED;
const find = (selector) => document.querySelector(`#compare ${selector}`);
const list = find(".queue");
const status = find(".status");

let runs = ["", ""];
let flips = [];
let next = null;
let chosen = null;
let compares = false;
let heatmapIsOn = true;
// What the listed flips were asked for, and what was counted then: they are asked for anew when either changes.
let listedFor = null;
let countedThen = null;
let nWanted = LISTED;
const refreshing = poll(refresh, EVERY_MS, status);

const key = ({ before }) => `${before.camera}\n${before.seq}`;
const change = ({ before, after }) => `${DECISIONS[before][0]} ${DECISIONS[before][1]} → ${DECISIONS[after][0]} ${DECISIONS[after][1]}`;

export function setSession(session) {
  compares = session.compares;
  find(".how").hidden = compares;
  if (!compares) find(".two-runs").hidden = true;
}

export function show() {
  if (!compares) return;
  refreshing.now();
}

export function hide() {
  refreshing.stop();
}

const selects = document.querySelectorAll("#compare .filters select");
goOnIn(list, selects);
for (const select of selects) select.addEventListener("change", refreshing.now);
find(".more").addEventListener("click", () => {
  nWanted += LISTED;
  refreshing.now();
});

async function refresh(signal) {
  // What it shows comes with it, or why there is nothing.
  const { run, other, cameras } = await ask("/compare", { signal }).finally(() => {
    find(".two-runs").hidden = false;
  });
  runs = [run, other];
  fill(find("[name=camera]"), [{ value: "", text: "all cameras" }, ...cameras.map(({ camera }) => ({ value: camera, text: camera }))]);
  drawTable(cameras);
  const filter = wanted();
  const [asked, counted] = [filter, cameras].map((of) => JSON.stringify(of));
  const isSame = asked === listedFor;
  const goesOn = isSame && counted === countedThen;
  if (goesOn && (flips.length >= nWanted || !next)) return;
  if (!isSame) nWanted = LISTED;
  const known = goesOn ? { listed: flips, cursor: next } : { listed: [], cursor: null };
  [flips, next] = await listOn(known, filter, isSame, signal);
  [listedFor, countedThen] = [asked, counted];
  find(".more").hidden = !next;
  drawList();
  if (!isSame) list.scrollTop = 0;
  if (!flips.length) chosen = null;
  else if (!chosen || !(isSame || isIn(flips))) choose(flips[0], false);
  find(".pair").hidden = !chosen;
}

function wanted() {
  const [before, after] = find("[name=change]").value.split(" ");
  return { camera: find("[name=camera]").value, before, after };
}

const isIn = (listed) => listed.some((flip) => chosen && key(flip) === key(chosen));

// As many flips as are wanted, and up to the chosen one where the list is asked for anew. A page may be empty although there is another
// one.
async function listOn({ listed, cursor }, filter, isSame, signal) {
  let all = listed;
  let next = cursor;
  const isWanted = () => all.length < nWanted || (isSame && chosen && all.length < nWanted + FURTHER_MAX && !isIn(all));
  do {
    const page = await ask(`/compare/flips${query({ ...filter, limit: LISTED, cursor: next })}`, { signal });
    all = [...all, ...page.flips];
    next = page.next;
  } while (next && isWanted());
  return [all, next];
}

const total = (cameras, of) => cameras.reduce((sum, camera) => sum + of(camera), 0);
const flipped = ({ flips: counts }) => total(counts, ({ frames }) => frames);

function drawTable(cameras) {
  const camera = find("[name=camera]").value;
  const kinds = new Map();
  for (const { camera: name, flips: counts } of cameras) {
    for (const kind of counts) {
      const said = `${kind.before} ${kind.after}`;
      const known = kinds.get(said) ?? { ...kind, frames: 0 };
      if (!camera || camera === name) known.frames += kind.frames;
      kinds.set(said, known);
    }
  }
  fill(find("[name=change]"), [
    { value: "", text: "any that flips" },
    ...[...kinds].map(([value, kind]) => ({ value, text: `${change(kind)}: ${count(kind.frames)}` })),
  ]);
  const both = total(cameras, (of) => of.both);
  const all = total(cameras, flipped);
  find("caption").textContent = `${runs[0]} and ${runs[1]}: ${count(all)} of ${count(both)} decisions flip`;
  status.textContent = !both ? "No frame is in both runs." : !all ? "Both runs decide the same about every frame." : "";
  for (const at of [0, 1]) find(`[data-run="${at}"]`).textContent = `Only in ${runs[at]}`;
  const row = (name, of) => {
    const numbers = [of.both, flipped(of), of.identical, of.both - of.identical - flipped(of), of.only_in_run, of.only_in_other];
    const cells = numbers.map((number) => element("td", { text: count(number) }));
    if (flipped(of)) {
      cells[1].className = "differs";
      cells[1].title = percent(flipped(of) / of.both, 2);
    }
    return element("tr", {}, element("th", { scope: "row", text: name }), ...cells);
  };
  find("tbody").replaceChildren(...cameras.map((of) => row(of.camera, of)));
}

const idOf = ({ before }) => optionId("flip", before);

function drawList() {
  replace(
    list,
    flips.map((flip) => {
      const { before, after } = flip;
      const item = element(
        "li", { role: "option", id: idOf(flip), "aria-selected": String(chosen != null && key(flip) === key(chosen)) },
        element("span", { class: "change", "aria-hidden": "true", text: `${DECISIONS[before.decision][0]} → ${DECISIONS[after.decision][0]}` }),
        element("span", {}, `${before.camera} ${before.seq}`, element("span", { class: "heard", text: `, ${change({ before: before.decision, after: after.decision })}` })),
        element("span", { class: "score-of", text: `${score(before.calibrated_score)} → ${score(after.calibrated_score)}` }),
        element("span", { class: "truth", text: before.truth ?? "" }),
      );
      item.title = `${change({ before: before.decision, after: after.decision })}, ${clock(before.captured_at_us, true)}`;
      item.addEventListener("click", () => choose(flip));
      return item;
    }),
  );
}

function choose(flip, isAsked = true) {
  chosen = flip;
  const { before, after } = flip;
  const id = idOf(flip);
  select(list, id, isAsked);
  find(".pair").hidden = false;
  find(".pair h3").textContent = `${before.camera}, frame ${before.seq}${before.truth == null ? "" : `: ${before.truth}`}`;
  find(".pair .when").textContent = clock(before.captured_at_us, true) + zone(before.captured_at_us);
  const sides = [{ run: runs[0], frame: before, of: "" }, { run: runs[1], frame: after, of: "/compare" }];
  find(".sides").replaceChildren(side(sides[0], sides[1]), side(sides[1], sides[0]));
}

// A frame as one of the runs saw it. Where it kept no picture, because the frame passed, the other run has one of the same frame.
function side(own, other) {
  const { run, frame, of } = own;
  const made = document.querySelector("#side").content.cloneNode(true).firstElementChild;
  const within = (selector) => made.querySelector(selector);
  within("figcaption").textContent = run;
  const [mark, word] = DECISIONS[frame.decision];
  within(".decision").dataset.decision = frame.decision;
  within(".decision").textContent = `${mark} ${word} at ${score(frame.calibrated_score)}`;
  const facts = { image_score: score(frame.image_score), threshold: score(frame.threshold), regions: count(frame.regions.length), detector: frame.detector };
  for (const [name, text] of Object.entries(facts)) within(`[data-of=${name}]`).textContent = text ?? "–";
  const image = within(".plain");
  const heatmap = within(".heatmap");
  image.alt = `frame ${frame.seq} of ${frame.camera} in ${run}`;
  image.addEventListener("load", () => {
    image.hidden = false;
    heatmap.hidden = !heatmapIsOn || !heatmap.src;
    within(".nothing").textContent = "";
  });
  image.addEventListener("error", () => {
    within(".nothing").textContent = NOT_LOADED;
  });
  const pictured = [own, other].find((one) => one.frame.has_picture);
  if (pictured) image.src = picturePath(frame.camera, frame.seq, "image", pictured.of);
  else within(".nothing").textContent = NOT_PICTURED;
  if (pictured === own) heatmap.src = picturePath(frame.camera, frame.seq, "heatmap", of);
  if (pictured === other) within(".note").textContent = `No heatmap was kept here: the picture is that of ${other.run}.`;
  return made;
}

function move(by) {
  const found = neighbour(flips, chosen, key, by);
  if (found) choose(found);
}

function toggleHeatmap() {
  heatmapIsOn = !heatmapIsOn;
  for (const picture of document.querySelectorAll("#compare .picture")) {
    const heatmap = picture.querySelector(".heatmap");
    heatmap.hidden = !heatmapIsOn || !heatmap.src || picture.querySelector(".plain").hidden;
  }
  find(".toggle").setAttribute("aria-pressed", String(heatmapIsOn));
}
find(".toggle").addEventListener("click", toggleHeatmap);

export function pressed(event) {
  perform(event, { h: toggleHeatmap, ...steps(move) });
}
