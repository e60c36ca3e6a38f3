"""Resuming a distributed run from a checkpoint, on a different number of devices.

Trains the digits network with batches split over 8 devices, saves it with Orbax half-way, and goes
on in a new process with 4 devices. For comparison the first process goes on as well. The devices
are virtual: XLA makes several of one processor. `python resuming.py --help`
"""

import json
import os
import subprocess
import sys
from pathlib import Path

DEVICES = {"first": 8, "resumed": 4}
BATCH = 64


def run(part: str, out: Path, steps: int) -> list[float]:
    """One process's part: trains from the start or from the checkpoint, and returns the losses."""
    import common
    import data
    import jax
    import numpy as np
    import optax
    import orbax.checkpoint as ocp
    from jax.sharding import AxisType, NamedSharding, PartitionSpec
    from network import make_network

    mesh = jax.make_mesh((len(jax.devices()),), ("rows",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("rows"))
    everywhere = NamedSharding(mesh, PartitionSpec())
    print(f"{part}: {len(jax.devices())} devices", flush=True)

    model, state = jax.device_put(make_network(0, "batch"), everywhere)
    optimizer = optax.adam(5e-3)
    memory = jax.device_put(optimizer.init(model), everywhere)
    static, parameters = model.partition()
    # Three trees: dicts from path to array, the running statistics, the optimizer's memory.
    contents = {"parameters": parameters, "state": state, "memory": jax.tree.leaves(memory)}
    path = (out / "checkpoint").absolute()
    start = 0
    if part == "resumed":
        # What to expect, and on which devices to put it: those of this process.
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=everywhere), contents
        )
        with ocp.StandardCheckpointer() as checkpointer:
            contents = checkpointer.restore(path, target)
        model, state = static(contents["parameters"]), contents["state"]
        memory = jax.tree.unflatten(jax.tree.structure(memory), contents["memory"])
        start = steps // 2

    images, _ = data.load()
    generator = np.random.default_rng(0)
    order = [generator.permutation(len(images.labels))[:BATCH] for _ in range(steps)]
    step, losses = common.make_step(optimizer), []
    for index in range(start, steps):
        if part == "first" and index == steps // 2:
            _, parameters = model.partition()
            contents = {"parameters": parameters, "state": state}
            contents["memory"] = jax.tree.leaves(memory)
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(path, contents, force=True)
        batch = data.Images(*(jax.device_put(array[order[index]], rows) for array in images))
        # Statistics are those of the whole batch, however many devices share it.
        model, state, memory, loss = step(model, state, memory, batch)
        losses.append(float(loss))
    arrays = {"loss": np.array(losses)}
    for name, tree in (("parameter", model), ("state", state)):
        for number, leaf in enumerate(jax.tree.leaves(tree)):
            arrays[f"{name} {number}"] = np.asarray(leaf)
    np.savez(out / f"{part}.npz", **arrays)
    return losses


def compare(out: Path, steps: int) -> None:
    """Prints how far the resumed run is from the one that went on, and draws both."""
    import common
    import matplotlib.pyplot as plt
    import numpy as np

    first, resumed = (np.load(out / f"{part}.npz") for part in DEVICES)
    half = steps // 2
    losses = first["loss"][half:], resumed["loss"]

    def furthest(name: str) -> float:
        """The largest difference of an array, relative to the largest number in it."""
        pairs = [(first[key], resumed[key]) for key in first.files if key.startswith(name)]
        return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)

    found = {
        "loss of the first step": abs(float(losses[1][0] / losses[0][0]) - 1),
        "loss of any step": float(np.max(np.abs(losses[1] / losses[0] - 1))),
        "parameters at the end": furthest("parameter"),
        "running statistics at the end": furthest("state"),
    }
    print(f"{DEVICES['first']} devices throughout, and {DEVICES['resumed']} from step {half} on:")
    for name, value in found.items():
        print(f"{name:30} differ by {value:.1e}, relatively")
    (out / "resuming.json").write_text(json.dumps(found))
    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    axis.plot(first["loss"], color=common.BLUE, label="8 devices")
    axis.plot(
        range(half, steps), losses[1], ":", color=common.ORANGE, linewidth=3, label="resumed on 4"
    )
    axis.axvline(half, color="0.4", linewidth=1, label="checkpoint")
    axis.set(xlabel="step", ylabel="training loss", yscale="log")
    common.plain_ticks(axis.yaxis)
    axis.legend(frameon=False)
    common.save(figure, out / "resuming.png")


def main() -> None:
    """Starts one process after the other, as the number of devices is fixed when JAX starts."""
    import common

    chosen = common.options(__doc__, steps=60)
    for part, devices in DEVICES.items():
        flags = f"--xla_force_host_platform_device_count={devices}"
        arguments = [part, str(chosen.out), str(chosen.steps)]
        subprocess.run(
            [sys.executable, __file__, *arguments],
            env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            check=True,
        )
    compare(chosen.out, chosen.steps)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in DEVICES:
        run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
