"""Published experiments by name: `python -m jaxgan reproduce NAME`.

Each is a Suite of runs (suite.py), or a module with `SUMMARY`, a line, and `run(out, seed) ->
(lines, results)`: what is printed, and what results.json in the folder `out` holds. It draws its
picture there.
"""

from typing import Any

from jaxgan.reproductions import dirac, mixtures

REPRODUCTIONS: dict[str, Any] = {"dirac": dirac, "ring": mixtures.RING, "grid": mixtures.GRID}
