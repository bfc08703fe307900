"""Published experiments by name: `python -m jaxgan reproduce NAME`.

Each is a Suite of runs (suite.py), or a module with `SUMMARY`, a line, and `run(out, seed) ->
(lines, results)`: what is printed, and what results.json in the folder `out` holds. It draws its
picture there.
"""

from typing import Any

from jaxgan.reproductions import autoencoders, digits, dirac, large, lucic, mixtures

REPRODUCTIONS: dict[str, Any] = {
    "dirac": dirac,
    "ring": mixtures.RING,
    "grid": mixtures.GRID,
    "unrolled_ring": mixtures.UNROLLED_RING,
    "stacked_mnist": digits.STACKED_MNIST,
    "mnist_parzen": digits.MNIST_PARZEN,
    "lucic": lucic.LUCIC,
    "vae_mnist": autoencoders.VAE_MNIST,
    **large.LARGE,
}
