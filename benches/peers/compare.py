"""Measures Intakt beside its peers: see README.md in benches. `run` starts it."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from pathlib import Path

from alternate import Contender, Intakt, Refused, alternate

WORKS = ["resnet18", "wide_resnet50_2", "pdn_small", "nearest", "mahalanobis", "padim", "patchcore", "patchcore_resnet18", "throughput"]
BARRED_THREADS = 2
# How alike, by correlation, the maps of a peer must be to those of the same peer in PyTorch to count as the same work.
ALIKE_MIN = 0.9


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures Intakt beside its peers.")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=WORKS, help="only these")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each contender (2 runs that count in each)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, help="where the figures are written (default: in the work folder)")
    parser.add_argument("--program", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


class Comparison:
    def __init__(self, options: argparse.Namespace):
        import material

        data = os.environ.get("INTAKT_DATA")
        if not data:
            raise Refused("INTAKT_DATA names no folder: it is where the images and weights to compare on are")
        self.data = material.Data(Path(data).resolve())
        self.options, self.folder = options, options.folder
        self.process = Intakt(options.program, options.folder)
        self.rows, self.others, self.notes = [], [], []
        self._wide_resnet = None

    def measure(self, work: str, threads: int, contenders: list[Contender]) -> None:
        print(f"  {work}, {threads} thread(s): {', '.join(contender.label for contender in contenders)}", file=sys.stderr)
        alternate(contenders, self.options.rounds)
        print("    " + ", ".join(f"{contender.median_ms:.2f} ms" for contender in contenders), file=sys.stderr)

    def backbones(self, work: str) -> None:
        import backbones
        import material
        from report import Bar, Row, likeness

        print(f"{work}: exporting", file=sys.stderr)
        network, recipe, name, most = self.network(work)
        ranged = [
            material.resized(path, self.folder / "ranged" / path.name, material.SIDE_PX)
            for path in self.data.train()[: material.N_RANGED]
        ]
        image = material.resized(self.data.defective(), self.folder / "image.png", material.SIDE_PX)
        peers = backbones.Exported(
            network, work, material.normalised(image), [material.normalised(path) for path in ranged], self.folder
        )
        recipe |= {"ranged": [str(path) for path in ranged], "image": str(image)}
        for threads in self.options.threads:
            for precision in ["int8", "bf16", "f32"]:
                own = backbones.intakt(self.process, precision, threads, recipe)
                others = peers.peers(threads, [precision])
                reference = peers.by_torch(threads).results()
                self.measure(f"{name} {precision}", threads, [own, *others])
                best = min(others, key=lambda peer: peer.median_ms)
                agreement = f"to f32: {likeness(own.results(), reference)}"
                for peer in others:
                    barred = peer.precision.startswith("int8") if precision == "int8" else peer is best
                    bar = Bar(most[precision]) if barred and precision in most and threads == BARRED_THREADS else None
                    theirs = f"{agreement}; the peer's {likeness(peer.results(), reference)}"
                    self.rows.append(Row(f"{name}, {precision}", threads, own, peer, theirs, bar))
        self.process.ask("forget")

    def network(self, work: str):
        """The network, how Intakt gets it, what it is called, and at most how many times a peer's time it may take."""
        import material

        if work == "resnet18":
            layers = ["layer1", "layer2", "layer3"]
            network = material.resnet18_to_layer3(self.data, layers)
            recipe = {"kind": "resnet", "network": work, "layers": layers, "weights": str(self.data.resnet18)}
            return network, recipe, "ResNet-18 to layer3", {"int8": 0.75, "f32": 0.85}
        if work == "wide_resnet50_2":
            network, weights = self.wide_resnet()
            recipe = {"kind": "resnet", "network": work, "layers": network.layers, "weights": str(weights)}
            return network, recipe, "WideResNet-50-2 to layer3", {"int8": 0.9}
        network = material.PdnSmall()
        weights, what = material.own_or_seeded(network, self.data.pdn_small, 3, [], self.folder)
        self.notes.append(f"PDN-small: {what}")
        return network, {"kind": "pdn_small", "weights": str(weights)}, "PDN-small", {"int8": 0.95}

    def wide_resnet(self):
        import material

        if self._wide_resnet is None:
            network = material.wide_resnet50_2_to_layer3(["layer2", "layer3"])
            images = [
                material.resized(path, self.folder / "ranged" / path.name, material.SIDE_PX)
                for path in self.data.train()[:8]
            ]
            weights, what = material.own_or_seeded(network, self.data.wide_resnet50_2, 2, images, self.folder)
            self.notes.append(f"WideResNet-50-2: {what}")
            self._wide_resnet = network, weights
        return self._wide_resnet

    def nearest(self) -> None:
        import distances
        from report import Bar, Row

        print("nearest: embedding images", file=sys.stderr)
        arrays = distances.memory_bank(self.data, self.folder)
        for threads in self.options.threads:
            own, peer = distances.nearest(self.process, arrays, threads)
            self.measure("nearest neighbour", threads, [own, peer])
            bar = Bar(0.1) if threads == BARRED_THREADS else None
            agreement = distances.same_rows(arrays, own.results()[0], peer.results()[0])
            name = "nearest neighbour, 784×1536 in 16,384"
            self.rows.append(Row(name, threads, own, peer, agreement, bar))
        self.process.ask("forget")

    def mahalanobis(self) -> None:
        import distances
        from report import Bar, Row, likeness

        print("mahalanobis: fitting Gaussians", file=sys.stderr)
        arrays = distances.gaussians(self.data, self.folder)
        for threads in self.options.threads:
            own, peer = distances.mahalanobis(self.process, arrays, threads)
            self.measure("Mahalanobis", threads, [own, peer])
            bar = Bar(2, "ms") if threads == BARRED_THREADS else None
            self.rows.append(
                Row("Mahalanobis, 3136×100", threads, own, peer, likeness(own.results(), peer.results()), bar)
            )
        self.process.ask("forget")

    def kind(self, work: str):
        import frames
        import material

        if work == "padim":
            return frames.Kind(work, "resnet18", self.data.resnet18, None, 1.0)
        ratio = material.BANK_ROWS / (material.N_TRAIN * (224 // 8) ** 2)
        if work == "patchcore_resnet18":
            return frames.Kind("patchcore", "resnet18", self.data.resnet18, 224, ratio)
        _, weights = self.wide_resnet()
        return frames.Kind(work, "wide_resnet50_2", weights, 224, ratio)

    def frames(self, work: str) -> None:
        import frames
        import material
        from report import Bar, Row, correlation, likeness

        print(f"{work}: fitting on both sides", file=sys.stderr)
        name, most = {
            "padim": ("PaDiM ResNet-18, PNG of 900² → score, map, verdict", 0.25),
            "patchcore": ("PatchCore WideResNet-50-2, bank of 16,384, the same", 0.2),
            # Embeddings of a trained network lie otherwise than those of a random one, and an exact search lives by that.
            "patchcore_resnet18": ("PatchCore ResNet-18, bank of 16,384, the same", None),
        }[work]
        kind, root = self.kind(work), frames.dataset(self.data, self.folder)
        image = material.resized(self.data.defective(), self.folder / "frame.png", material.FRAME_PX)
        detectors = {
            precision: frames.fit(self.process, kind, root, precision, self.folder) for precision in ["int8", "f32"]
        }
        model = frames.in_anomalib(kind, detectors["f32"], root)
        peers = frames.Anomalib(model, sorted((root / "train/good").iterdir()), self.folder, work)
        for threads in self.options.threads:
            own = [
                frames.one_at_a_time(self.process, detector, precision, image, threads)
                for precision, detector in detectors.items()
            ]
            others = peers.peers(image, threads)
            self.measure(name, threads, own + others)
            # A peer whose map is another one does other work: anomalib's quantised PaDiM, for one.
            reference = next(peer for peer in others if peer.precision == "f32").results()
            alike = [peer for peer in others if correlation(peer.results(), reference) >= ALIKE_MIN]
            best = min(alike, key=lambda peer: peer.median_ms)
            for mine in own:
                for peer in others:
                    barred = most and peer is best and mine.precision == "int8" and threads == BARRED_THREADS
                    agreement = likeness(mine.results(), peer.results()).split(", ")[1]
                    row = Row(name, threads, mine, peer, f"{agreement} of the maps", Bar(most) if barred else None)
                    self.rows.append(row)
            self.process.ask("forget")

    def throughput(self) -> None:
        import frames
        import material

        print("throughput: PaDiM ResNet-18 int8 on JPEG", file=sys.stderr)
        root = frames.dataset(self.data, self.folder)
        detector = frames.fit(self.process, self.kind("padim"), root, "int8", self.folder)
        images = [
            material.resized(path, self.folder / "jpeg" / f"{path.stem}.jpg", material.FRAME_PX)
            for path in self.data.train()[:40]
        ]
        figures = frames.throughput(self.process, detector, images * 5, max(3, self.options.rounds // 3))
        self.others.append({"work": "inspect, PaDiM ResNet-18 int8, JPEG of 900²", **figures})
        self.process.ask("forget")

    def run(self) -> None:
        for work in self.options.works:
            match work:
                case "resnet18" | "wide_resnet50_2" | "pdn_small":
                    self.backbones(work)
                case "padim" | "patchcore" | "patchcore_resnet18":
                    self.frames(work)
                case _:
                    getattr(self, work)()
        self.process.close()


def told(other: dict) -> str:
    one, two = other["frames_a_second"].values()
    kept = {True: "kept", False: "**missed**"}
    return (
        f"{other['work']}: {one:.1f} frames a second with 1 worker, {two:.1f} with 2: {other['speedup']:.2f} × "
        f"(bar ≥ 1.9 ×, {kept[other['speedup'] >= 1.9]}); with 1 it takes {100 * other['over_its_kernels']:.1f} % more processor time than a plain loop "
        f"(bar ≤ 5 %, {kept[other['over_its_kernels'] <= 0.05]})"
    )


def main() -> int:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    # What peers print of their progress is no result.
    results, sys.stdout = sys.stdout, sys.stderr
    options = arguments()
    options.folder.mkdir(parents=True, exist_ok=True)
    # Peers leave caches where they stand, and that must not be the repository.
    options.folder = options.folder.resolve()
    options.json = (options.json or options.folder / "peers.json").resolve()
    os.chdir(options.folder)
    load = list(os.getloadavg())
    try:
        comparison = Comparison(options)
        comparison.run()
    except Refused as refused:
        print(f"cannot compare: {refused}", file=sys.stderr)
        return 2
    import report

    figures = report.as_json(comparison.rows, comparison.others, load, comparison.notes)
    options.json.write_text(json.dumps(figures, indent=1) + "\n")
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    sys.stdout = results
    cpu = f"{figures['cpu']} ({', '.join(figures['instructions'])})"
    print(f"{figures['date']}, {cpu}, load {load[0]:.1f} before; {versions}")
    print("; ".join(comparison.notes) or "weights: as given")
    print(report.table(comparison.rows))
    for other in comparison.others:
        print(told(other))
    print(f"written to {options.json}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
