"""The figures of a plan as text."""

from jaxgan.planning.fit import Fit
from jaxgan.planning.plan import Figures


def details(name: str, found: Figures) -> str:
    """What there is to say of one topology."""
    each = found["batch_size"] // found["devices"]
    steps = found["steps_per_call"]
    batch = f"batch {found['batch_size']:,}" + (
        f", {each:,} on each" if found["devices"] > 1 else ""
    )
    head = (
        f"{name} on {found['topology']}: {found['devices']} x {found['device_kind']}\n"
        f"  compiled in {found['compile_seconds']:.1f} s, not run: {steps} steps in one call, "
        f"{batch}, {' x '.join(map(str, found['image_shape']))}, {found['precision']}"
    )
    if "memory" not in found:
        return f"{head}\n  memory        {_too_large(found)}"
    lines = [head, *_memory(found), f"  products      {found['flops'] / 1e9:,.2f} GFLOP a step"]
    if "unread" in found:
        lines.append(
            f"  program       cannot be read, by a newer jaxlib perhaps: {found['unread']}"
        )
        return "\n".join(lines)
    lines.append(f"  memory moved  {size(found['hbm_bytes'])} a step")
    lines += _collectives(found)
    if "roofline" in found:
        lines += _roofline(found)
    return "\n".join([*lines, _program(found)])


def _memory(found: Figures) -> list[str]:
    memory = {key: size(value) for key, value in found["memory"].items()}
    of = ""
    if "usable" in found:
        share = found["memory"]["peak"] / found["usable"]
        of = (
            f" of {size(found['usable'])} ({share:.1%}; the chip's {size(found['hbm'])} less XLA's)"
        )
        of += "" if found["fits"] else ": does not fit"
    images = "data set" if found["data_on_device"] else "images of a call"
    arguments = f"state {memory['state']}, {images} {memory['images']}"
    return [
        f"  memory        {memory['peak']}{of}",
        f"    arguments   {memory['arguments']}: {arguments}",
        f"    outputs     {memory['outputs']}, of which in place of arguments {memory['donated']}",
        f"    temporaries {memory['temporaries']}, program {memory['program']}, "
        f"inputs that wait {memory['waiting']}",
    ]


def _too_large(found: Figures) -> str:
    return f"does not fit: {size(found['needed'])} of {size(found['usable'])}"


def _collectives(found: Figures) -> list[str]:
    if not found["collectives"]:
        return ["  collectives   none"]
    lines = [
        f"{each['number']:.4g} {each['kind']} a step, {size(each['bytes'])}, "
        + (f"over {each['devices']} devices" if "permute" not in each["kind"] else "to a neighbour")
        for each in found["collectives"]
    ]
    return [f"  {'collectives' if not i else '':<13} {line}" for i, line in enumerate(lines)]


def _roofline(found: Figures) -> list[str]:
    line, expected = found["roofline"], found["expected"]
    parts = ", ".join(f"{key} {_time(line[key])}" for key in ("compute", "hbm", "interconnect"))
    return [
        f"  at best       {_time(line['step'])} a step, bound by {line['bound']} ({parts})",
        f"                {line['images_per_second']:,.0f} images/s on all devices, MFU "
        f"{line['mfu']:.1%}: a bound, no measurement",
        f"  XLA expects   {_time(expected['seconds'])} of computing a step, without what is sent "
        f"({expected['cycles']:,.0f} cycles), MFU {expected['mfu']:.1%}",
    ]


def _program(found: Figures) -> str:
    kernels = ", ".join(found["kernels"]) or "none"
    callbacks = ", ".join(found["callbacks"]) or "none"
    text = (
        f"  program       {found['products']} convolutions and products by XLA, other kernels: "
        f"{kernels}, host callbacks: {callbacks}, float64: {'yes' if found['float64'] else 'none'}"
    )
    if found["uncounted_loops"]:
        text += f"\n                {found['uncounted_loops']} loops of unknown length count once"
    return text


COLUMNS = (
    *("topology", "devices", "batch", "memory", "of", "at best", "images/s", "bound by", "MFU"),
    "XLA expects",
)


def table(rows: list[Figures]) -> str:
    """A line for each topology."""
    cells = [COLUMNS, *(_row(found) for found in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _row(found: Figures) -> tuple[str, ...]:
    of = size(found["usable"]) if "usable" in found else "-"
    start = found["topology"], str(found["devices"]), f"{found['batch_size']:,}"
    if "memory" not in found:
        return (*start, size(found["needed"]), of, "does not fit", *"----")
    memory = size(found["memory"]["peak"])
    if "roofline" not in found:
        return (*start, memory, of, *"-----")
    line = found["roofline"]
    figures = f"{line['images_per_second']:,.0f}", line["bound"], f"{line['mfu']:.1%}"
    return (
        *start,
        memory,
        of,
        _time(line["step"]) if found["fits"] else "does not fit",
        *figures,
        _time(found["expected"]["seconds"]),
    )


def fitting(topology: str, fit: Fit, most: int) -> str:
    """What was found, and how."""
    tried = f"{len(fit.tries)} compilations"
    if not fit.largest:
        batch, need = next(iter(sorted(fit.tries.items())))
        return (
            f"{topology}: no batch fits; one of {batch} needs {size(need.needed)} of "
            f"{size(need.available)} ({tried})"
        )
    more = f"{fit.refused:,} does not" if fit.refused else f"no more than {most:,} was looked for"
    return f"{topology}: the largest batch found to fit is {fit.largest:,}; {more} ({tried})"


def size(bytes_: float | int) -> str:
    for unit, step in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if bytes_ >= step:
            return f"{bytes_ / step:,.2f} {unit}"
    return f"{bytes_:,.0f} B"


def _time(seconds: float) -> str:
    for unit, step in (("s", 1), ("ms", 1e-3)):
        if seconds >= step:
            return f"{seconds / step:,.2f} {unit}"
    return f"{seconds * 1e6:,.1f} us"
