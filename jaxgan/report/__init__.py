"""report.html: what a run, or several side by side, came to: one file that needs no network.

`gather` reads a run's folder, `command` finds the command that trains it anew, `page` writes HTML
around what page.html, page.css and page.js hold.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from jaxgan import writer
from jaxgan.report import gather, page
from jaxgan.typing import Folder
from jaxgan.workdir import Mirror

__all__ = ["leave", "write"]


def write(workdirs: Sequence[Folder], out: Folder) -> None:
    """Writes the report of the runs in `workdirs` to `out`, whole or not at all.

    Raises UserError for a folder that holds no run, or a file that cannot be written.
    """
    text = page.render([gather.read(workdir) for workdir in workdirs])
    if not isinstance(out, Path):
        out.write_text(text)
        return
    with writer.whole_file(out) as partial:
        partial.write_text(text, encoding="utf-8")


def leave(mirror: Mirror, groups: Sequence[str]) -> Path | None:
    """Writes curves.png, whose path is returned, and report.html, where training ends.

    The run is saved by then, and the verb `report` can write its page later: a failure is only
    told. Raises UserError where curves.png cannot be written.
    """
    curves = writer.write_curves(mirror.folder, groups)
    mirror.push()
    if mirror.writes:
        try:  # of all that is at home, such as an earlier start's samples
            write([mirror.home], mirror.folder / "report.html")
        except Exception as error:  # whatever a file system elsewhere raises
            print(f"warning: {mirror.home / 'report.html'}: not written: {error}", file=sys.stderr)
        mirror.push()
    return curves
