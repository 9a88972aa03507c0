// What is asked again and again while it is shown.
import { Refused } from "./api.js";

// Does `work` at once and then every so often, never twice at a time: `now` calls off what was begun before, so that no late answer to
// an earlier choice is shown. `work` is given the signal that calls it off; what the server refuses goes to `refused`.
export function poll(work, everyMs, refused) {
  let timer;
  let running;

  async function now() {
    stop();
    const mine = (running = new AbortController());
    try {
      await work(mine.signal);
    } catch (error) {
      if (mine.signal.aborted) return;
      if (error instanceof Refused) refused(error);
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
