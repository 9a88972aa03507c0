"""Prints resnet_cases.json: feature maps of torchvision's networks on weights and an image made from a formula.

    python tests/parity/resnet.py > tests/parity/resnet_cases.json

The weights are not trained: every value comes from splitmix64, seeded with the FNV-1a hash of its key, so that the Rust test
(operators/src/detector/backbone/resnet/tests/parity.rs) makes the same ones and nothing large has to be stored.
Printed with torch 2.15 and the torchvision that belongs to it, on one thread.
"""

import json

import numpy as np
import torch
import torchvision

HEIGHT, WIDTH = 50, 70  # neither square nor a multiple of the strides
NETWORKS = ["resnet18", "resnet50", "wide_resnet50_2"]
LAYERS = ["layer1", "layer2", "layer3", "layer4"]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
N_VALUES = 48


def random_bits(key, count):
    """`count` times 64 bits: splitmix64 from the FNV-1a hash of `key`."""
    seed = 0xCBF29CE484222325
    for byte in key.encode():
        seed = ((seed ^ byte) * 0x100000001B3) % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(key, count):
    """Values in 0..1 with 53 bits, as f64."""
    return (random_bits(key, count) >> np.uint64(11)).astype(np.float64) / 2.0**53


def parameter(key, shape):
    """Scaled so that activations neither vanish nor explode, and BatchNorm is far from the identity."""
    u = uniform(key, int(np.prod(shape)))
    if len(shape) == 4:
        values = (2.0 * u - 1.0) * np.sqrt(6.0 / (shape[1] * shape[2] * shape[3]))
    elif key.endswith(".weight"):
        values = 0.25 + 0.5 * u
    elif key.endswith(".running_var"):
        values = 0.5 + u
    else:  # bias, running_mean
        values = 0.4 * u - 0.2
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def image():
    """Bytes (height, width, 3), then normalised as (1, 3, height, width)."""
    pixels = (random_bits("image", HEIGHT * WIDTH * 3) >> np.uint64(56)).astype(np.uint8).reshape(HEIGHT, WIDTH, 3)
    scaled = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255.0
    return torchvision.transforms.functional.normalize(scaled, MEAN, STD)[None]


def describe(output):
    """Statistics and evenly spaced values of a feature map (height, width, dims)."""
    values = output[0].permute(1, 2, 0).contiguous().double().numpy()
    flat = values.ravel()
    indices = [i * (flat.size - 1) // (N_VALUES - 1) for i in range(N_VALUES)]
    # Positions summed with different weights, so that a transposed or shifted map cannot pass.
    ramp = np.arange(1, flat.size + 1) / flat.size
    return {
        "shape": list(values.shape),
        "max": float(flat.max()),
        "mean": float(flat.mean()),
        "ramp_mean": float((flat * ramp).mean()),
        "values": [float(flat[i]) for i in indices],
    }


@torch.no_grad()
def run(name):
    network = torchvision.models.get_model(name, weights=None).eval()
    state = network.state_dict()
    network.load_state_dict({k: v if v.dtype == torch.int64 else parameter(k, v.shape) for k, v in state.items()})
    outputs = {}
    for layer in LAYERS:
        getattr(network, layer).register_forward_hook(lambda _m, _i, out, layer=layer: outputs.update({layer: describe(out)}))
    network(image())
    return outputs


if __name__ == "__main__":
    torch.set_num_threads(1)
    cases = {"height": HEIGHT, "width": WIDTH, "networks": {name: run(name) for name in NETWORKS}}
    print(json.dumps(cases, indent=1))
