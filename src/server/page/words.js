// How figures and times are written.

export const DECISIONS = {
  pass: ["✓", "pass"], reject: ["✕", "REJECT"], unreadable: ["?", "unreadable"], dropped: ["–", "dropped"],
};

export const NOT_LOADED = "The picture could not be loaded.";
export const NOT_PICTURED = "No picture of this frame was kept: rejected and borderline frames are, the newest of them, and the last of each camera.";

export const percent = (share, digits = 1) => (share == null ? "–" : `${(100 * share).toFixed(digits)} %`);
export const count = (number) => (number == null ? "–" : number.toLocaleString("en"));
export const score = (value) => (value == null ? "–" : value.toFixed(3));

export function ago(us) {
  const seconds = Math.max(0, Math.round(us / 1e6));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} days ago`;
}

// Event times before this are no wall clock: those of files count from the first one.
const WALL_CLOCK_FROM_US = 315_532_800e6;

// Event time on this machine's clock, with its day where asked; or how long after the first frame.
export function clock(us, withDay = false) {
  if (us < WALL_CLOCK_FROM_US) {
    const seconds = Math.floor(us / 1e6);
    return `+${[seconds / 3600, (seconds / 60) % 60, seconds % 60].map((of) => String(Math.floor(of)).padStart(2, "0")).join(":")}`;
  }
  const date = new Date(us / 1000);
  const two = (number) => String(number).padStart(2, "0");
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return withDay ? `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}` : time;
}

// The zone of this machine's clock at that time; nothing where times count from the first frame.
export function zone(us) {
  if (us < WALL_CLOCK_FROM_US) return "";
  const parts = new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(new Date(us / 1000));
  return ` ${parts.find(({ type }) => type === "timeZoneName").value}`;
}

// How long a window like 15m is, in minutes; of others no number.
export function minutesOf(window) {
  const [, length, unit] = /^([0-9]+)([smh])$/.exec(window) ?? [];
  return length * { s: 1 / 60, m: 1, h: 60 }[unit];
}

// An element with attributes (or properties where a name has no dash) and children.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (key === "class") made.className = value;
    else if (key === "text") made.textContent = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// The same for drawings.
export function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else if (value != null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Puts options into a select and keeps what is chosen, if it is still there.
export function fill(select, options) {
  const key = options.map(({ value, text }) => `${value}=${text}`).join();
  if (select.dataset.options === key) return;
  select.dataset.options = key;
  const chosen = select.value;
  select.replaceChildren(...options.map(({ value, text }) => element("option", { value, text })));
  if (options.some(({ value }) => value === chosen)) select.value = chosen;
}
