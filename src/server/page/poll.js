// What is asked again and again while it is shown.
import { Refused } from "./api.js";

// Does `work` at once and then every so often, never twice at a time: `now` calls off what was begun before, so that no late answer to
// an earlier choice is shown. `work` is given the signal that calls it off; what the server refuses is said in `status`, until it does not
// any more.
export function poll(work, everyMs, status) {
  let timer;
  let running;
  let said = null;

  async function now() {
    stop();
    const mine = (running = new AbortController());
    try {
      await work(mine.signal);
      if (status.textContent === said) status.textContent = "";
      said = null;
    } catch (error) {
      if (mine.signal.aborted) return;
      if (error instanceof Refused) status.textContent = said = error.message;
      else reportError(error);
    }
    if (!mine.signal.aborted) timer = setTimeout(now, everyMs);
  }

  function stop() {
    running?.abort();
    clearTimeout(timer);
  }

  return { now, stop };
}
