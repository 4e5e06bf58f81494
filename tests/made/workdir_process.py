"""One of two processes of a run in a bucket: INDEX PORT ADDRESS.

Checkpoints and a head are written by both together.
"""

import os
import pathlib
import sys

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from avemo_jax.batches import sharding
from avemo_jax.models.checkpoints import RunCheckpoints
from avemo_jax.runtime import distributed
from avemo_jax.runtime.workdir import open_workdir


def main(index: int, port: str, address: str) -> None:
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, index)
    workdir = open_workdir(address, writes=distributed.is_first())
    mesh = sharding.make_mesh()
    assert mesh.size == 4
    values = np.arange(6000, dtype=np.float32)
    tree = sharding.replicate({"w": values, "n": np.int32(3)}, mesh)

    checkpoints = RunCheckpoints(workdir.checkpoints, mesh)
    for step in (1, 2, 3):
        checkpoints.save(step, tree, {"epoch": step})
    progress, state = checkpoints.restore(tree) or ({}, {})
    checkpoints.close()
    assert progress == {"epoch": 3}
    np.testing.assert_array_equal(state["w"], values)

    half = f".best_model.{distributed.first_says(os.getpid())}.tmp"
    ocp.save(workdir.shared / half / "params", tree)

    def end() -> None:
        workdir.collect(workdir.local / half / "params")
        (workdir.local / half / "head.json").write_text("{}")
        (workdir.local / half).rename(workdir.local / "best_model")
        workdir.publish()

    distributed.on_first(end)
    workdir.refresh()
    best: pathlib.Path = workdir.local / "best_model"
    assert (best / "head.json").exists()
    place = sharding.replicated(mesh)
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree
    )
    state = ocp.load(best / "params", like)
    np.testing.assert_array_equal(state["w"], values)
    distributed.any_says(False)  # all have read
    workdir.close()
    print("done")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
