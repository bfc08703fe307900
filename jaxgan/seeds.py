"""Many runs of one experiment in one program.

A member is a run of its own: it differs from the others in its seed, or in numbers of the config
that are swept. The state of all is one tree, the same as a single run's with the members along the
first axis of each array. What is written for one member runs for all of them

* by `vmap`: each operation is done for all members at once, which suits small networks, whose
  operations alone do not keep a machine busy;
* by `map`: one member after another, in the memory of one, which on CPU stays in the cache; so for
  convolutions, which become slower when each member has a kernel of its own.

Where the mesh in use has an axis `seed`, each of its devices has a share of the members, and
nothing passes between them. A member begins with the same state as its own run, to the bit, and
trains as that does up to rounding.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from jaxgan.parallel import SEED
from jaxgan.typing import PyTree


class Member(NamedTuple):
    seed: int
    values: dict[str, float]  # of the config's keys that are swept

    @property
    def group(self) -> str:
        """What it has in common with members of other seeds; "" where nothing is swept."""
        return " ".join(f"{key}={value}" for key, value in self.values.items())

    @property
    def name(self) -> str:
        """For texts and, joined by underscores, for files."""
        return f"seed{self.seed} {self.group}".strip()


def members(seed: int, count: int, sweep: Mapping[str, Sequence[Any]]) -> list[Member]:
    """Of `count` seeds from `seed` on, each with all combinations of the swept values."""
    combinations = list(itertools.product(*sweep.values()))
    return [
        Member(n, dict(zip(sweep, map(float, values), strict=True)))
        for values in combinations
        for n in range(seed, seed + count)
    ]


def each(function: Callable, way: str, shared: tuple[int, ...] = ()) -> Callable:
    """What `function` does for one member, for all.

    Arguments and results have the members along the first axis of each array, but for the
    arguments at the places `shared`, which are the same for all.
    """

    def of_share(*arguments: PyTree) -> PyTree:
        places = range(len(arguments))
        if way == "vmap":
            return jax.vmap(function, [None if n in shared else 0 for n in places])(*arguments)
        own = {n: argument for n, argument in enumerate(arguments) if n not in shared}
        given = lambda own: [own[n] if n in own else arguments[n] for n in places]  # noqa: E731
        return jax.lax.map(lambda own: function(*given(own)), own)

    def of_all(*arguments: PyTree) -> PyTree:
        if SEED not in jax.sharding.get_abstract_mesh().shape:
            return of_share(*arguments)
        specs = tuple(P() if n in shared else P(SEED) for n in range(len(arguments)))
        spread = jax.shard_map(
            of_share, in_specs=specs, out_specs=P(SEED), axis_names={SEED}, check_vma=False
        )
        return spread(*arguments)

    return of_all


def stacked(states: Sequence[PyTree]) -> PyTree:
    """The state of all, of the members' own."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def with_other_keys(state: Any, attempt: int, number: int | None) -> Any:
    """The state with another key of that member, or of all; `state.key` is one, or of members."""
    moved = jax.vmap(jax.random.fold_in, (0, None)) if state.key.ndim else jax.random.fold_in
    key = moved(state.key, attempt)
    if state.key.ndim and number is not None:
        key = state.key.at[number].set(key[number])
    return state.replace(key=jax.device_put(key, state.key.sharding))


def member_of(state: PyTree, number: int) -> PyTree:
    """One member's part of a state of all."""
    return jax.tree.map(lambda x: x[number], state)


def parts(state: PyTree, count: int) -> Iterator[PyTree]:
    """Each member's own state, one after another; the state itself of a run that is one."""
    return (member_of(state, number) for number in range(count)) if count > 1 else iter([state])
