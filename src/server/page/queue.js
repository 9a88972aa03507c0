// A list of frames of which one is looked at: a listbox, whose options have ids.

// The id of the option of a frame: a camera may be called by several words.
export const optionId = (of, { camera, seq }) => `${of}-${encodeURIComponent(camera)}-${seq}`;

// Marks the option as the one that is looked at; `isShown`: and brings it into sight.
export function select(list, id, isShown) {
  for (const item of list.children) item.setAttribute("aria-selected", String(item.id === id));
  if (isShown) document.getElementById(id)?.scrollIntoView({ block: "nearest" });
  list.setAttribute("aria-activedescendant", id);
}

// Puts other options into the list. The one that is looked at stays where it is seen, whatever comes above it.
export function replace(list, items) {
  const place = () => list.querySelector("[aria-selected=true]")?.offsetTop;
  const before = place();
  list.replaceChildren(...items);
  const after = place();
  if (before != null && after != null) list.scrollTop += after - before;
}

// Whoever chose from a select with a pointer goes on with keys in the list; with keys, one goes on in the select.
export function goOnIn(list, selects) {
  for (const select of selects) {
    let isPointed = false;
    select.addEventListener("pointerdown", () => (isPointed = true));
    select.addEventListener("keydown", () => (isPointed = false));
    select.addEventListener("change", () => {
      if (isPointed) list.focus({ preventScroll: true });
      isPointed = false;
    });
  }
}

// The one that is `by` places after the chosen one, or the last or first one on the way there.
export function neighbour(items, chosen, key, by) {
  const at = items.findIndex((item) => chosen && key(item) === key(chosen));
  return items[Math.min(items.length - 1, Math.max(0, at + by))];
}

// What the keys that go through a list do.
export const steps = (move) => ({ j: () => move(1), k: () => move(-1), ArrowDown: () => move(1), ArrowUp: () => move(-1) });

// Does what a key stands for, if it stands for anything.
export function perform(event, does) {
  // Letters are keys, whatever Shift and Caps Lock make of them.
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!Object.hasOwn(does, key)) return;
  event.preventDefault();
  does[key]();
}
