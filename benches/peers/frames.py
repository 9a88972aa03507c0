"""From an image file to score, map and verdict, one after the other: Intakt's `inspect` and anomalib's inferencers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

# anomalib's inferencer opens the file that was written here a moment before, and wants to be told that it may.
os.environ["TRUST_REMOTE_CODE"] = "1"

import nncf
import numpy as np
import openvino
import torch
from anomalib.deploy import OpenVINOInferencer, TorchInferencer
from anomalib.models import Padim, Patchcore
from safetensors import safe_open
from safetensors.torch import load_file

import material
from alternate import Contender, Intakt, timed


@dataclass
class Kind:
    """A detector as both sides know it."""

    scorer: str
    network: str
    weights: Path
    # Centre crop; 224 of 256 in PatchCore's paper.
    crop_px: int | None
    coreset_ratio: float


def dataset(data: material.Data, folder: Path) -> Path:
    """Normal images of 900×900 in MVTec's layout, so that both sides are fitted on the same."""
    root = folder / "normal"
    images = data.train()[: material.N_TRAIN + material.N_CALIBRATE]
    for at, image in enumerate(images):
        split = "train/good" if at < material.N_TRAIN else "validation/good"
        material.resized(image, root / split / image.name, material.FRAME_PX)
    # The layout has a test folder, which nobody looks at here.
    material.resized(data.defective(), root / "test/defective" / data.defective().name, material.FRAME_PX)
    return root


def fit(process: Intakt, kind: Kind, root: Path, precision: str, folder: Path) -> Path:
    detector = folder / f"{kind.scorer}-{precision}.intakt"
    process.ask(
        "fit",
        dataset=str(root),
        scorer=kind.scorer,
        network=kind.network,
        weights=str(kind.weights),
        precision=precision,
        crop_px=kind.crop_px,
        coreset_ratio=kind.coreset_ratio,
        detector=str(detector),
    )
    return detector


def in_anomalib(kind: Kind, detector: Path, root: Path) -> torch.nn.Module:
    """The same network and scorer in anomalib: PaDiM fitted on the same images in the same dims, PatchCore with the same bank."""
    images = sorted((root / "train/good").iterdir())
    with safe_open(detector, "pt") as file:
        recipe = json.loads(file.metadata()["recipe"])
        tensors = {name: file.get_tensor(name) for name in file.keys() if "memory_bank" in name}
    maker = {"padim": Padim, "patchcore": Patchcore}[kind.scorer]
    crop = {"center_crop_size": (kind.crop_px, kind.crop_px)} if kind.crop_px else {}
    model = maker(
        backbone=kind.network,
        layers=recipe["backbone"]["layers"],
        pre_trained=False,
        pre_processor=maker.configure_pre_processor((material.SIDE_PX, material.SIDE_PX), **crop),
        visualizer=False,
        evaluator=False,
    ).eval()
    inner = model.model
    missing, _ = inner.feature_extractor.feature_extractor.load_state_dict(load_file(kind.weights), strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    assert not missing, f"{kind.weights} has no {missing[0]}"
    if kind.scorer == "padim":
        inner.idx = torch.tensor(recipe["embedding"]["kept_dims"])
        # Only the model itself trains: its network stays as it is.
        inner.training = True
        for image in images:
            inner(model.pre_processor(read(image)))
        inner.fit()
        inner.training = False
    else:
        (bank,) = tensors.values()
        inner.memory_bank = bank
    with torch.inference_mode():
        scores = torch.stack([inner(model.pre_processor(read(image))).pred_score.max() for image in images[:4]])
    # Any will do: what follows from them costs the same. So wide that nothing of a map is cut off.
    post = model.post_processor
    for name, value in {"min": 0.0, "max": 100 * scores.max().item()}.items():
        getattr(post, f"image_{name}").fill_(value)
        getattr(post, f"pixel_{name}").fill_(value)
    post._image_threshold.fill_(scores.max().item())
    post._pixel_threshold.fill_(scores.max().item())
    return model


def read(path: Path) -> torch.Tensor:
    from anomalib.data.utils import read_image

    return read_image(path, as_tensor=True)[None]


class Anomalib:
    """anomalib's own exports of one model."""

    def __init__(self, model: torch.nn.Module, images: list[Path], folder: Path, name: str):
        self.model = model
        self.in_torch = TorchInferencer(model.to_torch(folder / name), device="cpu")
        # One image at a time, and so it is told: left to itself the export of PatchCore settles for two.
        self.openvino = model.to_openvino(
            folder / name, input_size=(material.FRAME_PX, material.FRAME_PX), onnx_kwargs={"dynamic_axes": None}
        )
        # As anomalib's export does it for INT8_PTQ.
        self.openvino_int8 = folder / name / "int8.xml"
        frames = [read(path).numpy() for path in images]
        quantised = nncf.quantize(openvino.Core().read_model(self.openvino), nncf.Dataset(frames), subset_size=len(frames))
        openvino.save_model(quantised, self.openvino_int8)

    def peers(self, image: Path, threads: int) -> list[Contender]:
        return [
            self.by_torch(image, threads),
            self.by_openvino(image, threads, {}),
            self.by_openvino(image, threads, {"INFERENCE_PRECISION_HINT": "f32"}),
            self.by_openvino(image, threads, {}, self.openvino_int8, "int8 (nncf)"),
        ]

    def by_torch(self, image: Path, threads: int) -> Contender:
        def predict():
            torch.set_num_threads(threads)
            with torch.inference_mode():
                return self.in_torch.predict(image)

        return Contender("anomalib (PyTorch)", "f32", timed(predict), lambda: [self.unscaled(predict())])

    def by_openvino(
        self, image: Path, threads: int, config: dict, model: Path | None = None, named: str | None = None
    ) -> Contender:
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, **config}
        inferencer = OpenVINOInferencer(model or self.openvino, "CPU", config)
        precision = inferencer.model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        precision = precision if "INFERENCE_PRECISION_HINT" in config else f"default ({precision})"

        def predict():
            torch.set_num_threads(threads)
            return inferencer.predict(image)

        return Contender("anomalib (OpenVINO)", named or precision, timed(predict), lambda: [self.unscaled(predict())])

    @staticmethod
    def unscaled(prediction) -> np.ndarray:
        """The map; anomalib's is scaled and shifted, which a correlation does not see."""
        return np.asarray(prediction.anomaly_map, np.float32).squeeze()


def one_at_a_time(process: Intakt, detector: Path, precision: str, image: Path, threads: int) -> Contender:
    name = f"{detector.stem} {threads}"
    return process.contender(
        precision, name, kind="one_at_a_time", detector=str(detector), image=str(image), threads=threads
    )


def throughput(process: Intakt, detector: Path, images: list[Path], rounds: int) -> dict:
    """The same frames with one worker and with two, and one after the other without a dataflow, in turn."""
    of = {"detector": str(detector), "images": [str(image) for image in images]}
    works = {workers: {"kind": "throughput", "workers": workers} | of for workers in (1, 2)}
    works["loop"] = {"kind": "loop"} | of
    runs = {name: [] for name in works}
    for name, work in works.items():
        process.ask("prepare", name=f"throughput {name}", work=work)
        process.figures(f"throughput {name}")
    for _ in range(rounds):
        for name, of_work in runs.items():
            of_work.append(process.figures(f"throughput {name}"))
    a_second = {
        workers: float(np.median([run["frames"] / (run["nanos"] / 1e9) for run in runs[workers]]))
        for workers in (1, 2)
    }
    # By what all threads take of the processors: in wall time, suppression and judging of a frame overlap with the next one's network.
    pairs = zip(runs[1], runs["loop"], strict=True)
    return {
        "frames_a_second": a_second,
        "speedup": a_second[2] / a_second[1],
        "over_its_kernels": float(np.median([run["cpu_seconds"] / alone["cpu_seconds"] - 1 for run, alone in pairs])),
        "runs": runs,
    }
