"""What the programs of this package may need at most.

For a norm, the shape of x without its first axis, and its dtype: the figures of the forward pass,
of the backward pass alone, and of both together. They are kernels, bytes over the floor's and, on
TPU, cycles over the floor's (but for kernels that are handed to the compiler), rounded up to two
digits; None where nothing is asked. They are about
the compilers of requirements.txt. A formula that needs less lowers its line: `make platforms
ARGS="--bars"` prints the lines as they are measured.
"""

from typing import Any

BARS: dict[str, dict[Any, Any]] = {
    "h100": {
        ("layer", (768,), "float32"): ((1, 1.01), (8, 1.71), (9, 1.78)),
        ("layer", (768,), "bfloat16"): ((1, 1.01), (8, 1.73), (9, 1.8)),
        ("layer", (4096,), "float32"): ((1, 1.01), (8, 1.69), (9, 1.77)),
        ("layer", (4096,), "bfloat16"): ((1, 1.01), (8, 1.7), (9, 1.78)),
        ("layer", (56, 56, 64), "float32"): ((1, 1.01), (5, 2.02), (6, 2.02)),
        ("layer", (56, 56, 64), "bfloat16"): ((1, 1.01), (5, 2.04), (6, 2.03)),
        ("rms", (768,), "float32"): ((1, 1.01), (4, 1.68), (5, 1.76)),
        ("rms", (768,), "bfloat16"): ((1, 1.01), (4, 1.69), (5, 1.77)),
        ("heads", (2048, 12, 64), "float32"): ((1, 1.01), (3, 1.68), (4, 1.76)),
        ("heads", (2048, 12, 64), "bfloat16"): ((1, 1.01), (3, 1.69), (4, 1.77)),
        ("batch", (56, 56, 64), "float32"): ((8, 1.52), (12, 2.02), (13, 1.77)),
        ("batch", (56, 56, 64), "bfloat16"): ((8, 1.54), (12, 2.03), (13, 1.78)),
        ("group", (32, 32, 256), "float32"): ((9, 1.53), (14, 2.04), (18, 1.78)),
        ("group", (32, 32, 256), "bfloat16"): ((9, 1.54), (14, 2.08), (18, 1.81)),
        ("position", (32, 32, 256), "float32"): ((1, 1.01), (5, 2.03), (6, 2.02)),
        ("position", (32, 32, 256), "bfloat16"): ((1, 1.01), (5, 2.06), (6, 2.04)),
    },
    "v5e": {
        ("layer", (768,), "float32"): ((3, 1.01), (4, 1.01), (6, 1.26)),
        ("layer", (768,), "bfloat16"): ((3, 1.01), (4, 1.01), (6, 1.26)),
        ("layer", (4096,), "float32"): ((1, 1.01), (1, 1.01), (2, 1.26)),
        ("layer", (4096,), "bfloat16"): ((1, 1.01), (1, 1.01), (2, 1.26)),
        ("layer", (56, 56, 64), "float32"): ((8, 1.51, 2.2), (10, 2.05, 2.15), (14, 1.81, 2.51)),
        ("layer", (56, 56, 64), "bfloat16"): ((9, 2.04, 2.73), (12, 2.79, 2.63), (16, 2.4, 3.61)),
        ("rms", (768,), "float32"): ((2, 1.01), (3, 1.01), (4, 1.26)),
        ("rms", (768,), "bfloat16"): ((2, 1.01), (3, 1.01), (4, 1.26)),
        ("batch", (56, 56, 64), "float32"): ((12, 1.51, 2.02), (15, 2.01, 1.91), (15, 1.76, 2.25)),
        ("batch", (56, 56, 64), "bfloat16"): ((12, 1.51, 1.79), (15, 2.01, 1.6), (15, 1.76, 2.21)),
        ("group", (32, 32, 256), "float32"): ((22, 1.51, 2.03), (32, 1.67, 1.47), (42, 1.51, 1.77)),
        ("group", (32, 32, 256), "bfloat16"): (
            (22, 1.51, 1.81),
            (32, 1.67, 1.21),
            (42, 1.51, 1.71),
        ),
        ("position", (32, 32, 256), "float32"): ((1, 1.01), (1, 1.01), (2, 1.26)),
        ("position", (32, 32, 256), "bfloat16"): ((1, 1.01), (1, 1.01), (2, 1.26)),
    },
    "v6e": {
        ("layer", (768,), "float32"): ((3, 1.01), (4, 1.01), (6, 1.26)),
        ("layer", (768,), "bfloat16"): ((3, 1.01), (4, 1.01), (6, 1.26)),
        ("layer", (4096,), "float32"): ((1, 1.01), (1, 1.01), (2, 1.26)),
        ("layer", (4096,), "bfloat16"): ((1, 1.01), (1, 1.01), (2, 1.26)),
        ("layer", (56, 56, 64), "float32"): ((8, 1.51, 2.05), (7, 1.71, 1.14), (11, 1.56, 1.95)),
        ("layer", (56, 56, 64), "bfloat16"): ((8, 1.51, 1.85), (8, 2.09, 1.23), (12, 1.87, 2.38)),
        ("rms", (768,), "float32"): ((2, 1.01), (3, 1.01), (4, 1.26)),
        ("rms", (768,), "bfloat16"): ((2, 1.01), (3, 1.01), (4, 1.26)),
        ("batch", (56, 56, 64), "float32"): ((9, 1.51, 2.02), (12, 2.01, 1.43), (12, 1.76, 2.35)),
        ("batch", (56, 56, 64), "bfloat16"): ((9, 1.51, 1.81), (12, 2.01, 1.19), (12, 1.76, 2.29)),
        ("group", (32, 32, 256), "float32"): ((21, 1.51, 2.06), (30, 1.67, 1.06), (40, 1.51, 1.8)),
        ("group", (32, 32, 256), "bfloat16"): (
            (21, 1.51, 1.84),
            (29, 1.67, 0.89),
            (39, 1.51, 1.75),
        ),
        ("position", (32, 32, 256), "float32"): ((1, 1.01), (1, 1.01), (2, 1.26)),
        ("position", (32, 32, 256), "bfloat16"): ((1, 1.01), (1, 1.01), (2, 1.26)),
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
        ("position", (32, 32, 256), "float32", "both"),
    ),
    "v5e": (
        ("layer", (768,), "float32", "forward"),
        ("rms", (768,), "float32", "both"),
        ("batch", (56, 56, 64), "float32", "forward"),
    ),
    "v6e": (),
}
