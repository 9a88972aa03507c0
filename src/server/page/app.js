// The line as it is now: what the server says four times a second, drawn without moving anything about.
import { Tile } from "./tile.js";

const main = document.querySelector("main");
const tiles = new Map();
const state = document.querySelector("#state");
const signIn = document.querySelector("#sign-in");
// The server says something every quarter of a second; after so long without it the page is out of date.
const SILENT_MS = 3000;
let heardAt = 0;
let events;

const STATES = {
  connecting: "connecting", starting: "starting", running: "running", ending: "ending", ended: "run has ended",
  lost: "no connection, trying again",
};

function showState(name) {
  if (state.dataset.state === name) return;
  state.dataset.state = name;
  state.querySelector(".text").textContent = STATES[name] ?? name;
}

function show(line) {
  showState(line.state);
  const total = (of) => line.cameras.reduce((sum, camera) => sum + camera[of], 0);
  for (const of of ["judged", "rejected", "unreadable", "dropped"]) {
    document.querySelector(`[data-total=${of}]`).textContent = total(of).toLocaleString("en");
  }
  const behind = line.behind_seconds;
  document.querySelector("[data-total=behind]").textContent = behind == null ? "–" : `${behind.toFixed(1)} s`;
  for (const camera of line.cameras) {
    if (!tiles.has(camera.camera)) {
      const tile = new Tile(camera.camera);
      tiles.set(camera.camera, tile);
      main.append(tile.element);
    }
    tiles.get(camera.camera).show(camera, line.said_at_us);
  }
  showAlerts(line.alerts);
}

function showAlerts(alerts) {
  const list = document.querySelector("#alerts");
  const texts = alerts.map((alert) => `Alert: ${alert.rule}, of ${alert.scope}`);
  if (list.dataset.texts === texts.join("\n")) return;
  list.dataset.texts = texts.join("\n");
  list.replaceChildren(...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

function listen() {
  events?.close();
  events = new EventSource("/api/v1/events");
  events.addEventListener("line", (event) => {
    heardAt = Date.now();
    signIn.hidden = true;
    show(JSON.parse(event.data));
  });
  events.onerror = async () => {
    showState("lost");
    // A browser that was refused does not try again by itself, and does not say why.
    if (events.readyState === EventSource.CLOSED) {
      const answer = await fetch("/api/v1/status").catch(() => null);
      if (answer?.status === 401) signIn.hidden = false;
      else setTimeout(listen, 1000);
    }
  };
}

signIn.addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = document.querySelector("#token").value.trim();
  const answer = await fetch("/api/v1/session", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token }),
  }).catch(() => null);
  document.querySelector("#refused").textContent = answer?.ok ? "" : "This is not the token.";
  if (answer?.ok) {
    signIn.hidden = true;
    listen();
  }
});

setInterval(() => {
  if (heardAt && Date.now() - heardAt > SILENT_MS && state.dataset.state !== "ended") showState("lost");
}, 1000);

// Arrows go from tile to tile.
main.addEventListener("keydown", (event) => {
  const all = [...main.children];
  const at = all.indexOf(document.activeElement);
  const columns = getComputedStyle(main).gridTemplateColumns.split(" ").length;
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (at < 0 || !by) return;
  event.preventDefault();
  all[Math.min(all.length - 1, Math.max(0, at + by))].focus();
});

listen();
