// What the page asks of the server. What is refused is thrown, with the reason that the server gives.

const ROOT = "/api/v1";
// The server gives up earlier; after so long nobody answers any more.
const ANSWERED_MS = 60_000;

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export async function ask(path, options = {}) {
  const signal = AbortSignal.any([AbortSignal.timeout(ANSWERED_MS), ...(options.signal ? [options.signal] : [])]);
  let answer;
  let body;
  try {
    answer = await fetch(ROOT + path, { ...options, signal });
    const isJson = /json/.test(answer.headers.get("content-type") ?? "");
    body = isJson ? await answer.json() : null;
  } catch {
    options.signal?.throwIfAborted();
    throw new Refused(0, "The server does not answer.");
  }
  options.signal?.throwIfAborted();
  if (!answer.ok) throw new Refused(answer.status, body?.detail ?? answer.statusText);
  return body;
}

export function tell(method, path, body) {
  return ask(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

// A query of what has a value.
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value != null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

// A picture of a frame; `of` is "/compare" for the other run's.
export const picturePath = (camera, seq, what, of = "") =>
  `${ROOT}${of}/cameras/${encodeURIComponent(camera)}/frames/${seq}/${what}`;
