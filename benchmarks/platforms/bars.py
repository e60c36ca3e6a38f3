"""What the programs of this package may need at most.

For a norm, the shape of x without its first axis, and its dtype: the figures of the forward pass,
of the backward pass alone, and of both together. They are kernels, bytes over the floor's and, on
TPU, cycles over the floor's, rounded up to two digits; None where nothing is asked. They are about
the compilers of requirements.txt. A formula that needs less lowers its line: `make platforms
ARGS="--bars"` prints the lines as they are measured.
"""

from typing import Any

BARS: dict[str, dict[Any, Any]] = {
    "h100": {
        ("layer", (768,), "float32"): ((9, 2.52), (11, 2.36), (11, 2.02)),
        ("layer", (768,), "bfloat16"): ((9, 2.53), (11, 2.39), (11, 2.04)),
        ("layer", (4096,), "float32"): ((7, 2.01), (11, 3.01), (10, 2.51)),
        ("layer", (4096,), "bfloat16"): ((7, 2.01), (10, 3.68), (10, 3.01)),
        ("layer", (56, 56, 64), "float32"): ((3, 1.54), (10, 3.73), (10, 3.05)),
        ("layer", (56, 56, 64), "bfloat16"): ((3, 1.57), (9, 4.12), (11, 3.85)),
        ("rms", (768,), "float32"): ((5, 1.51), (6, 1.68), (6, 1.51)),
        ("rms", (768,), "bfloat16"): ((5, 1.52), (6, 1.69), (6, 1.52)),
        ("batch", (56, 56, 64), "float32"): ((10, 2.01), (13, 2.35), (13, 2.01)),
        ("batch", (56, 56, 64), "bfloat16"): ((10, 2.02), (13, 2.36), (13, 2.02)),
        ("group", (32, 32, 256), "float32"): ((10, 2.01), (17, 3.02), (17, 2.52)),
        ("group", (32, 32, 256), "bfloat16"): ((11, 4.51), (19, 6.7), (19, 5.28)),
        ("position", (32, 32, 256), "float32"): ((3, 1.76), (11, 5.06), (8, 3.26)),
        ("position", (32, 32, 256), "bfloat16"): ((3, 2.01), (11, 7.11), (8, 5.02)),
    },
    "v5e": {
        ("layer", (768,), "float32"): ((9, 2.51, 4.78), (12, 2.67, 3.24), (12, 2.26, 3.68)),
        ("layer", (768,), "bfloat16"): ((9, 2.51, 3.4), (12, 2.67, 2.48), (12, 2.26, 3.34)),
        ("layer", (4096,), "float32"): ((5, 2.01, 3.66), (8, 2.34, 2.71), (8, 2.01, 3.1)),
        ("layer", (4096,), "bfloat16"): ((5, 2.01, 2.56), (8, 2.34, 2.01), (8, 2.01, 2.73)),
        ("layer", (56, 56, 64), "float32"): ((7, 2.51, 4.74), (10, 2.67, 3.37), (10, 2.26, 3.77)),
        ("layer", (56, 56, 64), "bfloat16"): ((7, 2.51, 3.54), (11, 3.03, 3.09), (11, 2.52, 4.12)),
        ("rms", (768,), "float32"): ((5, 1.51, 2.04), (8, 2.01, 1.93), (8, 1.76, 2.28)),
        ("rms", (768,), "bfloat16"): ((5, 1.51, 1.82), (8, 2.01, 1.63), (8, 1.76, 2.26)),
        ("batch", (56, 56, 64), "float32"): ((7, 2.01, 3.66), (10, 2.34, 2.7), (10, 2.01, 3.08)),
        ("batch", (56, 56, 64), "bfloat16"): ((7, 2.01, 2.56), (10, 2.34, 2.0), (10, 2.01, 2.73)),
        ("group", (32, 32, 256), "float32"): ((17, 2.01, 3.62), (28, 2.34, 2.71), (28, 2.01, 3.06)),
        ("group", (32, 32, 256), "bfloat16"): (
            (17, 2.01, 2.56),
            (28, 2.34, 2.01),
            (28, 2.01, 2.73),
        ),
        ("position", (32, 32, 256), "float32"): (
            (9, 4.63, 7.64),
            (15, 5.67, 6.9),
            (16, 5.01, 8.08),
        ),
        ("position", (32, 32, 256), "bfloat16"): (
            (9, 5.88, 7.01),
            (14, 6.84, 5.84),
            (15, 5.88, 8.64),
        ),
    },
    "v6e": {
        ("layer", (768,), "float32"): ((9, 2.51, 5.42), None, (12, 2.26, 4.26)),
        ("layer", (768,), "bfloat16"): ((9, 2.51, 3.53), None, (12, 2.26, 3.54)),
        ("layer", (4096,), "float32"): ((5, 2.01, 4.35), None, (7, 2.01, 3.61)),
        ("layer", (4096,), "bfloat16"): ((5, 2.01, 2.61), None, None),
        ("layer", (56, 56, 64), "float32"): ((7, 2.51, 5.33), None, (9, 2.26, 4.2)),
        ("rms", (768,), "float32"): ((5, 1.51, 2.05), None, None),
        ("batch", (56, 56, 64), "float32"): ((7, 2.01, 4.3), None, None),
        ("group", (32, 32, 256), "float32"): ((16, 2.01, 4.36), None, None),
    },
}

# The programs of the short form, `make platforms ARGS="--check"`.
CHECKED: dict[str, tuple[Any, ...]] = {
    "h100": (
        ("layer", (768,), "float32", "forward"),
        ("layer", (768,), "float32", "both"),
        ("rms", (768,), "bfloat16", "forward"),
        ("batch", (56, 56, 64), "float32", "both"),
        ("group", (32, 32, 256), "bfloat16", "forward"),
    ),
    "v5e": (
        ("layer", (768,), "float32", "forward"),
        ("rms", (768,), "float32", "both"),
        ("batch", (56, 56, 64), "float32", "forward"),
    ),
    "v6e": (),
}
