"""PyTorch's side of the comparison of speed (torch_gan.py): its layers and networks.

They are those of jaxgan with six configs: cgan_mlp, dcgan, cgan, sngan, sagan and r3gan_mini.
Modules are called as Flax calls them, so that weights come from jaxgan by name. Fields that a case
leaves out have jaxgan's defaults; what those configs do not use raises TypeError, KeyError or
ValueError.
"""

import itertools
import math
from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

ROLES = ("generator", "discriminator")
FLAX = {"Linear": "Dense", "Conv2d": "Conv", "ConvTranspose2d": "ConvTranspose"}
FLAX["Embedding"] = "Embed"

# --------------------------------------------------------------------------------------------------
# Layers. Buffers of those with `keeps` change only while it is true, in the player's own update:
# the power iteration must not go on in the other's, and BatchNorm is faster without.


class Layers(nn.Sequential):
    """Each layer is called after its kind and its number among them, as Flax does it."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        numbers = Counter()
        for layer in layers:
            kind = type(layer).__name__.removeprefix("Parametrized")
            self.add_module(f"{FLAX.get(kind, kind)}_{numbers[kind]}", layer)
            numbers[kind] += 1

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        for layer in self:
            x = layer(x, labels) if isinstance(layer, Layers) else layer(x)
        return x


class Spectral(nn.Module):
    """W / sigma, with one power iteration a call; the outputs lie along `axis`."""

    keeps = True

    def __init__(self, weight: Tensor, axis: int):
        super().__init__()
        self.axis = axis
        self.register_buffer("u", torch.ones(weight.shape[axis]))

    def forward(self, weight: Tensor) -> Tensor:
        if self.axis == 1:
            matrix = weight.t()
        elif weight.is_contiguous():
            matrix = weight.flatten(1)
        else:  # channels last: in this order, as good as any other, it is no copy
            matrix = weight.permute(0, 2, 3, 1).flatten(1)
        with torch.no_grad():
            v = F.normalize(torch.mv(matrix.t(), self.u), dim=0)
            u = F.normalize(torch.mv(matrix, v), dim=0)
            if self.keeps:
                self.u.copy_(u)
        return weight / torch.dot(u, torch.mv(matrix, v))


def spectral(layer: nn.Module, wanted: bool) -> nn.Module:
    if wanted:
        norm = Spectral(layer.weight, axis=int(isinstance(layer, nn.Embedding)))
        parametrize.register_parametrization(layer, "weight", norm)
    return layer


def flat(layer: nn.Module, inputs: tuple = (), outputs: tuple = ()) -> nn.Module:
    """The layer, which takes or gives flattened maps of these (height, width, channels)."""
    layer.inputs, layer.outputs = inputs, outputs
    return layer


def same(inputs: int, outputs: int, size: int, normalised: bool, bias: bool = True) -> nn.Module:
    """A convolution that keeps the map's size."""
    return spectral(nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias), normalised)


class BatchNorm(nn.Module):
    """Always of the batch; with classes it has a gain (less 1) and a bias for each label.

    The running variance, which no training looks at, is unbiased here and is not in Flax.
    """

    keeps = True

    def __init__(self, features: int, classes: int = 0):
        super().__init__()
        self.classes, shape = classes, (classes, features) if classes else (features,)
        self.register_parameter("gain" if classes else "weight", nn.Parameter(torch.ones(shape)))
        self.bias = nn.Parameter(torch.zeros(shape))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        moments = (self.running_mean, self.running_var) if self.keeps else (None, None)
        if not self.classes:
            return F.batch_norm(x, *moments, self.weight, self.bias, True, 0.1, 1e-5)
        gain, bias = (F.embedding(labels, w)[:, :, None, None] for w in (self.gain, self.bias))
        return torch.addcmul(bias, F.batch_norm(x, *moments, None, None, True, 0.1, 1e-5), 1 + gain)


class AsMap(nn.Module):
    memory_format = torch.contiguous_format

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(len(x), -1, self.size, self.size)
        return x.contiguous(memory_format=self.memory_format)


class LabelledLatent(Layers):
    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return torch.cat([z, self.Embed_0(labels)], 1)


class Head(Layers):
    """The logit, with projection where there are classes."""

    def __init__(self, features: int, classes: int, normalised: bool = False, inputs: tuple = ()):
        layers = [flat(spectral(nn.Linear(features, 1), normalised), inputs)]
        if classes:
            embedding = spectral(nn.Embedding(classes, features), normalised)
            layers.append(flat(embedding, outputs=inputs))
        super().__init__(*layers)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        logits = self.Dense_0(x).squeeze(1)
        return logits + (self.Embed_0(labels) * x).sum(1) if len(self) > 1 else logits


class Logit(Head):
    """The same by the name that it has in mlp and dcgan."""


# --------------------------------------------------------------------------------------------------
# Networks: a generator of (z, labels) and a discriminator of (images, labels)


def latent(z_dim: int, classes: int, embedding: int) -> tuple[list[nn.Module], int]:
    """What joins the label to z, if any, and the size of that."""
    if not classes:
        return [], z_dim
    return [LabelledLatent(nn.Embedding(classes, embedding))], z_dim + embedding


def pyramid(size: int) -> tuple[int, int]:
    """The smallest map's pixels, 4 to 7, and how often they double."""
    levels = int(math.log2(size)) - 2
    return size >> levels, levels


def mlp_generator(shape, classes, z_dim, features=(256, 512, 1024), embedding=50):
    layers, inputs = latent(z_dim, classes, embedding)
    for size in features:
        layers += [nn.Linear(inputs, size, bias=False), BatchNorm(size), nn.ReLU(inplace=True)]
        inputs = size
    last = flat(nn.Linear(inputs, math.prod(shape)), outputs=shape)
    return Layers(*layers, last, nn.Tanh(), AsMap(shape[0]))


def mlp_discriminator(shape, classes, features=(512, 256)):
    sizes, layers = (math.prod(shape), *features), []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2, inplace=True)]
    flat(layers[0], shape)
    return Layers(nn.Flatten(), *layers, Logit(sizes[-1], classes))


def dcgan_generator(shape, classes, z_dim, width=64, embedding=50):
    base, levels = pyramid(shape[0])
    layers, inputs = latent(z_dim, classes, embedding)
    features = width << levels - 1
    first = nn.Linear(inputs, base * base * features, bias=False)
    layers += [flat(first, outputs=(base, base, features)), AsMap(base)]
    for level in reversed(range(levels)):
        inputs, outputs = width << level, width << level - 1 if level else shape[2]
        layers += [BatchNorm(inputs), nn.ReLU(inplace=True)]
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=level == 0)]
    return Layers(*layers, nn.Tanh())


def dcgan_discriminator(shape, classes, width=64, norm="batch"):
    if norm not in ("batch", "none"):
        raise ValueError(f"dcgan: the norm {norm!r} is not supported")
    (size, _, inputs), layers = shape, []
    for level in range(math.ceil(math.log2(size / 4))):
        if size % 2:  # "SAME": of three rows and columns of zeros two lie below and on the right
            layers += [nn.ZeroPad2d((0, 1, 0, 1))]
        normalised, outputs = level > 0 and norm == "batch", width << level
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=not normalised)]
        layers += [BatchNorm(outputs)] * normalised + [nn.LeakyReLU(0.2, inplace=True)]
        size, inputs = -(-size // 2), outputs
    head = Logit(size * size * inputs, classes, inputs=(size, size, inputs))
    return Layers(*layers, nn.Flatten(), head)


class UpBlock(Layers):
    def __init__(self, width: int, classes: int, normalised: bool):
        convs = [same(width, width, size, normalised) for size in (3, 3, 1)]
        super().__init__(BatchNorm(width, classes), BatchNorm(width, classes), *convs)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        y = F.relu_(self.BatchNorm_0(x, labels))
        y = self.Conv_0(F.interpolate(y, scale_factor=2))
        y = self.Conv_1(F.relu_(self.BatchNorm_1(y, labels)))
        return y.add_(F.interpolate(self.Conv_2(x), scale_factor=2))


class ToImage(Layers):
    """For its name."""


class DownBlock(Layers):
    def __init__(self, inputs: int, width: int, number: int):
        sizes = [(inputs, 3), (width, 3)] + [(inputs, 1)] * (number < 2)
        super().__init__(*(same(each, width, size, True) for each, size in sizes))
        self.first, self.down = number == 0, number < 2

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        y = self.Conv_0(x if self.first else F.relu(x))
        y = self.Conv_1(F.relu_(y))
        if self.down:
            x, y = self.Conv_2(F.avg_pool2d(x, 2)), F.avg_pool2d(y, 2)
        return y.add_(x)


class SelfAttention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.queries, self.keys = (same(width, width // 8, 1, True, bias=False) for _ in range(2))
        self.values = same(width, width // 2, 1, True, bias=False)
        self.output = same(width // 2, width, 1, True, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        queries = self.queries(x).flatten(2)
        keys, values = (F.max_pool2d(each(x), 2).flatten(2) for each in (self.keys, self.values))
        # Fused attention has no kernel on CPU for values of another width than the queries'.
        weights = torch.softmax(queries.mT @ keys, -1)
        # In the map's own layout.
        y = values @ weights.mT if x.is_contiguous() else (weights @ values.mT).mT
        return torch.addcmul(x, self.gamma, self.output(y.view(len(x), -1, *x.shape[2:])))


class SumPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(x).sum((2, 3))


def attended_map(size: int, attention: int) -> int:
    """The pixels of the map that attends to itself, 0 where none does."""
    if size > 32:
        raise ValueError("resnet and sagan are supported up to 32 pixels")
    return next((n for n in (size // 2, size // 4) if n <= attention), size // 4 * bool(attention))


def resnet_generator(shape, classes, z_dim, width=256, attention=0):
    """SNGAN's, and with `attention` SAGAN's, whose weights are normalised."""
    (base, levels), attended = pyramid(shape[0]), attended_map(shape[0], attention)
    first = spectral(nn.Linear(z_dim, base * base * width), attention > 0)
    layers = [flat(first, outputs=(base, base, width)), AsMap(base)]
    for level in range(levels):
        layers += [SelfAttention(width)] * (base << level == attended)
        layers += [UpBlock(width, classes, attention > 0)]
    last = BatchNorm(width), nn.ReLU(inplace=True), same(width, shape[2], 3, attention > 0)
    return Layers(*layers, ToImage(*last), nn.Tanh())


def resnet_discriminator(shape, classes, width=128, attention=0):
    attended, layers = attended_map(shape[0], attention), []
    for n, inputs in enumerate((shape[2], width, width, width)):
        layers += [DownBlock(inputs, width, n)]
        layers += [SelfAttention(width)] * (n < 2 and shape[0] >> n + 1 == attended)
    return Layers(*layers, SumPool(), Head(width, classes, True))


class Basis(nn.Module):
    """From a vector to a map or back: weights of a channel's pixels."""

    memory_format = torch.contiguous_format

    def __init__(self, width: int, size: int):
        super().__init__()
        self.basis = nn.Parameter(torch.zeros(1, width, size, size))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 4:
            return (x * self.basis).sum((2, 3))
        return (self.basis * x[:, :, None, None]).contiguous(memory_format=self.memory_format)


class Resample(nn.Module):
    """To twice or half the size by the filter [1, 2, 1] along both axes, zeros around."""

    def __init__(self, channels: int, up: bool):
        super().__init__()
        self.channels, self.up = channels, up
        line = torch.tensor([1.0, 2.0, 1.0]) / (2 if up else 4)
        self.kernel = torch.outer(line, line).repeat(channels, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.up:
            return F.conv_transpose2d(x, self.kernel, None, 2, 1, 1, self.channels)
        return F.conv2d(x, self.kernel, None, 2, 1, groups=self.channels)


class Block(nn.Module):
    def __init__(self, width: int, groups: int, expansion: int):
        super().__init__()
        inner = width * expansion
        self.expand = nn.Conv2d(width, inner, 1)
        self.grouped = nn.Conv2d(inner, inner, 3, padding=1, groups=groups)
        self.project = nn.Conv2d(inner, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.grouped(F.leaky_relu_(self.expand(x), 0.2))
        return self.project(F.leaky_relu_(y, 0.2)).add_(x)


class Projection(Layers):
    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return (self.Dense_0(x) * self.Embed_0(labels)).sum(1)


def stages(widths, cardinalities, blocks, expansion, up):
    layers = []
    for n, (width, groups) in enumerate(zip(widths, cardinalities, strict=True)):
        before, between = widths[max(n - 1, 0)], []
        if before != width:
            between += [nn.Conv2d(before, width, 1, bias=False)]
        if n > 0:  # on the smaller map
            between.insert(len(between) if up else 0, Resample(width if up else before, up))
        layers += between + [Block(width, groups, expansion) for _ in range(blocks)]
    return layers


def r3gan_generator(
    shape, classes, z_dim, widths, cardinalities, blocks=2, expansion=2, embedding=64
):
    layers, inputs = latent(z_dim, classes, embedding)
    layers += [nn.Linear(inputs, widths[0], bias=False), Basis(widths[0], pyramid(shape[0])[0])]
    layers += stages(widths, cardinalities, blocks, expansion, up=True)
    return Layers(*layers, nn.Conv2d(widths[-1], shape[2], 1, bias=False))


def r3gan_discriminator(shape, classes, widths, cardinalities, blocks=2, expansion=2):
    layers = [nn.Conv2d(shape[2], widths[-1], 1, bias=False)]
    layers += stages(widths[::-1], cardinalities[::-1], blocks, expansion, up=False)
    layers += [Basis(widths[0], pyramid(shape[0])[0])]
    features = max(widths)
    head = nn.Linear(widths[0], features, bias=False), nn.Embedding(classes, features)
    return Layers(*layers, Projection(*head))


NETWORKS = {
    "mlp": (mlp_generator, mlp_discriminator),
    "dcgan": (dcgan_generator, dcgan_discriminator),
    "resnet": (resnet_generator, resnet_discriminator),
    "sagan": (resnet_generator, resnet_discriminator),
    "r3gan": (r3gan_generator, r3gan_discriminator),
}


def networks(case: dict) -> tuple[Layers, Layers]:
    model, shape, classes = case["model"], tuple(case["image_shape"]), case["num_classes"]
    defaults = {"width": 64, "attention": 32} if model == "sagan" else {}
    of_generator, of_discriminator = ({**defaults, **case[role]} for role in ROLES)
    conditioning = of_discriminator.pop("conditioning", "projection")
    norm = of_discriminator.pop("norm", "none") if model == "mlp" else "none"
    if (of_generator.pop("norm", "batch"), conditioning, norm) != ("batch", "projection", "none"):
        raise ValueError(f"{model}: this norm or conditioning is not supported")
    make_generator, make_discriminator = NETWORKS[model]
    generator = make_generator(shape, classes, case["z_dim"], **of_generator)
    return generator, make_discriminator(shape, classes, **of_discriminator)
