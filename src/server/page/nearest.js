// The normal patches nearest to what was found in a frame: in which training image, and where in it.
import { picturePath } from "./api.js";
import { drawn, element } from "./words.js";

const part = document.querySelector("#review .nearest");

export function hideNearest() {
  part.hidden = true;
}

// In the frame; the same number stands for the same region.
export const patchMarks = (nearest, size) => nearest.flatMap((patch) => marks(patch.rect_px, numberOf(patch), size));

// And beside it.
export function showNearest(frame, nearest) {
  part.querySelector("ol").replaceChildren(...nearest.map((patch, rank) => element("li", {}, figure(frame, patch, rank))));
  part.hidden = !nearest.length;
}

const numberOf = ({ region }) => String((region ?? 0) + 1);

// A patch, white within black, with its number; a number that found no room above it stands below.
function marks(rect, number, size) {
  const { x, y, width, height } = rect;
  const at = { x: x + width / 2, y: y < 1.4 * size ? y + height + 1.2 * size : y - size / 3, "font-size": size };
  const outline = (name) => drawn("rect", { ...rect, class: name, "vector-effect": "non-scaling-stroke" });
  return [outline("patch-ground"), outline("patch"), drawn("text", { ...at, "text-anchor": "middle", text: number })];
}

function figure(frame, patch, rank) {
  const { image, image_width_px, image_height_px, image_rect_px: at, distance } = patch;
  const where = `at ${at.x}, ${at.y} px`;
  const picture = patch.has_picture
    ? element("img", { src: picturePath(frame.camera, frame.seq, `nearest/${rank}`), alt: `training image ${image}; the patch is ${where}` })
    : element("p", { class: "nothing", text: "no picture of it" });
  const there = drawn("svg", { viewBox: `0 0 ${image_width_px} ${image_height_px}`, "aria-hidden": "true" }, ...marks(at, numberOf(patch), Math.max(image_width_px, image_height_px) / 9));
  const shown = element("div", { class: "training" }, picture, there);
  shown.style.aspectRatio = `${image_width_px} / ${image_height_px}`;
  const of = patch.region == null ? "highest patch" : `region ${numberOf(patch)}`;
  const said = element("figcaption", {}, element("b", { text: of }), element("span", { class: "name", text: image, title: image }), element("span", { text: where }), element("span", { text: `distance ${distance.toPrecision(4)}` }));
  return element("figure", {}, shown, said);
}
