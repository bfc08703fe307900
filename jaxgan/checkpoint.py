"""Checkpoints with Orbax, one folder a step; the only room that imports it.

Orbax writes in the background into a temporary folder and renames it when it is whole, so a killed
run leaves the earlier checkpoints as they were.
"""

import logging
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from jaxgan.errors import UserError
from jaxgan.typing import PyTree


class Checkpoints:
    """The checkpoints in `folder`, of which the newest `keep` stay."""

    def __init__(self, folder: Path, keep: int = 1):
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells of each file it opens
        self.folder = folder.absolute()
        self._manager = ocp.CheckpointManager(
            self.folder,
            item_handlers=ocp.StandardCheckpointHandler(),  # so that it can read metadata
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep, create=False, cleanup_tmp_directories=False
            ),
        )

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: PyTree) -> None:
        """Begin to save; the state may be donated as soon as this returns."""
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, step: int, like: PyTree) -> PyTree:
        """The state at `step`, with the structure, shapes, dtypes and shardings of `like`.

        Raises UserError where that step is not there or holds another state.
        """
        if step not in self.steps():
            have = ", ".join(f"{s:,}" for s in self.steps()) or "none"
            raise UserError(f"{self.folder}: no checkpoint of step {step:,}; there are: {have}")
        # Orbax casts other dtypes in silence, and other shapes end in its own traceback.
        metadata = self._manager.item_metadata(step)
        if metadata is None:
            raise UserError(f"{self.folder / str(step)}: this checkpoint is empty or damaged")
        stored = _signature(metadata)
        wanted = _signature(like)
        if stored != wanted:
            name = sorted(k for k in stored | wanted if stored.get(k) != wanted.get(k))[0]
            raise UserError(
                f"{self.folder / str(step)}: holds another state: {name} is "
                f"{stored.get(name, 'absent')} there, {wanted.get(name, 'absent')} here"
            )
        return self._manager.restore(step, args=ocp.args.StandardRestore(like))

    def wait(self) -> None:
        """Wait until all that was begun is on the disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self.wait()
        self._manager.close()


def _signature(tree: PyTree) -> dict[str, str]:
    """The shape and dtype of each leaf, by its path."""
    signature = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):  # stored as its integers
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        signature[name] = f"{leaf.dtype}{list(leaf.shape)}"
    return signature
