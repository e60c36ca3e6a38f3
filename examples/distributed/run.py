"""Distributed training on this machine, in one command: `python run.py --processes 2`, or `--help`.

Starts real processes that JAX joins over the loopback interface, each of which runs `train.py`, and
compares what they hold at the end with what one process alone arrives at. Options that are not its
own go to `train.py`: `--steps`, `--batch-size`, `--seed`, `--devices` (of each process).
"""

import signal
import sys
from pathlib import Path

# The reading of options is that of the other example.
sys.path.append(str(Path(__file__).parents[1] / "digits"))

from options import Parser, UsageError, make_writable, positive
from processes import RunError, free_port, run

REFERENCES = {
    "one-device": "one process with one device",
    "same-devices": "one process with as many devices",
    "shuffled": "one process with one device, the rows of each batch in another order",
}


def main() -> int:
    """Runs all, compares, and returns the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # children are ended first
    try:
        parser = Parser(prog="run.py", description=__doc__.splitlines()[0])
        parser.add_argument("--processes", type=positive, default=2, help="to start (2)")
        parser.add_argument("--devices", type=positive, default=1, help="of each process (1)")
        parser.add_argument(
            "--references",
            nargs="*",
            choices=REFERENCES,
            default=list(REFERENCES),
            help="runs of one process to compare with (all)",
        )
        parser.add_argument(
            "--timeout", type=positive, default=600, help="seconds that a run may take (600)"
        )
        parser.add_argument("--out", type=Path, default=Path("out/distributed"), help="folder")
        chosen, rest = parser.parse_known_args()
        make_writable(chosen.out)
        launch(
            chosen.processes, chosen.devices, chosen.references, chosen.timeout, chosen.out, rest
        )
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. All processes were ended.", file=sys.stderr)
        return 130
    return compare(chosen.out, chosen.references)


def launch(
    processes: int, devices: int, references: list[str], timeout: int, out: Path, rest: list[str]
) -> None:
    """The distributed run, then one process for each reference."""
    address = f"127.0.0.1:{free_port()}"
    print(f"{processes} processes with {devices} device(s) each, joined at {address}", flush=True)
    each = ["--devices", str(devices), *rest]
    if processes > 1:
        each += ["--coordinator", address, "--processes", str(processes)]
    joined = [[*each, "--process-id", str(index)] for index in range(processes)]
    run(joined, out / "joined", timeout)
    for name in references:
        print(f"\nFor comparison, {REFERENCES[name]}:", flush=True)
        number = processes * devices if name == "same-devices" else 1
        shuffled = ["--shuffle-rows"] if name == "shuffled" else []
        run([["--devices", str(number), *shuffled, *rest]], out / name, timeout)


def compare(out: Path, references: list[str]) -> int:
    """Prints how far apart the runs are. Returns 1 where the processes disagree, else 0."""
    from comparison import largest_differences, program_line, same_bits

    first, *others = sorted((out / "joined").glob("process-*.npz"))
    print(f"\nThe training step: {program_line(first)}")
    agree = all(same_bits(first, other) for other in others)
    print(f"All processes hold the same bits: {'yes' if agree else 'NO'}")
    print("Largest differences, relative to the largest number of an array, from")
    for name in references:
        found = largest_differences(first, out / name / "process-0.npz")
        told = ", ".join(f"{kind} {value:.1e}" for kind, value in found.items())
        print(f"  {REFERENCES[name]}:\n    {told}")
    if "shuffled" in references and "one-device" in references:
        found = largest_differences(
            *(out / n / "process-0.npz" for n in ("one-device", "shuffled"))
        )
        told = ", ".join(f"{kind} {value:.1e}" for kind, value in found.items())
        print(f"  and between the first and the last of these, by rounding alone:\n    {told}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
