"""The course of the demo: train each network, compare them, evaluate what was saved."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import checkpoint
import data
import report
from evaluation import evaluate
from options import NORMS, UsageError
from training import History, train


def compare(options: Namespace) -> int:
    """Trains the networks asked for, and reports on them. Returns the exit status."""
    train_images, test_images = data.load()
    if options.batch_size > len(train_images.labels):
        raise UsageError(
            f"argument --batch-size: there are {len(train_images.labels)} images to train on, "
            f"found {options.batch_size}"
        )
    norms = NORMS if options.norm == "all" else (options.norm,)
    folders = {norm: options.out / "checkpoints" / norm for norm in norms}
    histories: list[History] = []
    for norm, folder in folders.items():
        saver = checkpoint.Saver(folder)
        try:
            histories.append(train(norm, options, train_images, test_images, saver))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(what_is_left(norm, folder)) from None

    report.print_table(histories)
    report.write_numbers(histories, options.out / "numbers.json")
    report.draw(histories, options.out / "curves.png")
    print(f"\nFigure:  {options.out / 'curves.png'}")
    print(f"Numbers: {options.out / 'numbers.json'}\n")
    return evaluate_in_fresh_process(list(folders.values()))


def what_is_left(norm: str, folder: Path) -> str:
    """Returns what a user can do after stopping the training."""
    epoch = checkpoint.latest(folder)
    if epoch is None:
        return f"Nothing was saved yet of the network with norm {norm!r}."
    return (
        f"The checkpoint of norm {norm!r} after epoch {epoch} is whole; use it with:"
        f"\n  {sys.executable} {Path(sys.argv[0])} --evaluate {folder}"
    )


def evaluate_in_fresh_process(folders: list[Path]) -> int:
    """Evaluates checkpoints in a process that knows of the training only what was saved."""
    print("A fresh process loads the checkpoints:", flush=True)
    run = Path(__file__).with_name("run.py")
    command = [sys.executable, str(run), "--evaluate", *map(str, folders)]
    return subprocess.run(command, check=False).returncode


def evaluate_checkpoints(folders: list[Path]) -> int:
    """Evaluates checkpoints against their own records. Returns 1 where one differs, else 0."""
    _, test_images = data.load()
    status = 0
    for folder in folders:
        if checkpoint.latest(folder) is None:
            raise UsageError(f"argument --evaluate: no checkpoint in {folder}")
        model, state, record = checkpoint.load(folder)
        score = evaluate(model, state, test_images)
        same = (score.correct, score.images) == (record["correct"], record["images"])
        print(
            f"{record['norm']:5} epoch {record['epoch']}: {score.correct} of {score.images} test "
            f"images correct ({score.accuracy:.2%}), "
            + ("as when it was saved" if same else f"but {record['correct']} when it was saved")
        )
        if not same:
            print(f"error: {folder} does not evaluate to what was saved", file=sys.stderr)
            status = 1
    return status
