"""Normalization layers on real data, in one command: `python run.py`, or `--help`.

Where to read what: the network in `network.py`, the training step in `training.py`, saving and
loading in `checkpoint.py`, the course of the whole comparison in `experiment.py`.
"""

import sys

import options


def main() -> int:
    """Does what the command line asks for, and returns the exit status."""
    try:
        chosen = options.parse()
        # Imported after the options are read: JAX takes seconds to load, a mistyped option
        # deserves an answer at once.
        import experiment

        if chosen.evaluate is not None:
            return experiment.evaluate_checkpoints(chosen.evaluate)
        return experiment.compare(chosen)
    except options.UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        print(f"\nInterrupted. {interruption}", file=sys.stderr)
        # The status that a shell expects of a program ended by Ctrl-C.
        return 130


if __name__ == "__main__":
    sys.exit(main())
