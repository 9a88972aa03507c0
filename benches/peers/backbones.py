"""Backbones to their feature maps, one image of 256×256."""

from __future__ import annotations

from pathlib import Path

import nncf
import numpy as np
import onnxruntime
import openvino
import torch
from torch import nn

from alternate import Contender, Intakt, timed

LAYOUT = "the same image; peers are given it normalised and in their own layout, Intakt the bytes of its pixels"


class Exported:
    """One network in all the forms that peers want it in."""

    def __init__(self, network: nn.Module, name: str, image: np.ndarray, ranged: list[np.ndarray], folder: Path):
        self.network, self.image = network.to(memory_format=torch.channels_last), image
        self.onnx = folder / f"{name}.onnx"
        torch.onnx.export(
            network, (torch.from_numpy(image),), str(self.onnx), input_names=["image"], dynamo=True, verbose=False
        )
        self.openvino = openvino.convert_model(str(self.onnx))
        self.openvino_int8 = nncf.quantize(self.openvino, nncf.Dataset(ranged), subset_size=len(ranged))

    def peers(self, threads: int, precisions: list[str]) -> list[Contender]:
        peers = []
        if "int8" in precisions:
            peers += [
                self.by_openvino(threads, self.openvino_int8, {}, "int8 (nncf)"),
                self.by_openvino(threads, self.openvino, {}, None),
            ]
        if "bf16" in precisions:
            peers.append(self.by_openvino(threads, self.openvino, {"INFERENCE_PRECISION_HINT": "bf16"}, "bf16"))
        if "f32" in precisions:
            peers += [
                self.by_openvino(threads, self.openvino, {"INFERENCE_PRECISION_HINT": "f32"}, "f32"),
                self.by_onnxruntime(threads),
                self.by_torch(threads),
            ]
        return peers

    def by_openvino(self, threads: int, model: openvino.Model, config: dict, precision: str | None) -> Contender:
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, **config}
        compiled = openvino.Core().compile_model(model, "CPU", config)
        request = compiled.create_infer_request()
        if precision is None:
            # What it computes in by itself depends on the CPU.
            hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            precision = f"default ({hint})"

        def infer():
            request.infer([self.image], share_inputs=True, share_outputs=True)

        def results() -> list[np.ndarray]:
            infer()
            return [rows(np.array(request.get_output_tensor(at).data)) for at in range(len(compiled.outputs))]

        return Contender("OpenVINO", precision, timed(infer), results)

    def by_onnxruntime(self, threads: int) -> Contender:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(self.onnx), options, providers=["CPUExecutionProvider"])

        def infer():
            return session.run(None, {"image": self.image})

        return Contender("ONNX Runtime", "f32", timed(infer), lambda: [rows(a_map) for a_map in infer()])

    def by_torch(self, threads: int) -> Contender:
        image = torch.from_numpy(self.image).to(memory_format=torch.channels_last)

        def infer():
            torch.set_num_threads(threads)
            with torch.inference_mode():
                return self.network(image)

        return Contender("PyTorch", "f32", timed(infer), lambda: [rows(a_map.numpy()) for a_map in infer()])


def rows(a_map: np.ndarray) -> np.ndarray:
    """`(height, width, channels)`."""
    return np.ascontiguousarray(a_map[0].transpose(1, 2, 0))


def intakt(process: Intakt, precision: str, threads: int, work: dict) -> Contender:
    name = f"{work.get('network', work['kind'])} {precision} {threads}"
    return process.contender(precision, name, precision=precision, threads=threads, **work)
