// The page: which view is shown, who looks, and what the server says four times a second.
import { ask, tell } from "./api.js";
import * as compare from "./compare.js";
import { showAlerts, showLine, showPicture } from "./line.js";
import * as rates from "./rates.js";
import * as review from "./review.js";
import * as whatif from "./whatif.js";
import { clock } from "./words.js";

const VIEWS = { line: null, rates, review, whatif, compare };
// These tell of what is kept of a run.
const OF_KEPT = ["rates", "review", "whatif"];
const state = document.querySelector("#state");
const signIn = document.querySelector("#sign-in");
const token = document.querySelector("#token");
const who = document.querySelector("#who");
const totals = document.querySelector("#totals");
// The server says something every quarter of a second; after so long without it the page is out of date.
const SILENT_MS = 3000;
// A connection may be gone without a word, where a cable or a switch is: it is made anew.
const GONE_MS = 8000;
const AGAIN_MS = 1000;
let heardAt = 0;
let begunAtUs;
let events;
let again;
let shown = null;
let isSignedIn = false;
let isKept = true;

const STATES = {
  connecting: "connecting", starting: "starting", running: "running", ending: "ending", ended: "run has ended", interrupted: "run was interrupted",
  lost: "no connection, trying again", locked: "not signed in",
};

function showState(name) {
  if (state.dataset.state === name) return;
  state.dataset.state = name;
  // What is shown is of before.
  document.body.classList.toggle("is-stale", name === "lost");
  state.querySelector(".text").textContent = STATES[name] ?? name;
}

function heard(line) {
  // What was shown and said of another run, which has taken its place since, is not of this one.
  begunAtUs ??= line.begun_at_us;
  if (line.begun_at_us !== begunAtUs) {
    location.reload();
    return;
  }
  showState(line.state);
  const total = (of) => line.cameras.reduce((sum, camera) => sum + camera[of], 0);
  for (const of of ["judged", "rejected", "unreadable", "dropped"]) {
    document.querySelector(`[data-total=${of}]`).textContent = total(of).toLocaleString("en");
  }
  const since = line.counts_since_us;
  document.querySelector("#since").textContent = since ? `since ${clock(since, true)}, when the run went on` : "";
  const behind = line.behind_seconds;
  document.querySelector("[data-total=behind]").textContent = behind == null ? "–" : `${behind.toFixed(1)} s`;
  const names = line.cameras.map(({ camera }) => camera);
  review.setCameras(names);
  whatif.setCameras(names);
  showLine(line);
  showAlerts(line.alerts);
}

// The view that the address names.
function route() {
  const named = location.hash.replace("#/", "");
  const name = Object.hasOwn(VIEWS, named) ? named : "line";
  if (name === shown) return;
  VIEWS[shown]?.hide();
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = name === "line" ? "Intakt" : `${document.querySelector("nav [aria-current]").textContent} – Intakt`;
  const wasLine = shown === "line";
  shown = name;
  showView();
  // Pictures are drawn for those who look at them.
  if (isSignedIn && wasLine !== (shown === "line")) listen();
}

function showView() {
  const name = isKept || !OF_KEPT.includes(shown) ? shown : "unkept";
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.dataset.view !== name;
  if (isSignedIn) VIEWS[name]?.show();
}

async function meet() {
  clearTimeout(again);
  try {
    const session = await ask("/session", { signal: AbortSignal.timeout(GONE_MS) });
    isSignedIn = true;
    isKept = session.kept;
    signIn.hidden = true;
    document.querySelector("main").hidden = totals.hidden = false;
    who.hidden = !session.token;
    who.querySelector("span").textContent = `${session.name} (${session.role})`;
    review.setSession(session);
    whatif.setSession(session);
    compare.setSession(session);
    // When it is seen, it meets the server anew.
    if (document.hidden) return;
    showView();
    listen();
  } catch (refused) {
    if (refused.status === 401) {
      askForToken();
    } else {
      showState("lost");
      meetLater();
    }
  }
}

function meetLater() {
  clearTimeout(again);
  again = setTimeout(meet, AGAIN_MS);
}

function askForToken() {
  isSignedIn = false;
  events?.close();
  heardAt = 0;
  VIEWS[shown]?.hide();
  document.querySelector("main").hidden = who.hidden = totals.hidden = true;
  document.querySelector("#alerts").replaceChildren();
  showState("locked");
  signIn.hidden = false;
  token.focus();
}

function listen() {
  events?.close();
  events = new EventSource(`/api/v1/events?pictures=${shown === "line"}`);
  events.addEventListener("line", (event) => {
    heardAt = Date.now();
    heard(JSON.parse(event.data));
  });
  events.addEventListener("picture", (event) => {
    heardAt = Date.now();
    showPicture(JSON.parse(event.data));
  });
  events.onerror = () => {
    showState("lost");
    // A browser that was refused does not try again by itself, and does not say why.
    if (events.readyState === EventSource.CLOSED) {
      VIEWS[shown]?.hide();
      meetLater();
    }
  };
}

// A page that nobody sees takes no connection: a browser has six for a host.
document.addEventListener("visibilitychange", () => {
  if (!isSignedIn) return;
  if (document.hidden) {
    events?.close();
    VIEWS[shown]?.hide();
    clearTimeout(again);
    heardAt = 0;
  } else {
    // Should the server not even refuse.
    heardAt = Date.now();
    meet();
  }
});

signIn.addEventListener("submit", async (event) => {
  event.preventDefault();
  const refused = document.querySelector("#refused");
  try {
    await tell("POST", "/session", { token: token.value.trim() });
    refused.textContent = token.value = "";
    await meet();
    document.querySelector("main").focus();
  } catch (error) {
    refused.textContent = error.status === 401 ? "This is not the token." : error.message;
    token.select();
  }
});

who.querySelector("button").addEventListener("click", async () => {
  await tell("DELETE", "/session").catch(() => null);
  // Nothing of what was shown and said stays for the next one.
  location.reload();
});

setInterval(() => {
  const silentMs = heardAt ? Date.now() - heardAt : 0;
  if (silentMs <= SILENT_MS || /ended|interrupted/.test(state.dataset.state)) return;
  showState("lost");
  if (silentMs <= GONE_MS) return;
  heardAt = Date.now();
  meet();
}, 1000);

// Letters and digits by themselves do something, until somebody switches that off: who speaks to the machine types them unawares.
const singleKeys = document.querySelectorAll(".single-keys");
function switchSingleKeys(areOn) {
  for (const box of singleKeys) box.checked = areOn;
  try {
    localStorage.setItem("single-keys", areOn ? "on" : "off");
  } catch {
    // It is remembered where that is allowed.
  }
}
try {
  if (localStorage.getItem("single-keys") === "off") switchSingleKeys(false);
} catch {
  // As above.
}
for (const box of singleKeys) {
  box.addEventListener("change", () => {
    switchSingleKeys(box.checked);
    box.blur();
  });
}

// 1 to 5 go from view to view; the rest is the view's.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key.length === 1 && !singleKeys[0].checked) return;
  const name = Object.keys(VIEWS)[Number(event.key) - 1];
  if (name) {
    location.hash = `#/${name}`;
    // `hashchange` comes later: until then the next key would be that of the view before.
    route();
  } else {
    VIEWS[shown]?.pressed?.(event);
  }
});

// The address names a view, so that a link within the page is followed here.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.querySelector("main").focus();
});

window.addEventListener("hashchange", route);
route();
meet();
