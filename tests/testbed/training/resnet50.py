#!/usr/bin/python3
# Copyright: the gpufleet.k8s authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains ResNet-50 v1.5 on CPUs with MLX: alone, or under mpirun with gradients and batch statistics shared by all ranks.

The batch is one for all ranks, made from the seed and cut into equal parts, and batch normalisation counts all of it. So N
ranks compute what one process computes with the whole batch, and print the same loss but for rounding: the proof that they
work together.

The environment, as in the original's mlops.env:
    DATASET_DIR   folder with images.npy (N, side, side, 3; uint8) and labels.npy (N; uint8); made from the seed when empty
    MODEL_DIR     folder with checkpoint.safetensors to begin with; weights from the seed when empty
    OUTPUT_DIR    folder for checkpoint.safetensors and metrics.jsonl; nothing is written when empty
    STEPS, BATCH_SIZE (of all ranks together), IMAGE_SIZE, CLASSES, LEARNING_RATE, SEED
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a rank is a CPU
os.environ.setdefault("MLX_MPI_LIBNAME", "libmpi.so.40")  # Debian's Open MPI

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten

mx.set_default_device(mx.cpu)
WORLD = mx.distributed.init(backend="mpi" if "OMPI_COMM_WORLD_SIZE" in os.environ else "any")
STAGES = ((3, 1), (4, 2), (6, 2), (3, 2))  # blocks, stride of the first
MOMENTUM = 0.9


def setting(name: str, default: float) -> float:
    text = os.environ.get(name) or str(default)
    try:
        return type(default)(text)
    except ValueError:
        sys.exit(f"{name} is {text!r}, which is no number")


def folder(name: str) -> Path | None:
    """The folder that a variable names. Ends the program when it is not there."""
    path = Path(os.environ[name]) if os.environ.get(name) else None
    if path and not path.is_dir():
        sys.exit(f"{name}: there is no folder {path}")
    return path


@mx.custom_function
def everywhere(x: mx.array) -> mx.array:
    """The sum over all ranks. Every rank's loss depends on every rank's part, so gradients are summed on the way back too."""
    return mx.distributed.all_sum(x)


@everywhere.vjp
def _everywhere_back(_primal: mx.array, cotangent: mx.array, _output: mx.array) -> mx.array:
    return mx.distributed.all_sum(cotangent)


class BatchNorm(nn.Module):
    """Batch normalisation over the batch of all ranks."""

    def __init__(self, features: int, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = mx.full((features,), scale)
        self.bias = mx.zeros((features,))

    def __call__(self, x: mx.array) -> mx.array:
        count = WORLD.size() * x.size // x.shape[-1]
        mean = everywhere(x.sum(axis=(0, 1, 2))) / count
        centred = x - mean
        variance = everywhere(centred.square().sum(axis=(0, 1, 2))) / count
        return centred * (mx.rsqrt(variance + 1e-5) * self.weight) + self.bias


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    layer.weight = mx.random.normal(layer.weight.shape) * math.sqrt(2 / (kernel * kernel * outputs))  # He, by fan out
    return layer


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut. The stride is in the 3x3: that is what makes it v1.5."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.convolutions = [
            convolution(inputs, width, 1),
            convolution(width, width, 3, stride),
            convolution(width, outputs, 1),
        ]
        self.norms = [BatchNorm(width), BatchNorm(width), BatchNorm(outputs, scale=0.0)]  # each block begins as its shortcut
        if stride != 1 or inputs != outputs:
            self.shortcut = [convolution(inputs, outputs, 1, stride), BatchNorm(outputs)]

    def __call__(self, x: mx.array) -> mx.array:
        y = x
        for number, (convolve, norm) in enumerate(zip(self.convolutions, self.norms)):
            y = norm(convolve(y))
            y = nn.relu(y) if number < 2 else y
        for layer in self.get("shortcut", []):
            x = layer(x)
        return nn.relu(x + y)


class ResNet50(nn.Module):
    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        self.stem = [convolution(3, width, 7, 2), BatchNorm(width)]
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.blocks = []
        inputs = width
        for stage, (blocks, stride) in enumerate(STAGES):
            for number in range(blocks):
                self.blocks.append(Bottleneck(inputs, width << stage, stride if number == 0 else 1))
                inputs = 4 * width << stage
        self.head = nn.Linear(inputs, classes)
        self.head.weight = mx.random.normal(self.head.weight.shape) * 0.01
        self.head.bias = mx.zeros((classes,))

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.stem:
            x = layer(x)
        x = self.pool(nn.relu(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(axis=(1, 2)))


class Data:
    """The batch of each step: the same on all ranks, of which each takes its part."""

    def __init__(self, size: int, side: int, classes: int, seed: int) -> None:
        self.size, self.seed, self.side = size, seed, side
        if size % WORLD.size():
            sys.exit(f"BATCH_SIZE {size} is not a multiple of {WORLD.size()} ranks")
        self.images = self.labels = None
        if source := folder("DATASET_DIR"):
            try:
                self.images, self.labels = (mx.load(str(source / f"{name}.npy")) for name in ("images", "labels"))
            except (OSError, RuntimeError) as error:
                sys.exit(f"DATASET_DIR: {source} has no images.npy and labels.npy that can be read: {error}")
            self.classes = int(self.labels.max().item()) + 1
        else:
            self.classes = classes
            self.patterns = mx.random.normal((classes, side, side, 3), key=mx.random.key(seed))

    def part(self, step: int) -> tuple[mx.array, mx.array]:
        which, noise = mx.random.split(mx.random.key(self.seed + step))
        if self.images is None:
            labels = mx.random.randint(0, self.classes, (self.size,), key=which)
            images = self.patterns[labels] + 0.5 * mx.random.normal((self.size, self.side, self.side, 3), key=noise)
        else:
            chosen = mx.random.randint(0, len(self.images), (self.size,), key=which)
            images, labels = self.images[chosen].astype(mx.float32) / 127.5 - 1, self.labels[chosen].astype(mx.int32)
        share = self.size // WORLD.size()
        mine = slice(WORLD.rank() * share, (WORLD.rank() + 1) * share)
        return images[mine], labels[mine]


class Momentum:
    """SGD with momentum on all parameters as one vector, so that the gradients of a step are one message."""

    def __init__(self, model: nn.Module, rate: float) -> None:
        self.model, self.rate = model, rate
        self.speed = mx.zeros(sum(value.size for _name, value in tree_flatten(model.trainable_parameters())))

    def update(self, gradients: dict) -> None:
        slopes = dict(tree_flatten(gradients))
        parameters = tree_flatten(self.model.trainable_parameters())
        slope = mx.concatenate([slopes[name].reshape(-1) for name, _value in parameters])
        self.speed = MOMENTUM * self.speed + mx.distributed.all_sum(slope)
        changed, begin = [], 0
        for name, value in parameters:
            change = self.speed[begin : begin + value.size].reshape(value.shape)
            changed.append((name, value - self.rate * change))
            begin += value.size
        self.model.update(tree_unflatten(changed))


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the first process of a container ignores it otherwise
    output, start = folder("OUTPUT_DIR"), folder("MODEL_DIR")
    if output and not os.access(output, os.W_OK | os.X_OK):
        sys.exit(f"OUTPUT_DIR: uid {os.getuid()} gid {os.getgid()} may not write to {output}")
    steps, seed, rate = setting("STEPS", 5), setting("SEED", 1), setting("LEARNING_RATE", 0.05)
    data = Data(setting("BATCH_SIZE", 16), setting("IMAGE_SIZE", 32), setting("CLASSES", 10), seed)
    mx.random.seed(seed)
    model = ResNet50(data.classes)
    if start and (start / "checkpoint.safetensors").exists():
        model.load_weights(str(start / "checkpoint.safetensors"))

    def loss(part: tuple[mx.array, mx.array]) -> mx.array:
        return nn.losses.cross_entropy(model(part[0]), part[1]).sum() / data.size

    gradient = nn.value_and_grad(model, loss)
    optimiser = Momentum(model, rate)
    first = WORLD.rank() == 0
    if first:
        print(
            f"ResNet-50 v1.5 with {optimiser.speed.size} parameters, {WORLD.size()} ranks, {data.size} images a step", flush=True
        )
    metrics = (output / "metrics.jsonl").open("w") if output and first else None
    for step in range(1, steps + 1):
        begun = time.monotonic()
        value, gradients = gradient(data.part(step))
        optimiser.update(gradients)
        total = mx.distributed.all_sum(value)
        mx.eval(total, model.parameters(), optimiser.speed)
        line = {"step": step, "loss": total.item(), "images_per_second": data.size / (time.monotonic() - begun)}
        if first:
            print(
                f"step {step}/{steps} loss {line['loss']:.6f} images/sec {line['images_per_second']:.2f}",
                flush=True,
            )
        if metrics:
            metrics.write(json.dumps(line) + "\n")
            metrics.flush()
    if output and first:
        model.save_weights(str(output / "checkpoint.safetensors"))
        print(f"wrote {output}/checkpoint.safetensors and metrics.jsonl", flush=True)


if __name__ == "__main__":
    main()
