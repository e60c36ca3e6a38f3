"""What a process writes at the end of a run, and reads back for a comparison.

One file of NumPy's `npz` format: the losses, `parameters/PATH`, `state/PATH/mean`,
`state/PATH/var`, and a record of the compiled training step in JSON.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from collectives import collectives_in, kernels_in


def copies(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a tree by path, as each device of this process holds them.

    Raises:
        RuntimeError: If two devices hold different bits of what should be one array.
    """
    result = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = "/".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)
        first, *others = (np.asarray(shard.data) for shard in leaf.addressable_shards)
        if any(first.tobytes() != other.tobytes() for other in others):
            raise RuntimeError(f"the devices of this process hold different bits of {name}")
        result[name] = first
    return result


def program_record(text: str) -> dict[str, Any]:
    """What the compiled step says of itself: devices, kernels, collectives and their bytes."""
    return {
        "processes": jax.process_count(),
        "devices": jax.device_count(),
        "kernels": dict(kernels_in(text)),
        "collectives": [collective._asdict() for collective in collectives_in(text)],
    }


def write(
    path: Path,
    losses: np.ndarray,
    parameters: dict[str, np.ndarray],
    state: dict[str, np.ndarray],
    record: dict[str, Any],
) -> None:
    """Writes a process's file."""
    arrays = {"losses": losses, "record": np.array(json.dumps(record))}
    arrays |= {f"parameters/{name}": array for name, array in parameters.items()}
    arrays |= {f"state/{name}": array for name, array in state.items()}
    np.savez(path, **arrays)


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a process's file by name, and its record."""
    with np.load(path) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("record")))
