"""The demo in `examples/digits`, run as a user runs it: a command in an empty folder."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.image
import pytest

from tests.user_environment import user_environment

DEMO = Path(__file__).parents[1] / "examples" / "digits" / "run.py"
TEST_IMAGES = 360
PATIENCE = 240  # seconds; far more than is needed, so that a hang fails instead of blocking

# Tests that run in the background have Ctrl-C ignored by the shell, and so have their children.
HEEDS_CTRL_C = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def environment() -> dict[str, str]:
    """The environment of a user, with JAX as strict on shapes as everywhere in the tests."""
    variables = user_environment()
    # The table as it is written into a file, wherever the tests run.
    variables |= {"PYTHONUTF8": "1", "COLUMNS": "80"}
    variables.pop("FORCE_COLOR", None)
    # Not strict on dtypes: optax raises a Python float to the power of an integer array.
    variables["JAX_NUMPY_RANK_PROMOTION"] = "raise"
    return variables


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the demo's command in a folder."""
    return subprocess.run(
        [sys.executable, str(DEMO), *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the output of a short run with batch norm."""
    folder = tmp_path_factory.mktemp("finished")
    result = run(folder, "--norm", "batch", "--epochs", "3", "--out", "results")
    assert result.returncode == 0, result.stderr
    assert "accuracy=" in result.stderr, "the progress bar shows the accuracy"
    assert "loss=" in result.stderr, "the progress bar shows the loss"
    return folder / "results", result.stdout


def test_table_shows_what_was_measured(finished: tuple[Path, str]) -> None:
    """The table's row repeats the measured accuracies of both modes, and the network learnt."""
    folder, output = finished
    (numbers,) = json.loads((folder / "numbers.json").read_text())
    final = numbers["final"]
    columns = [
        "train, training mode",
        "train, evaluation mode",
        "test, training mode",
        "test, evaluation mode",
    ]
    (row,) = re.findall(r"^│ batch .*$", output, re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[1:5] == [f"{final[column]:.2%}" for column in columns]
    assert cells[5] == f"{numbers['seconds_a_step']:.4f}"
    # Three epochs of the twenty; chance is 10%.
    assert min(final.values()) > 0.9
    assert len(numbers["test"]) == 3
    assert numbers["test"][-1]["loss"] < numbers["test"][0]["loss"]
    assert numbers["test"][-1]["correct"] / TEST_IMAGES == final["test, evaluation mode"]


def test_running_statistics_converge(finished: tuple[Path, str]) -> None:
    """Each of the four batch norms ends nearer to the training set's statistics than it began."""
    folder, _ = finished
    (numbers,) = json.loads((folder / "numbers.json").read_text())
    assert len(numbers["distances"]) == 4
    for layer, found in numbers["distances"].items():
        assert layer.endswith(".norm.stats")
        assert [found[0]["step"], found[-1]["step"]] == [1, 3 * 22]
        assert 0 < found[-1]["mean"] < 0.5 * found[0]["mean"], layer
        assert 0 < found[-1]["variance"] < 0.5 * found[0]["variance"], layer


def test_figure_is_drawn(finished: tuple[Path, str]) -> None:
    """The figure is a PNG that has the colour of batch norm's curve in its upper panels."""
    folder, _ = finished
    pixels = matplotlib.image.imread(folder / "curves.png")
    height, width, _ = pixels.shape
    assert min(height, width) > 800
    blue = (abs(pixels[..., :3] - [0, 0x72 / 255, 0xB2 / 255]) < 0.01).all(axis=-1)
    assert blue[: height // 2, : width // 2].sum() > 500
    assert blue[: height // 2, width // 2 :].sum() > 500


def test_fresh_process_agrees(finished: tuple[Path, str]) -> None:
    """The last line is the fresh process's count of correct images: the one of the training."""
    folder, output = finished
    (numbers,) = json.loads((folder / "numbers.json").read_text())
    correct = numbers["test"][-1]["correct"]
    last = output.splitlines()[-1]
    assert f"epoch 3: {correct} of {TEST_IMAGES} test images correct" in last
    assert last.endswith("as when it was saved")


def test_interrupted_training_leaves_a_checkpoint(tmp_path: Path) -> None:
    """Ctrl-C says which checkpoint is left, and it evaluates to the accuracy it was saved with.

    A copy of it whose record was changed does not, and the command fails.
    """
    checkpoint = tmp_path / "out" / "digits" / "checkpoints" / "none"
    process = subprocess.Popen(
        [sys.executable, "-c", HEEDS_CTRL_C, str(DEMO), "--norm", "none", "--epochs", "100000"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    deadline = time.monotonic() + PATIENCE
    try:
        # A checkpoint that is still being written has a longer name.
        while not any(path.name.isdecimal() for path in checkpoint.glob("*")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "no checkpoint was written"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "Interrupted." in errors
    epoch = re.search(r"checkpoint of norm 'none' after epoch (\d+) is whole", errors)
    assert epoch is not None, errors
    assert f"--evaluate {checkpoint.relative_to(tmp_path)}" in errors

    changed = tmp_path / "changed"
    shutil.copytree(checkpoint, changed)
    record_file = changed / epoch[1] / "record" / "metadata"
    record = json.loads(record_file.read_text())
    record_file.write_text(json.dumps(record | {"correct": record["correct"] - 1}))
    result = run(tmp_path, "--evaluate", str(checkpoint), str(changed))
    first, second = result.stdout.splitlines()
    assert first.startswith(f"none  epoch {epoch[1]}: {record['correct']} of {TEST_IMAGES} test")
    assert first.endswith("as when it was saved")
    assert second.endswith(f"but {record['correct'] - 1} when it was saved")
    assert result.stderr.endswith(f"error: {changed} does not evaluate to what was saved\n")
    assert result.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--norm", "instance"], "argument --norm: invalid choice: 'instance'"),
        (["--epochs", "-1"], "argument --epochs: must be a whole number of at least 1"),
        (["--epochs", "many"], "argument --epochs: must be a whole number of at least 1"),
        (["--batch-size", "0"], "argument --batch-size: must be a whole number of at least 1"),
        (["--seed", "1.5"], "argument --seed: must be a whole number from 0"),
        (["--out", "file/results"], "argument --out: cannot write to file/results"),
        (["--evaluate", "nothing"], "argument --evaluate: no folder nothing"),
    ],
)
def test_mistake_is_answered_in_one_line(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    """A mistyped option is named in a single line, without a traceback, and nothing is written."""
    (tmp_path / "file").touch()
    result = run(tmp_path, *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {complaint}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
