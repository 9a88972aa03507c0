// The line as it is now: a tile for every camera.
import { lookAt } from "./review.js";
import { Tile } from "./tile.js";
import { element } from "./words.js";

// From so many cameras on tiles are small, so that all are seen at once.
const MANY = 9;

const tiles = new Map();
const cameras = document.querySelector("#cameras");
const alerts = document.querySelector("#alerts");

// What tiles say is kept up while another view is seen, so that a reject of a minute ago is not taken for a new one.
export function showLine(line) {
  for (const camera of line.cameras) {
    if (!tiles.has(camera.camera)) {
      const tile = new Tile(camera.camera);
      tiles.set(camera.camera, tile);
      tile.find("h2 a").addEventListener("click", () => lookAt(camera.camera));
      cameras.append(tile.element);
    }
    tiles.get(camera.camera).show(camera, line.said_at_us);
  }
  cameras.classList.toggle("is-many", line.cameras.length >= MANY);
  const named = new Set(line.cameras.map(({ camera }) => camera));
  for (const [name, tile] of tiles) {
    if (named.has(name)) continue;
    tile.element.remove();
    tiles.delete(name);
  }
}

export function showPicture(picture) {
  tiles.get(picture.camera)?.showPicture(picture);
}

// Above every view.
export function showAlerts(opened) {
  const texts = opened.map((alert) => `Alert: ${alert.rule}, of ${alert.scope}`);
  if ([...alerts.children].map((item) => item.textContent).join("\n") === texts.join("\n")) return;
  alerts.replaceChildren(...texts.map((text) => element("li", { text })));
}

// Arrows go from tile to tile.
cameras.addEventListener("keydown", (event) => {
  const all = [...cameras.querySelectorAll("h2 a")];
  const at = all.indexOf(document.activeElement);
  const columns = getComputedStyle(cameras).gridTemplateColumns.split(" ").length;
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (at < 0 || !by) return;
  event.preventDefault();
  all[Math.min(all.length - 1, Math.max(0, at + by))].focus();
});
