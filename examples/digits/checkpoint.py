"""Saving a network and its state with Orbax, and loading them in another process.

What travels is two dictionaries of arrays with strings for keys, and a small record in JSON:

    parameters  {".blocks[0].norm.scale.value": array, ...}, from `model.partition()`
    state       {".blocks[0].norm.stats": Statistics(mean, var), ...}, from `export_state`
    record      which norm the network was built with, the epoch, and its score on the test images

No class is pickled, so a checkpoint outlives changes in the code around it. The optimiser is not
saved: a checkpoint is for using the network, not for going on with the training.
"""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from network import Network, make_network


def contents(model: Network, state: dict) -> dict:
    """Returns the arrays of a network and its state as plain dictionaries."""
    _, parameters = model.partition()
    return {"parameters": parameters, "state": state}


@contextlib.contextmanager
def interruption_deferred() -> Iterator[None]:
    """Lets Ctrl-C wait until the block is over.

    Saving takes a fraction of a second. Cut short it would do no harm to the last checkpoint, but
    Orbax's threads would fill the screen with their errors.
    """
    received = []
    previous = signal.signal(signal.SIGINT, lambda *_: received.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if received:
        raise KeyboardInterrupt


class Saver:
    """Keeps the last checkpoint of one network in a folder.

    Orbax writes into a temporary folder and renames it when it is complete, and only then removes
    the one before. At any moment there is a whole checkpoint, whenever the program is stopped.
    """

    def __init__(self, folder: Path):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=1, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self.manager = ocp.CheckpointManager(folder.absolute(), options=options)
        # Left by an earlier run: its epochs would be taken for those of this one.
        for epoch in self.manager.all_steps():
            self.manager.delete(epoch)

    def save(self, epoch: int, model: Network, state: dict, record: dict) -> None:
        """Saves the network as it is after this epoch."""
        with interruption_deferred():
            self.manager.save(
                epoch,
                args=ocp.args.Composite(
                    arrays=ocp.args.StandardSave(contents(model, state)),
                    record=ocp.args.JsonSave(record),
                ),
            )


def latest(folder: Path) -> int | None:
    """Returns the epoch of the checkpoint in this folder, or None where there is none."""
    with ocp.CheckpointManager(folder.absolute()) as manager:
        return manager.latest_step()


def load(folder: Path) -> tuple[Network, dict, dict]:
    """Returns the network, its state and the record of the checkpoint in this folder."""
    with ocp.CheckpointManager(folder.absolute()) as manager:
        epoch = manager.latest_step()
        record = manager.restore(
            epoch, args=ocp.args.Composite(record=ocp.args.JsonRestore())
        ).record
        # A network built in the same way says which arrays to expect: their paths, shapes and
        # dtypes. No array is computed for it.
        model, state = jax.eval_shape(lambda: make_network(seed=0, norm=record["norm"]))
        arrays = manager.restore(
            epoch,
            args=ocp.args.Composite(arrays=ocp.args.StandardRestore(contents(model, state))),
        ).arrays
    static, _ = model.partition()
    return static(arrays["parameters"]), arrays["state"], record
