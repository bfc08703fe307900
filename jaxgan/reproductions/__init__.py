"""Published experiments by name: `python -m jaxgan reproduce NAME`.

Each is a module with `SUMMARY`, a line, and `run(out, seed) -> (lines, results)`: what is printed,
and what results.json in the folder `out` holds. It draws its picture there.
"""

from jaxgan.reproductions import dirac

REPRODUCTIONS = {"dirac": dirac}
