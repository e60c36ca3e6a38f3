"""Why a test of theirs does not pass with our classes: one line for each that is known.

A failure without a reason here fails the run, and so does a reason whose test passes or is gone. A
reason is one of two:

- `DEFECT`: what the test expects is a defect of the framework. The text says what is right, and by
  how much the framework is off.
- `NOT_APPLICABLE`: the test is not about what our classes promise, or can't run here.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

DEFECT = "expects a defect"
NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Reason:
    """Why tests don't pass.

    Attributes:
        suite: The suite that they belong to.
        tests: Which they are, as `fnmatch` reads it: the end of the name that pytest gives them.
        kind: `DEFECT` or `NOT_APPLICABLE`.
        text: Why, for the page.
    """

    suite: str
    tests: str
    kind: str
    text: str

    def is_of(self, suite: str, test: str) -> bool:
        """Whether a test is one of those."""
        return suite == self.suite and fnmatchcase(test, f"*{self.tests}")


_RENORM = (
    "Keras' batch norm with `renorm=True` is another layer: here it is `inox.nn.BatchRenorm`, which"
    " `inox.interop.keras` does not fill."
)

_HALF = (
    "It asks for running statistics in half precision where x is in it; ours are in float32. After"
    " 2000 batches with mean 5.03 and `decay_rate=0.999`, Haiku's average of the means is NaN in"
    " bfloat16 (where the rate rounds to 1) and 4.66 in float16; ours is 5.03 in both."
)

REASONS: tuple[Reason, ...] = (
    Reason(
        "linen",
        "::test_layer_norm4",
        DEFECT,
        "The data are around 1e6, and the expected numbers come from a mean and a variance that are"
        " rounded to float32 in between: they are 0.037 off the formula in float64 (more than the"
        " test's own tolerance), and so is Flax's layer, by the same. Ours is 6e-8 off.",
    ),
    Reason(
        "linen",
        "::test_instance_norm3",
        DEFECT,
        "The same with data around 1e4: the expected numbers and Flax's layer are 1.0e-3 off the"
        " formula in float64 (the tolerance is 1e-6), ours is 1.1e-7 off.",
    ),
    *(
        Reason(
            "haiku-networks", f"half_test.py::Bfloat16Test::test_*float16_{module}", DEFECT, _HALF
        )
        for module in ("BatchNorm", "nets.MobileNetV1", "nets.ResNet")
    ),
    Reason(
        "keras",
        "::test_output_with_rms_scaling",
        NOT_APPLICABLE,
        "`rms_scaling=True` divides by the standard deviation without subtracting the mean. Keras"
        " itself calls it deprecated and incorrect; RMS norm is a layer of its own.",
    ),
    Reason(
        "keras",
        "::LayerNormalizationTest::test_ln_basics",
        NOT_APPLICABLE,
        "It asks for `rms_scaling=True`, too, and ends there.",
    ),
    Reason(
        "keras",
        "::test_renorm_basics",
        NOT_APPLICABLE,
        _RENORM,
    ),
    Reason(
        "keras",
        "::test_renorm_correctness",
        NOT_APPLICABLE,
        _RENORM,
    ),
    Reason(
        "keras",
        "::test_renorm_inference",
        NOT_APPLICABLE,
        "The test draws running variances from a normal distribution and compares the NaN that the"
        " negative ones give. Ours refuses a negative variance.",
    ),
)
