"""The published bounds on rounding errors.

The documentation shows them, the tests hold them, and `python -m inox check` measures them. An
error is counted in the unit that stands beside each result, `ulp(z)` being the distance between the
neighbours of z in the dtype of the result. docs/accuracy.md explains both.
"""

FLOAT32, HALF, FLOAT64 = "float32", "bfloat16, float16", "float64"
PRECISIONS = (FLOAT32, HALF, FLOAT64)

# By result: its meaning, the unit that its error is counted in, and the bound for each dtype of x.
BOUNDS: dict[str, tuple[str, str, dict[str, float]]] = {
    "y": (
        "the output",
        "ulp(max(abs(y), abs(scale)))",
        {FLOAT32: 5.0, HALF: 0.51, FLOAT64: 8.0},
    ),
    "dx": (
        "the gradient of x",
        "ulp(max(abs(dx), rstd · rms(dy · scale)))",
        {FLOAT32: 8.0, HALF: 0.51, FLOAT64: 12.0},
    ),
    "mean": (
        "the mean (float32 for half types)",
        "ulp(max(abs(mean), std))",
        {FLOAT32: 2.0, HALF: 2.0, FLOAT64: 2.0},
    ),
    "var": (
        "the variance (float32 for half types)",
        "ulp(var)",
        {FLOAT32: 4.0, HALF: 4.0, FLOAT64: 4.0},
    ),
    "dscale": (
        "the gradient of the scale (float32 for half types)",
        "eps · Σ abs(dy) · max(abs(xhat), 1)",
        {FLOAT32: 5.0, HALF: 5.0, FLOAT64: 5.0},
    ),
    "dbias": (
        "the gradient of the bias (float32 for half types)",
        "eps · Σ abs(dy)",
        {FLOAT32: 5.0, HALF: 5.0, FLOAT64: 5.0},
    ),
}


# With the CPU kernels, which compute or at least add up in float64. They leave the elementwise part
# of batch norm to XLA, so that its y and dx keep the bounds above.
KERNEL_BOUNDS: dict[str, dict[str, float]] = {
    "y": {FLOAT32: 0.51, HALF: 0.51, FLOAT64: 8.0},
    "dx": {FLOAT32: 0.51, HALF: 0.51, FLOAT64: 12.0},
    "mean": {FLOAT32: 1.0, HALF: 1.0, FLOAT64: 2.0},
    "var": {FLOAT32: 1.0, HALF: 1.0, FLOAT64: 4.0},
    "dscale": {FLOAT32: 1.0, HALF: 1.0, FLOAT64: 5.0},
    "dbias": {FLOAT32: 1.0, HALF: 1.0, FLOAT64: 5.0},
}

# Where one element makes up most of a slice's variance, its rounding errors don't average out in
# the sums, and in dx what belongs to it cancels. A bound of 0.51 is that of one rounding and stays.
DOMINATED = {"y": 1.5, "dx": 3.0, "var": 3.0}


def precision(dtype: str) -> str:
    """The column of the table for a dtype of x."""
    return HALF if dtype in ("bfloat16", "float16") else dtype


def bound(result: str, dtype: str, dominated: bool = False) -> float:
    """The largest error of a result that is allowed, in its unit, for a dtype of x."""
    limit = BOUNDS[result][2][precision(dtype)]
    return limit * DOMINATED.get(result, 1.0) if dominated and limit > 1 else limit


def kernel_bound(result: str, dtype: str, dominated: bool = False) -> float:
    """The same with the CPU kernels: on all data alike, but for float64."""
    limit = KERNEL_BOUNDS[result][precision(dtype)]
    return limit * DOMINATED.get(result, 1.0) if dominated and dtype == FLOAT64 else limit
