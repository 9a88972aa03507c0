// A camera: its newest picture, its verdict, where its score lies, and how often it rejected lately.

import { DECISIONS, ago, percent } from "./words.js";

const STATES = {
  starting: "no frame yet", ended: "ended", live: "live", idle: "idle", late: "late", dropping: "dropping", reconnecting: "reconnecting",
};
const HELD_US = 5_000_000;
// A picture that is older says so: of a camera of which nothing comes, or where the line leaves no core to draw.
const OLD_US = 5_000_000;
const SPARK_WIDTH = 120;
const SPARK_HEIGHT = 24;
// The share of rejects that fills the height at least.
const SPARK_FULL_MIN = 0.1;

export class Tile {
  constructor(name) {
    this.element = document.querySelector("#tile").content.firstElementChild.cloneNode(true);
    this.name = name;
    this.element.dataset.camera = name;
    this.find("h2 a").textContent = name;
    this.find("h2 a").title = `${name}: its frames in Review`;
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  show(camera, nowUs) {
    this.showVerdict(camera);
    this.holdReject(camera, nowUs);
    this.showAges(nowUs, camera.state);
    if (camera.state === "ended") this.find(".nothing").textContent = "no picture was kept";
    this.showRejects(camera);
    const state = this.find(".camera-state");
    if (state.dataset.state !== camera.state) {
      state.dataset.state = camera.state;
      state.querySelector(".text").textContent = STATES[camera.state] ?? camera.state;
    }
    this.find(".reason").textContent = camera.reason ?? "";
    this.find(".reason").title = camera.reason ?? "";
    this.find("[data-figure=rate]").textContent = camera.reject_rate == null ? "–" : percent(camera.reject_rate);
    const latencyMs = camera.last?.latency_ms;
    this.find("[data-figure=latency]").textContent = latencyMs == null ? "–" : `${latencyMs.toFixed(0)} ms`;
    this.find("[data-figure=judged]").textContent = camera.judged.toLocaleString("en");
  }

  showVerdict({ last }) {
    if (!last || last.seq === this.shownSeq) return;
    this.shownSeq = last.seq;
    const [mark, word] = DECISIONS[last.decision];
    this.element.dataset.decision = last.decision;
    const verdict = this.find(".verdict");
    verdict.dataset.decision = last.decision;
    verdict.querySelector(".mark").textContent = mark;
    verdict.querySelector(".text").textContent = word;
    verdict.querySelector(".frame").textContent = `frame ${last.seq.toLocaleString("en")}`;
    const isScored = last.decision !== "unreadable";
    this.find(".needle").hidden = !isScored;
    this.find(".needle").style.left = `${100 * Math.min(1, Math.max(0, last.score))}%`;
    this.find("output").textContent = isScored ? last.score.toFixed(3) : "–";
    this.find(".scale").setAttribute(
      "aria-label",
      isScored ? `score ${last.score.toFixed(3)}, rejected from 0.5` : "no score",
    );
  }

  // A reject is said for as long as it takes to see it, however soon the next frame passes. When it was, nobody knows where nothing was
  // told for longer.
  holdReject({ rejected, last, state }, nowUs) {
    if (rejected > this.rejected && nowUs - this.toldAtUs < HELD_US) this.rejectedAtUs = nowUs;
    this.rejected = rejected;
    this.toldAtUs = nowUs;
    const sinceUs = nowUs - this.rejectedAtUs;
    // It is negative where the server's clock was set back.
    const isHeld = sinceUs >= 0 && sinceUs < HELD_US && state !== "ended";
    this.element.classList.toggle("has-rejected", isHeld);
    this.find(".lately").textContent = isHeld && last?.decision !== "reject" ? `✕ rejected ${ago(sinceUs)}` : "";
  }

  showPicture(picture) {
    const { seq, jpeg } = picture;
    const src = `data:image/jpeg;base64,${jpeg}`;
    // What was rejected stays beside the newest frame until something else is. It may be drawn after one that passed later.
    const held = this.find(".held");
    if (picture.is_rejected) {
      this.heldPicture = picture;
      held.querySelector("img").src = src;
      held.querySelector("img").alt = `rejected frame ${seq} of ${this.name}`;
    }
    const isNewest = !this.picture || seq >= this.picture.seq;
    held.hidden = !this.heldPicture || (isNewest && picture.is_rejected);
    if (!isNewest) return;
    this.picture = picture;
    const image = this.find(".newest");
    image.src = src;
    image.alt = `frame ${seq} of ${this.name} with what was found`;
    image.hidden = false;
    // Most frames are judged without a picture, so it says which one it is.
    const shown = this.find(".shown");
    const decision = picture.is_rejected ? "reject" : "pass";
    shown.dataset.decision = decision;
    shown.querySelector(".which").textContent = `${DECISIONS[decision][0]} frame ${seq.toLocaleString("en")}`;
    shown.querySelector(".age").textContent = "";
  }

  showAges(nowUs, state) {
    if (this.picture) {
      const ageUs = nowUs - this.picture.drawn_at_us;
      this.find(".shown .age").textContent = ageUs > OLD_US && state !== "ended" ? `, ${ago(ageUs)}` : "";
    }
    if (!this.heldPicture) return;
    const { seq, drawn_at_us: drawnAtUs } = this.heldPicture;
    this.find(".held figcaption").textContent = `✕ ${seq.toLocaleString("en")}, ${ago(nowUs - drawnAtUs)}`;
  }

  // A bar for every five seconds in which something was judged: how much of it was rejected. The highest fills the height, but what is
  // low stays low.
  showRejects({ rejects }) {
    const key = rejects.join();
    if (key === this.rejectsShown) return;
    this.rejectsShown = key;
    const spark = this.find(".spark");
    const width = SPARK_WIDTH / rejects.length;
    const full = Math.max(SPARK_FULL_MIN, ...rejects.map((share) => share ?? 0));
    spark.replaceChildren(
      ...rejects.flatMap((share, at) => {
        if (!share) return [];
        const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        const height = Math.max(2, (share / full) * SPARK_HEIGHT);
        for (const [name, value] of Object.entries({ x: at * width, y: SPARK_HEIGHT - height, width: width * 0.8, height })) {
          bar.setAttribute(name, value);
        }
        return [bar];
      }),
    );
    const seen = rejects.filter((share) => share != null);
    const most = seen.length ? `at most ${percent(Math.max(...seen))} in five seconds` : "nothing was judged";
    spark.setAttribute("aria-label", `rejected in the last five minutes: ${most}`);
  }
}
