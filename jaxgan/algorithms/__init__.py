"""Training algorithms by name: `jaxgan.algorithms.<name>`, each of four pure functions.

init(key) -> state                     step(state, batch) -> (state, metrics)
sample(state, key, labels) -> images   encode, where the algorithm has one
"""
