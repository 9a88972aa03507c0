"""What the works are done on: images, weights, embeddings. All of it lies in the work folder, outside the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from torchvision.models import resnet18, wide_resnet50_2

from alternate import Refused

SIDE_PX = 256
FRAME_PX = 900
# Images that the ranges of 8-bit activations come from, on both sides.
N_RANGED = 32
# Training images and those to calibrate on, of detectors from the file to the verdict. 24 × 784 patches hold a bank of 16,384.
N_TRAIN, N_CALIBRATE = 24, 6
BANK_ROWS = 16_384

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class Data:
    """The real images and weights."""

    def __init__(self, folder: Path):
        self.bottle = folder / "mvtec/bottle"
        self.resnet18 = folder / "weights/resnet18.safetensors"
        self.wide_resnet50_2 = folder / "weights/wide_resnet50_2.safetensors"
        self.pdn_small = folder / "weights/pdn_small.safetensors"
        for path in [self.bottle / "train/good", self.bottle / "test/broken_large", self.resnet18]:
            if not path.exists():
                raise Refused(
                    f"the images and weights to compare on are not there: no {path.relative_to(folder)} in {folder}\n"
                    "  hint: name a folder with MVTec AD's `bottle` in mvtec/ and torchvision's ResNet-18 in weights/ by INTAKT_DATA"
                )

    def train(self) -> list[Path]:
        return sorted((self.bottle / "train/good").iterdir())

    def defective(self) -> Path:
        return min((self.bottle / "test/broken_large").iterdir())


def resized(source: Path, target: Path, side_px: int) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.open(source).convert("RGB").resize((side_px, side_px), Image.Resampling.LANCZOS).save(target, quality=90)
    return target


def normalised(path: Path) -> np.ndarray:
    """`(1, 3, height, width)`, as the networks were trained."""
    rgb = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    return np.ascontiguousarray(((rgb - MEAN) / STD).transpose(2, 0, 1)[None])


class Backbone(nn.Module):
    """A residual network up to layer3, with the maps of some layers."""

    def __init__(self, network: nn.Module, layers: list[str]):
        super().__init__()
        for name in ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"]:
            self.add_module(name, getattr(network, name))
        self.layers = layers

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = []
        for name in ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"]:
            x = getattr(self, name)(x)
            if name in self.layers:
                maps.append(x)
        return tuple(maps)


class PdnSmall(nn.Module):
    """The student of EfficientAD, small (Batzner, Heckler and König 2024, table 6), without padding as anomalib has it."""

    layers = ["conv4"]

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 128, 4)
        self.conv2 = nn.Conv2d(128, 256, 4)
        self.conv3 = nn.Conv2d(256, 256, 3)
        self.conv4 = nn.Conv2d(256, 384, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = functional.avg_pool2d(functional.relu(self.conv1(x)), 2, 2)
        x = functional.avg_pool2d(functional.relu(self.conv2(x)), 2, 2)
        x = functional.relu(self.conv3(x))
        return (self.conv4(x),)


def initialised(network: nn.Module, seed: int, images: list[Path]) -> nn.Module:
    """Seeded weights that keep activations as large as they are. Statistics of BatchNorm are those of the images, so that ranges look
    like those of a trained network."""
    generator = torch.Generator().manual_seed(seed)
    norms = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            norms.append(module)
            if name.endswith("bn3"):
                # As training leaves it: blocks that only correct their input. Otherwise a rounding in the first decides the last.
                nn.init.constant_(module.weight, 0.25)
    if norms:
        network.train()
        with torch.no_grad():
            network(torch.from_numpy(np.concatenate([normalised(path) for path in images[:8]])))
    return network.eval()


def resnet18_to_layer3(data: Data, layers: list[str]) -> Backbone:
    network = Backbone(resnet18(weights=None), layers).eval()
    missing, _ = network.load_state_dict(load_file(data.resnet18), strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing:
        raise Refused(f"{data.resnet18} has no {missing[0]}: it is no ResNet-18 with torchvision's names")
    return network


def own_or_seeded(network: nn.Module, weights: Path, seed: int, images: list[Path], folder: Path) -> tuple[Path, str]:
    """The file of the weights, which `network` is given, and what they are."""
    if weights.exists():
        network.load_state_dict(load_file(weights), strict=False)
        network.eval()
        return weights, f"weights {weights.name}"
    initialised(network, seed, images)
    path = folder / weights.name
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return path, f"seeded random weights ({seed})"


def wide_resnet50_2_to_layer3(layers: list[str]) -> Backbone:
    return Backbone(wide_resnet50_2(weights=None), layers)


def patches(network: nn.Module, path: Path) -> torch.Tensor:
    """PatchCore's embedding `(height, width, dims)`: each map averaged over 3×3, the deeper one brought to the grid of the first."""
    with torch.no_grad():
        maps = [functional.avg_pool2d(a_map, 3, 1, 1) for a_map in network(torch.from_numpy(normalised(path)))]
    grid = maps[0].shape[-2:]
    maps = [functional.interpolate(a_map, size=grid, mode="bilinear") for a_map in maps]
    return torch.cat(maps, 1)[0].permute(1, 2, 0)


def stacked(patches: torch.Tensor) -> torch.Tensor:
    """Every patch with those to its right, below, and both; at the border the last again: 4 × 384 dims make the 1,536 of WideResNet-50-2,
    for which there are no trained weights here."""
    right = torch.cat([patches[:, 1:], patches[:, -1:]], 1)
    both = torch.cat([patches, right], 2)
    below = torch.cat([both[1:], both[-1:]], 0)
    return torch.cat([both, below], 2).reshape(-1, 4 * patches.shape[2])
