"""One step of GAN training in PyTorch, to compare its speed with jaxgan's.

`Training.step` does what jaxgan's `GAN.step` does with the configs of torch_networks.py. Weights
come from jaxgan and go back by its names: axes change places once, at loading.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.torch_networks import ROLES, AsMap, Basis, BatchNorm, networks

Batch = tuple[Tensor, Tensor | None]  # images, labels
# What each player minimises, given the logits of real and of fake images.
LOSSES = {
    "nonsaturating": (lambda r, f: F.softplus(-r) + F.softplus(f), lambda r, f: F.softplus(-f)),
    "hinge": (lambda r, f: F.relu(1 - r) + F.relu(1 + f), lambda r, f: -f),
    "relativistic_paired": (lambda r, f: F.softplus(f - r), lambda r, f: F.softplus(r - f)),
}

# --------------------------------------------------------------------------------------------------
# jaxgan's names and layouts

GROUPS = {"u": "stats/spectral", "running_mean": "stats/batch_stats"}
GROUPS["running_var"] = GROUPS["running_mean"]
RENAMED = {
    "parametrizations/weight/original": "weight",
    "parametrizations/weight/0/": "",
    "running_": "",
    "grouped/weight": "grouped_kernel",
    "grouped/": "",
    "Basis_0/": "",
    "Projection_0/": "",
}


def tensors(role: str, network: nn.Module) -> Iterator[tuple[str, Tensor, nn.Module]]:
    """Parameters and stats: jaxgan's name, the tensor and its module."""
    for name, tensor in itertools.chain(network.named_parameters(), network.named_buffers()):
        path, _, leaf = name.rpartition(".")
        module = network.get_submodule(path.partition(".parametrizations")[0])
        name = name.replace(".", "/")
        for old, new in RENAMED.items():
            name = name.replace(old, new)
        if isinstance(module, BatchNorm):
            name = name.replace("weight", "scale")
            if module.classes and leaf in ("gain", "bias"):
                name = name.replace("BatchNorm", "LabelModulation")
        kernel = "embedding" if isinstance(module, nn.Embedding) else "kernel"
        name = f"{role}/{GROUPS.get(leaf, 'params')}/{name.replace('weight', kernel)}"
        yield name, tensor.detach(), module


def moved(array: np.ndarray, module: nn.Module) -> np.ndarray:
    """An array of jaxgan's in PyTorch's layout."""
    inputs, outputs = getattr(module, "inputs", ()), getattr(module, "outputs", ())
    if inputs and array.ndim == 2:
        array = np.moveaxis(array.reshape(*inputs, -1), 2, 0).reshape(array.shape)
    if outputs:
        maps = array.reshape(*array.shape[:-1], *outputs)
        array = np.moveaxis(maps, -1, -3).reshape(array.shape)
    if array.ndim == 3:
        return array.transpose(2, 0, 1)[None]
    if array.ndim == 4:
        transposed = isinstance(module, nn.ConvTranspose2d)
        return array.transpose((2, 3, 0, 1) if transposed else (3, 2, 0, 1))
    return array.T if isinstance(module, nn.Linear) else array


# --------------------------------------------------------------------------------------------------
# Training


class Training:
    """Both players, their optimisers and the generator's average.

    `variant`: "eager"; "channels_last", eager too; "compile", channels last and compiled but for
    the discriminator's passes with a penalty, which torch.compile cannot differentiate twice.
    """

    def __init__(self, case: dict, weights: dict[str, np.ndarray], variant: str):
        formats = dict.fromkeys(("channels_last", "compile"), torch.channels_last)
        self.format = {"eager": torch.contiguous_format, **formats}[variant]
        self.players = networks(case)
        self.generator, self.discriminator = self.players
        self._load(weights)
        self.optimizers = []
        for role, network in zip(ROLES, self.players, strict=True):
            network.to(memory_format=self.format)
            for module in network.modules():
                if isinstance(module, AsMap | Basis):
                    module.memory_format = self.format
            rates = case["optimizer"][role]
            betas = rates["b1"], rates["b2"]
            adam = torch.optim.Adam(network.parameters(), rates["learning_rate"], betas, fused=True)
            self.optimizers.append(adam)
        self.live = [tensor for _, tensor, _ in tensors("ema", self.generator)]
        self.average = [tensor.clone() for tensor in self.live]
        self.keepers = [[m for m in n.modules() if hasattr(m, "keeps")] for n in self.players]
        self.decay, self.r1, self.r2 = case["ema_decay"], case["r1"], case["r2"]
        self.losses = LOSSES[case["loss"]]
        self.relativistic = case["loss"] == "relativistic_paired"
        self.generate, self.judge, self.judge_both = *self.players, self._judge_both
        if variant == "compile":
            self.generate, self.judge = (torch.compile(n, dynamic=False) for n in self.players)
            if not (self.r1 or self.r2):
                self.judge_both = torch.compile(self._judge_both, dynamic=False)

    def batch(self, images: np.ndarray, labels: np.ndarray | None = None) -> Batch:
        """Tensors of images (b, h, w, c) and labels (b), in the variant's layout."""
        # A copy for sure: of one channel's strides `contiguous` would leave those of channels last.
        images = torch.from_numpy(images).permute(0, 3, 1, 2).clone(memory_format=self.format)
        return images, None if labels is None else torch.from_numpy(labels).long()

    def step(self, d_batch: Batch, g_batch: Batch, d_z: Tensor, g_z: Tensor) -> tuple[Tensor, ...]:
        """The discriminator's and the generator's loss, without penalties. Both batches are the
        same but with a relativistic loss, where the generator has its own."""
        d_loss = self._update_discriminator(*d_batch, d_z)
        g_loss = self._update_generator(*g_batch, g_z)
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.live, 1 - self.decay)
        return d_loss, g_loss

    @torch.no_grad()
    def sample(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Images by the averaged weights; BatchNorm is of these images."""
        trained = [tensor.clone() for tensor in self.live]
        torch._foreach_copy_(self.live, self.average)
        self._let_keep(self.discriminator)
        images = self.generator(z, labels)
        torch._foreach_copy_(self.live, trained)
        return images

    def _update_discriminator(self, real: Tensor, labels: Tensor | None, z: Tensor) -> Tensor:
        self._let_keep(self.discriminator)
        self.discriminator.requires_grad_(True)
        with torch.no_grad():
            fake = self.generate(z, labels)
        real = real.detach().requires_grad_(self.r1 > 0)
        fake = fake.detach().requires_grad_(self.r2 > 0)
        real_logits, fake_logits = self.judge_both(real, fake, labels)
        loss = total = self.losses[0](real_logits, fake_logits).mean()
        for weight, logits, images in ((self.r1, real_logits, real), (self.r2, fake_logits, fake)):
            if weight:
                (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
                total = total + 0.5 * weight / len(images) * slope.square().sum()
        self._descend(self.optimizers[1], total)
        return loss.detach()

    def _judge_both(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> tuple[Tensor, ...]:
        """In one function for torch.compile: of two, the second's power iteration would change what
        the first saved for its gradient."""
        judge_real = self.discriminator if self.r1 else self.judge
        judge_fake = self.discriminator if self.r2 else self.judge
        return judge_real(real, labels), judge_fake(fake, labels)

    def _update_generator(self, real: Tensor, labels: Tensor | None, z: Tensor) -> Tensor:
        self._let_keep(self.generator)
        self.discriminator.requires_grad_(False)  # saves the gradients of its weights
        fake_logits = self.judge(self.generate(z, labels), labels)
        real_logits = None
        if self.relativistic:
            with torch.no_grad():
                real_logits = self.judge(real, labels)
        loss = self.losses[1](real_logits, fake_logits).mean()
        self._descend(self.optimizers[0], loss)
        return loss.detach()

    def _let_keep(self, player: nn.Module) -> None:
        for network, modules in zip(self.players, self.keepers, strict=True):
            for module in modules:
                module.keeps = network is player

    @staticmethod
    def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def _load(self, weights: dict[str, np.ndarray]) -> None:
        """Take over the weights, and remember where each element of an array went."""
        self.places = {}
        for role, network in zip(ROLES, self.players, strict=True):
            for name, tensor, module in tensors(role, network):
                shape = np.shape(weights[name])
                order = moved(np.arange(math.prod(shape)).reshape(shape), module)
                tensor.copy_(torch.tensor(np.ravel(weights[name])[order]))
                self.places[name] = order, shape
        names = {k for k in weights if k.startswith(ROLES) and not k.endswith("/sigma")}
        if names != set(self.places):
            raise KeyError(f"the networks have no place for {sorted(names - set(self.places))}")

    def parameters_by_name(self) -> dict[str, np.ndarray]:
        """Parameters and stats, and under "ema" the average, by jaxgan's names in its layouts."""
        found = [each for pair in zip(ROLES, self.players, strict=True) for each in tensors(*pair)]
        names = [name for name, *_ in tensors("ema", self.generator)]
        found += zip(names, self.average, names, strict=True)
        arrays = {}
        for name, tensor, _ in found:
            order, shape = self.places[name.replace("ema/", "generator/", 1)]
            arrays[name] = np.empty(shape, np.float32)
            arrays[name].reshape(-1)[order] = tensor.numpy()
        return arrays
