"""One process of a distributed run: trains the digits network with batch norm on a global mesh.

The same file runs alone, as one of several processes on this machine (`run.py` starts those), on
several hosts (`--coordinator HOST:PORT --processes N --process-id I` on each), and as a task of a
cluster that JAX knows, SLURM among them (`--cluster`). Nothing in the model names a device or a
process: under `jax.jit`, the statistics of a batch that is split over a mesh are those of the
whole batch.

Every process writes what it holds at the end: losses, parameters and running statistics.
"""

import argparse
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

# The network, its data and its training step are those of the other example.
sys.path.append(str(Path(__file__).parents[1] / "digits"))

from options import Parser, UsageError, make_writable, positive, seed

BATCH = 64
STEPS = 66  # three epochs


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Returns the options of this process, or raises `UsageError`."""
    parser = Parser(prog="train.py", description=__doc__.splitlines()[0])
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    parser.add_argument("--processes", type=positive, default=1, help="how many there are (1)")
    parser.add_argument("--process-id", type=int, default=0, help="which one this is, from 0 (0)")
    parser.add_argument(
        "--cluster", action="store_true", help="take these three from the cluster (SLURM, ...)"
    )
    parser.add_argument(
        "--devices", type=positive, default=1, help="virtual devices of this process, on CPU (1)"
    )
    parser.add_argument("--steps", type=positive, default=STEPS, help=f"training steps ({STEPS})")
    parser.add_argument("--batch-size", type=positive, default=BATCH, help=f"all rows ({BATCH})")
    parser.add_argument("--seed", type=seed, default=0, help="weights and order of images (0)")
    parser.add_argument(
        "--shuffle-rows", action="store_true", help="the rows of each batch in another order"
    )
    parser.add_argument("--out", type=Path, default=Path("out/distributed"), help="folder to write")
    chosen = parser.parse_args(arguments)
    if chosen.cluster and chosen.coordinator:
        raise UsageError("arguments --cluster and --coordinator: give one of them")
    if chosen.processes > 1 and not chosen.coordinator:
        raise UsageError("argument --processes: several need --coordinator HOST:PORT")
    if not 0 <= chosen.process_id < chosen.processes:
        raise UsageError(
            f"argument --process-id: must be from 0 to {chosen.processes - 1}, "
            f"found {chosen.process_id}"
        )
    make_writable(chosen.out)
    return chosen


def join(chosen: argparse.Namespace) -> None:
    """Joins the other processes. Comes before anything that asks JAX for its devices."""
    import jax

    # These two matter on CPU alone; GPUs and TPUs bring collectives and devices of their own.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_num_cpu_devices", chosen.devices)
    if chosen.cluster:
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise UsageError(
                f"argument --cluster: JAX found no cluster around this process ({error}); give "
                "--coordinator, --processes and --process-id"
            ) from error
    elif chosen.coordinator:
        local = chosen.coordinator.startswith(("127.0.0.1:", "localhost:"))
        jax.distributed.initialize(
            chosen.coordinator,
            chosen.processes,
            chosen.process_id,
            # On loopback process 0 listens to this machine alone, elsewhere to every address.
            coordinator_bind_address=chosen.coordinator if local else None,
            initialization_timeout=60,
            # A process that has failed waits so long for the others before it ends.
            shutdown_timeout_seconds=10,
        )


def train(chosen: argparse.Namespace) -> None:
    """Trains the network and writes what this process holds at the end."""
    import data
    import jax
    import numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec
    from network import make_network
    from records import copies, program_record, write
    from training import make_optimizer, make_step

    images, _ = data.load()
    devices = jax.device_count()
    if chosen.batch_size % devices:
        raise UsageError(
            f"argument --batch-size: must be a multiple of the {devices} devices, "
            f"found {chosen.batch_size}"
        )
    mesh = jax.make_mesh((devices,), ("rows",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("rows"))
    everywhere = NamedSharding(mesh, PartitionSpec())

    if jax.process_index() == 0:
        print(f"{jax.process_count()} process(es), {devices} device(s): compiling", flush=True)
    # Each process computes the same numbers; together they are one array on all devices.
    # A smooth activation: of the first batch one number before a relu is 5e-7 from 0, and rounding
    # (1e-6) decides whether its gradient, 1 % of that of a kernel, is there. Runs that add up in
    # another order could not be compared.
    make = functools.partial(make_network, chosen.seed, "batch", activation="silu")
    model, state = jax.jit(make, out_shardings=everywhere)()
    optimizer = make_optimizer(model, chosen.steps)
    memory = jax.jit(optimizer.init, out_shardings=everywhere)(model)
    step = jax.jit(make_step(optimizer), out_shardings=everywhere)

    def split(array: np.ndarray) -> jax.Array:
        """One array on all devices of all processes. Each reads the rows of its own devices."""
        return jax.make_array_from_callback(array.shape, rows, lambda index: array[index])

    def batches() -> Iterator[data.Images]:
        """The same batches in the same order in every process."""
        order, within = (np.random.default_rng(chosen.seed) for _ in range(2))
        while True:
            for batch in data.batches(images, chosen.batch_size, order):
                if chosen.shuffle_rows:
                    shuffled = within.permutation(chosen.batch_size)
                    batch = data.Images(*(array[shuffled] for array in batch))
                yield jax.tree.map(split, batch)

    # Compiled before the first step, so that the program that runs is the one that is reported.
    program = step.lower(model, state, memory, next(batches())).compile()
    source = batches()
    losses = []
    for number in range(1, chosen.steps + 1):
        model, state, memory, loss, _ = program(model, state, memory, next(source))
        losses.append(np.asarray(loss))
        if jax.process_index() == 0 and (number % 11 == 1 or number == chosen.steps):
            print(f"step {number:4}  loss {float(loss):.6f}", flush=True)
    _, parameters = model.partition()
    write(
        chosen.out / f"process-{jax.process_index()}.npz",
        losses=np.stack(losses),
        parameters=copies(parameters),
        state=copies(state),
        record=program_record(program.as_text()),
    )


def main() -> int:
    """Does what the command line asks for, and returns the exit status."""
    try:
        chosen = parse()
        join(chosen)
        train(chosen)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
