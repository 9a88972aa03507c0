// Charts as SVG: lines over time, and the histogram of scores. They are drawn here because a line over time with corrections and an
// open tail, and a histogram under a threshold, are all that the page needs.
import { clock, drawn, element } from "./words.js";

const WIDTH = 380;
const HEIGHT = 150;
const HISTOGRAM_WIDTH = 560;
const HISTOGRAM_HEIGHT = 170;
const LEFT = 56;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 22;
// Shapes tell lines apart, as their colours do.
const MARKS = ["circle", "square", "triangle"];
// How many were drawn.
let histograms = 0;

// `series`: [{ name, points: [{ at_us, value, revision, before, is_open }], between: [{ at_us, value }] }] in the order of time, all within
// `span`; a value of null is a gap. `write` says a value. What is open (not all of its frames came yet) is dashed and hollow, and said only
// where nothing else is known; what came between, as it was seen then, is dashed.
export function lineChart({ title, series, span: [first, last], write, full = null, note = "" }) {
  const drawnPoints = series.flatMap(({ points, between = [] }) => [...points, ...between]);
  const values = drawnPoints.map(({ value }) => value).filter((value) => value != null);
  const figure = element("figure", { class: "chart" });
  const latest = series.map(({ name, points }) => {
    const known = points.filter(({ value }) => value != null);
    const last = known.findLast(({ is_open }) => !is_open) ?? known.at(-1);
    return { name, is: last ? `${write(last.value)}${last.is_open ? ", open" : ""}` : "–" };
  });
  const isOne = series.length === 1;
  figure.append(element("figcaption", {}, element("b", { text: title }), element("output", { text: isOne ? latest[0].is : "" })));
  const key = isOne ? [] : latest.map(({ name, is }, index) => {
    const sample = drawn("svg", { viewBox: "0 0 12 12", width: 12, height: 12, class: `line-${index}`, "aria-hidden": "true" });
    sample.append(mark(MARKS[index % MARKS.length], 6, 6, 4, "dot"));
    return element("span", {}, sample, `${name} `, element("output", { text: is }));
  });
  if (!values.length) {
    figure.append(element("p", { class: "nothing-yet", text: note || "Nothing is known yet." }), element("p", { class: "key" }, ...key));
    return figure;
  }
  const highest = full ?? niceCeiling(Math.max(...values));
  const lowest = Math.min(0, ...values);
  const x = (at_us) => LEFT + 4 + ((at_us - first) / Math.max(1, last - first)) * (WIDTH - LEFT - RIGHT - 8);
  const y = (value) => TOP + (1 - (value - lowest) / Math.max(1e-9, highest - lowest)) * (HEIGHT - TOP - BOTTOM);
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${latest.map(({ name, is }) => (isOne ? is : `${name} ${is}`)).join(", ")}` });
  for (const share of [0, 0.5, 1]) {
    const value = lowest + share * (highest - lowest);
    svg.append(
      drawn("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      drawn("text", { class: "tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end", text: write(value) }),
    );
  }
  const withDay = last - first > 86_400e6;
  for (const [at_us, anchor] of last > first ? [[first, "start"], [last, "end"]] : [[first, "start"]]) {
    svg.append(drawn("text", { class: "tick", x: x(at_us), y: HEIGHT - 5, "text-anchor": anchor, text: clock(at_us, withDay) }));
  }
  series.forEach(({ name, points, between = [] }, index) => {
    const group = drawn("g", { class: `line line-${index}` });
    const through = (of, is = {}) => {
      for (const run of runs(of)) {
        group.append(drawn("polyline", { ...is, points: run.map(({ at_us, value }) => `${x(at_us)},${y(value)}`).join(" ") }));
      }
    };
    through(points.filter(({ is_open }) => !is_open));
    through(between, { class: "open" });
    const closed = points.findLast(({ value, is_open }) => value != null && !is_open);
    const open = points.findLast(({ value, is_open }) => value != null && is_open);
    if (closed && open && !between.length) {
      group.append(drawn("line", { class: "open", x1: x(closed.at_us), y1: y(closed.value), x2: x(open.at_us), y2: y(open.value) }));
    }
    for (const point of points) {
      if (point.value == null) continue;
      const corrected = point.before != null && point.before !== point.value;
      const said = [
        `${series.length > 1 ? `${name}, ` : ""}${clock(point.at_us, true)}: ${write(point.value)}`,
        corrected ? `corrected from ${write(point.before)} (revision ${point.revision})` : "",
        point.is_open ? "still open: not all of its frames came" : "",
      ];
      if (corrected) {
        group.append(
          drawn("line", { class: "correction", x1: x(point.at_us), x2: x(point.at_us), y1: y(clamp(point.before, lowest, highest)), y2: y(point.value) }),
          mark("circle", x(point.at_us), y(clamp(point.before, lowest, highest)), 2, "before"),
        );
      }
      const dot = mark(MARKS[index % MARKS.length], x(point.at_us), y(point.value), corrected || point.is_open ? 4 : 2.5, point.is_open ? "hollow" : corrected ? "corrected" : "dot");
      dot.append(drawn("title", { text: said.filter(Boolean).join("; ") }));
      group.append(dot);
    }
    svg.append(group);
  });
  figure.append(svg, element("p", { class: "key" }, ...key));
  return figure;
}

// The counts of a histogram with so many buckets, in which those that hold nothing are left out.
export function dense(counts, buckets) {
  const all = Array.from({ length: buckets }, () => ({ unlabelled: 0, normal: 0, anomalous: 0 }));
  for (const { bucket, ...numbers } of counts) all[bucket] = numbers;
  return all;
}

// How many of `number` scores would be in each of so many bars if they were spread as `scores` are.
export function spread(scores, bars, number) {
  if (!scores.length) return [];
  const counts = Array.from({ length: bars }, () => 0);
  for (const score of scores) counts[Math.max(0, Math.min(bars, Math.ceil(score * bars)) - 1)] += number / scores.length;
  return counts;
}

// `buckets`: what was counted by score, by truth; `calibration`: how many would be in each if scores were spread as when the threshold was
// chosen; `at` is the threshold that is looked at, `was` the one that holds.
export function histogram({ buckets, calibration = [], at, was }) {
  const svg = drawn("svg", { viewBox: `0 0 ${HISTOGRAM_WIDTH} ${HISTOGRAM_HEIGHT}`, role: "img", class: "histogram", "aria-label": "How many frames have which score" });
  // What is normal is hatched, so that the three are told apart without their colours. Several histograms are in one page.
  const hatching = `hatching-${(histograms += 1)}`;
  const pattern = drawn("pattern", { id: hatching, width: 4, height: 4, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  pattern.append(drawn("rect", { class: "hatched-ground", width: 4, height: 4 }), drawn("rect", { class: "hatch", width: 2, height: 4 }));
  const hatched = drawn("defs", {});
  hatched.append(pattern);
  svg.append(hatched);
  const totals = buckets.map(({ unlabelled, normal, anomalous }) => unlabelled + normal + anomalous);
  // Roots, so that a single reject is still seen beside thousands of good parts.
  const highest = Math.sqrt(Math.max(1, ...totals, ...calibration));
  const width = (HISTOGRAM_WIDTH - 2 * RIGHT) / buckets.length;
  const bottom = HISTOGRAM_HEIGHT - BOTTOM;
  const up = (number) => (Math.sqrt(number) / highest) * (bottom - TOP);
  buckets.forEach((bucket, index) => {
    let below = 0;
    for (const truth of ["unlabelled", "normal", "anomalous"]) {
      const number = bucket[truth];
      if (!number) continue;
      const [low, high] = [up(below), up(below + number)];
      below += number;
      const bar = drawn("rect", {
        class: truth, x: RIGHT + index * width, width: Math.max(1, width - 0.6), y: bottom - high, height: Math.max(1.5, high - low),
      });
      const from = (index / buckets.length).toFixed(3);
      if (truth === "normal") bar.setAttribute("fill", `url(#${hatching})`);
      bar.append(drawn("title", { text: `scores from ${from}: ${number} ${truth}` }));
      svg.append(bar);
    }
  });
  if (calibration.length) {
    const x = (index) => RIGHT + index * width;
    const steps = calibration.map((number, index) => `V${bottom - up(number)}H${x(index + 1)}`);
    svg.append(drawn("path", { class: "calibration", d: `M${x(0)},${bottom}${steps.join("")}V${bottom}` }));
  }
  svg.append(drawn("line", { class: "axis", x1: RIGHT, x2: HISTOGRAM_WIDTH - RIGHT, y1: bottom, y2: bottom }));
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(drawn("text", { class: "tick", x: RIGHT + share * (HISTOGRAM_WIDTH - 2 * RIGHT), y: HISTOGRAM_HEIGHT - 6, "text-anchor": share === 0 ? "start" : share === 1 ? "end" : "middle", text: share }));
  }
  for (const [share, name] of [[was, "threshold now"], [at, "threshold then"]]) {
    const place = RIGHT + share * (HISTOGRAM_WIDTH - 2 * RIGHT);
    svg.append(drawn("line", { class: name.replace(" ", "-"), x1: place, x2: place, y1: TOP - 6, y2: bottom }));
  }
  return svg;
}

function mark(shape, x, y, size, name) {
  if (shape === "square") return drawn("rect", { class: name, x: x - size, y: y - size, width: 2 * size, height: 2 * size });
  if (shape === "triangle") {
    return drawn("polygon", { class: name, points: `${x},${y - size} ${x + size},${y + size} ${x - size},${y + size}` });
  }
  return drawn("circle", { class: name, cx: x, cy: y, r: size });
}

// Points without a gap between them.
function runs(points) {
  const found = [[]];
  for (const point of points) {
    if (point.value == null) found.push([]);
    else found.at(-1).push(point);
  }
  return found.filter((run) => run.length > 1);
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

// The next of 1, 2, 5, 10 … that is not below.
function niceCeiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.9999);
}
