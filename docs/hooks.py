"""What MkDocs does beside its plugins: two pages written from the code, and formulas as MathML.

`reference/config.md` comes of configs/default.py and its comments, `reference/commands.md` of the
verbs' docstrings and flags, so neither can say what the code does not.
"""

import argparse
import html
import os
import re
import subprocess
import sys
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the checkout's own, wherever it is built from

KEY = re.compile(r"    +config\.([\w.\[\]]+) = (.*?)(?:  # (.*))?$")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files, config):
    for name, text in (("config", config_page()), ("commands", commands_page())):
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_content(content, **_):
    return FORMULA.sub(_mathml, content)


def _mathml(match):
    display = "block" if match[1] == "div" else "inline"
    return convert(html.unescape(match[2]).strip(), display=display)


def keys(source):
    """(key, default, meaning) of each line of default.py that sets a key.

    A meaning is the comment after the value and then the lines of comment above it.
    """
    above = []
    for line in source.splitlines():
        if line.strip().startswith("#"):
            above.append(line.strip().removeprefix("# "))
            continue
        if match := KEY.match(line):
            name, value, beside = match.groups()
            meaning = ". ".join(filter(None, [beside, " ".join(above)]))
            yield name.replace("[player]", ".PLAYER"), value, meaning
        above = []


def config_page():
    source = (ROOT / "configs" / "default.py").read_text()
    intro = source.split('"""')[1].strip()
    text = ["# Config keys", "", intro, "", "`PLAYER` is `generator` or `discriminator`.", ""]
    sections = {"Training": ("", [])}
    for name, value, meaning in keys(source):
        top, _, below = name.partition(".")
        if value == "ConfigDict()":
            value = "{}"
            if not below and not top.endswith(("penalties", "sweep")):
                sections[f"`{top}`"] = (meaning, [])
                continue
            if not meaning:
                continue
        _, rows = sections[f"`{top}`" if below else "Training"]
        cells = (cell.replace("|", "\\|") for cell in (f"`{name}`", f"`{value}`", meaning))
        rows.append(f"| {' | '.join(cells)} |")
    for heading, (meaning, rows) in sections.items():
        table = ["| key | default | meaning |", "|---|---|---|", *rows]
        text += ["", f"## {heading}", "", meaning, "", *table]
    return "\n".join(text)


def commands_page():
    from jaxgan.cli.main import VERBS

    os.environ["COLUMNS"] = "76"  # of argparse's help, wherever it is built
    command = [sys.executable, "train.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    text = ["# Command line", "", "## train.py", "", "```text", done.stdout.strip(), "```"]
    for name, module in VERBS.items():
        parser = argparse.ArgumentParser(prog=f"python -m jaxgan {name}")
        module.add_arguments(parser)
        text += ["", f"## {name}", "", module.__doc__.strip(), ""]
        text += ["```text", parser.format_help().strip(), "```"]
    return "\n".join(text)
