"""Prints the stored cases of the metrics: `python tests/parity/metrics.py > tests/parity/metrics_cases.json`.

Expected values come from scikit-learn (ROC, average precision, precision-recall curve, verdict ratios), from
scipy.ndimage (connected components, centres of mass), and for AUPRO from `aupro` below, which follows the definition
of Bergmann et al., "The MVTec Anomaly Detection Dataset" (IJCV 2021), threshold by threshold. The seed is fixed.
"""

import json
import sys
import warnings
from fractions import Fraction

import numpy as np
from scipy import ndimage
from sklearn import metrics

EIGHT_CONNECTED = np.ones((3, 3), dtype=int)
rng = np.random.default_rng(20240607)


def f32(scores):
    """Scores with four decimals, as the f32 that both sides compute on."""
    return np.round(np.asarray(scores, dtype=np.float64), 4).astype(np.float32)


def plain(scores):
    """The same scores as decimals that parse back to the same f32."""
    return [round(float(score), 4) for score in scores]


def drawing(mask):
    return ["".join("#" if bit else "." for bit in row) for row in mask]


# --- connected components -----------------------------------------------------------------------------------------


def labels_by_first_pixel(mask):
    labels, count = ndimage.label(mask, EIGHT_CONNECTED)
    flat = labels.ravel()
    order = list(dict.fromkeys(int(label) for label in flat if label))
    renumbered = {label: i + 1 for i, label in enumerate(order)} | {0: 0}
    return [renumbered[int(label)] for label in flat], count


def components_case(name, mask):
    labels, count = labels_by_first_pixel(mask)
    return {"name": name, "mask": drawing(mask), "labels": labels, "count": count}


def spiral(size):
    mask = np.zeros((size, size), dtype=bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[0, 0] = True
    for length in [size - 1] * 3 + [n for n in range(size - 3, 0, -2) for _ in range(2)]:
        for _ in range(length):
            y, x = y + dy, x + dx
            mask[y, x] = True
        dy, dx = dx, -dy
    return mask


def components_cases():
    checkers = np.indices((6, 7)).sum(axis=0) % 2 == 0
    grid = np.zeros((7, 9), dtype=bool)
    grid[::2, ::2] = True
    comb = np.array([[c == "#" for c in row] for row in ["#.#.#.#.#", "#.#.#.#.#", "#########", "........#", "###.#...#"]])
    cases = [("checkers", checkers), ("grid", grid), ("comb", comb), ("spiral", spiral(13))]
    cases += [(f"random {share}", rng.random((14, 17)) < share) for share in (0.1, 0.3, 0.5, 0.7)]
    return [components_case(name, mask) for name, mask in cases]


# --- one score per frame ------------------------------------------------------------------------------------------


def best_f1(labels, scores):
    """The highest F1 of the precision-recall curve; among equals, decided in fractions, the lowest threshold."""
    precision, recall, thresholds = metrics.precision_recall_curve(labels, scores)
    best = None
    for p, r, threshold in zip(precision[:-1], recall[:-1], thresholds):  # thresholds ascend
        predicted = scores >= threshold
        f1 = Fraction(2 * int((predicted & labels).sum()), int(predicted.sum()) + int(labels.sum()))
        if best is None or f1 > best[0]:
            best = (f1, threshold, p, r)
    f1, threshold, p, r = best
    assert abs(float(f1) - metrics.f1_score(labels, scores >= threshold)) < 1e-15
    return {"f1": float(f1), "threshold": round(float(threshold), 4), "precision": float(p), "recall": float(r)}


def verdicts(labels, scores, threshold):
    threshold = f32([threshold])[0]
    rejected = scores > threshold
    (tn, fp), (fn, tp) = metrics.confusion_matrix(labels, rejected, labels=[False, True]).tolist()

    def defined(value):
        return None if np.isnan(value) else float(value)

    return {
        "threshold": round(float(threshold), 4),
        "confusion": [tp, fp, tn, fn],
        "precision": defined(metrics.precision_score(labels, rejected, zero_division=np.nan)),
        "recall": defined(metrics.recall_score(labels, rejected, zero_division=np.nan)),
        "f1": defined(metrics.f1_score(labels, rejected, zero_division=np.nan)),
        "accuracy": float(metrics.accuracy_score(labels, rejected)),
    }


def scores_case(name, labels, scores):
    labels, scores = np.asarray(labels, dtype=bool), f32(scores)
    wide = scores.astype(np.float64)
    both = labels.any() and not labels.all()
    thresholds = sorted({float(np.median(wide)), float(wide.min()) - 1, float(wide.max()), float(np.quantile(wide, 0.8))})
    return {
        "name": name,
        "scores": plain(scores),
        "labels": "".join(str(int(label)) for label in labels),
        "auroc": float(metrics.roc_auc_score(labels, wide)) if both else None,
        "average_precision": float(metrics.average_precision_score(labels, wide)) if labels.any() else None,
        "f1_max": best_f1(labels, scores) if labels.any() else None,
        "verdicts": [verdicts(labels, scores, threshold) for threshold in thresholds],
    }


def scores_cases():
    some = rng.random(120) < 0.3
    rare = np.arange(150) % 50 == 7
    return [
        scores_case("overlapping", some, rng.normal(some * 1.2, 1.0)),
        scores_case("ties", some, np.round(rng.normal(some * 1.5, 1.0))),
        scores_case("separated", some, rng.random(120) + some * 2),
        scores_case("reversed", some, rng.random(120) - some * 2),
        scores_case("all equal", some[:20], np.full(20, 0.5)),
        scores_case("rare", rare, rng.normal(rare * 2.0, 1.0)),
        scores_case("large and negative", some, rng.normal(some * 300, 800.0) - 5000),
        scores_case("two values", some, (rng.random(120) < 0.3 + 0.4 * some).astype(float)),
        scores_case("normal only", np.zeros(9, dtype=bool), rng.random(9)),
        scores_case("anomalous only", np.ones(9, dtype=bool), rng.random(9)),
        scores_case("one pair", [False, True], [0.25, 0.5]),
    ]


# --- anomaly maps -------------------------------------------------------------------------------------------------


def aupro(maps, masks, fpr_limit):
    """Area under the per-region-overlap curve, divided by the limit.

    Every score that occurs is a threshold, and a pixel at or above it is predicted. Per threshold: the mean over all
    connected components of all masks of the share that is predicted, and the share of all normal pixels that is.
    """
    regions = []
    for n, mask in enumerate(masks):
        labels, count = ndimage.label(mask, EIGHT_CONNECTED)
        regions += [maps[n][labels == k] for k in range(1, count + 1)]
    normal = np.concatenate([scores[~mask] for scores, mask in zip(maps, masks)])
    if not regions or not normal.size:
        return None
    thresholds = np.unique(np.concatenate([scores.ravel() for scores in maps]))[::-1]
    fpr, pro = [0.0], [0.0]
    for threshold in thresholds:
        fpr.append(float(np.mean(normal >= threshold)))
        pro.append(float(np.mean([np.mean(region >= threshold) for region in regions])))
    area = 0.0
    for (x0, x1), (y0, y1) in zip(zip(fpr, fpr[1:]), zip(pro, pro[1:])):
        if x1 > x0 and x0 < fpr_limit:
            end = min(x1, fpr_limit)
            y_end = y0 + (y1 - y0) * ((end - x0) / (x1 - x0))
            area += (end - x0) * (y0 + y_end) / 2
    return area / fpr_limit


def pixels_case(name, maps, masks):
    maps, masks = [f32(scores) for scores in maps], [np.asarray(mask, dtype=bool) for mask in masks]
    labels = np.concatenate([mask.ravel() for mask in masks])
    scores = np.concatenate([scores.ravel() for scores in maps]).astype(np.float64)
    both = labels.any() and not labels.all()
    return {
        "name": name,
        "maps": [[plain(row) for row in scores] for scores in maps],
        "masks": [drawing(mask) for mask in masks],
        "pixel_auroc": float(metrics.roc_auc_score(labels, scores)) if both else None,
        "aupro": aupro(maps, masks, 0.3),
        "aupro_005": aupro(maps, masks, 0.05),
    }


def blobs(shape, n):
    mask = np.zeros(shape, dtype=bool)
    for _ in range(n):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        mask[y : y + rng.integers(1, 5), x : x + rng.integers(1, 5)] = True
    return mask


def noisy(mask, lift):
    smooth = ndimage.gaussian_filter(rng.normal(size=mask.shape), 1.0) * 3
    return smooth + lift * ndimage.gaussian_filter(mask.astype(float), 0.7)


def pixels_cases():
    shape = (11, 13)
    masks = [blobs(shape, n) for n in (0, 3, 2)]
    empty, first = np.zeros(shape, dtype=bool), masks[1]
    maps = [noisy(mask, 2.0) for mask in masks]
    corner = empty.copy()
    corner[[2, 3, 4], [5, 6, 7]] = True
    return [
        pixels_case("smooth", maps, masks),
        pixels_case("ties", [np.round(scores) for scores in maps], masks),
        pixels_case("coarse ties", [scores > 1 for scores in maps], masks),
        pixels_case("weak", [noisy(mask, 0.3) for mask in masks], masks),
        pixels_case("one frame constant", [np.full(shape, 0.5), maps[1]], [masks[2], first]),
        pixels_case("all scores equal", [np.full(shape, 0.25)] * 2, [empty, first]),
        pixels_case("perfect", [mask * 1.0 + rng.random(shape) * 0.5 for mask in masks], masks),
        pixels_case("perfect in two values", [mask * 1.0 for mask in masks], masks),
        pixels_case("reversed", [-scores for scores in maps], masks),
        pixels_case("corners connect", [noisy(corner, 2.0)], [corner]),
        pixels_case("no defect", maps[:1], [empty]),
        pixels_case("defect everywhere", maps[:1], [~empty]),
    ]


# --- regions ------------------------------------------------------------------------------------------------------


def regions_case(name, truth, predicted, scale):
    def regions(mask):
        labels, count = ndimage.label(mask, EIGHT_CONNECTED)
        return [labels == k for k in range(1, count + 1)]

    def center(mask):
        return None if not mask.any() else ndimage.center_of_mass(mask)[::-1]  # x, y

    hits = sum(bool((region & predicted).any()) for region in regions(truth))
    a, b = center(truth), center(predicted)
    return {
        "name": name,
        "truth": drawing(truth),
        "predicted": drawing(predicted),
        "hits": hits,
        "misses": len(regions(truth)) - hits,
        "false_regions": sum(not (region & truth).any() for region in regions(predicted)),
        "scale": scale,
        "truth_center": None if a is None else [float(a[0]), float(a[1])],
        "distance": None if a is None or b is None else float(np.linalg.norm((np.subtract(a, b)) * scale)),
    }


def regions_cases():
    shape = (16, 20)
    empty = np.zeros(shape, dtype=bool)
    return [
        regions_case("several", blobs(shape, 6), blobs(shape, 7), [1.0, 1.0]),
        regions_case("scaled", blobs(shape, 4), blobs(shape, 5), [3.515625, 2.0]),
        regions_case("dotted", rng.random(shape) < 0.12, rng.random(shape) < 0.12, [0.5, 4.0]),
        regions_case("nothing predicted", blobs(shape, 3), empty, [1.0, 1.0]),
        regions_case("nothing there", empty, blobs(shape, 3), [1.0, 1.0]),
    ]


def main():
    warnings.simplefilter("error")
    sections = {
        "components": components_cases(),
        "scores": scores_cases(),
        "pixels": pixels_cases(),
        "regions": regions_cases(),
    }
    # One case a line, so that a changed case is one changed line.
    body = []
    for name, cases in sections.items():
        lines = ",\n".join(json.dumps(case, separators=(",", ":"), allow_nan=False) for case in cases)
        body.append(f"{json.dumps(name)}:[\n{lines}\n]")
    sys.stdout.write("{" + ",\n".join(body) + "}\n")


if __name__ == "__main__":
    main()
