"""Which files of tests are run, and whose classes are under test in each."""

from dataclasses import dataclass

FLAX = "flax"
HAIKU = "haiku"
KERAS = "keras"


@dataclass(frozen=True)
class Suite:
    """Files of one source that have the same classes under test.

    Attributes:
        name: What `--only` and the page call it.
        source: The distribution that the files come with.
        frameworks: The frameworks whose classes are ours (keys of `classes.FRAMEWORKS`).
        files: Paths of the files, and for some of them an expression that chooses among their
            tests, as `pytest -k` takes it.
        note: What there is to know about the choice.
        devices: How many devices the CPU is to be; Flax' tests set the number that they need.
    """

    name: str
    source: str
    frameworks: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    note: str
    devices: int = 1


def _all_of(*files: str) -> tuple[tuple[str, str], ...]:
    return tuple((file, "") for file in files)


# Tests that run over every module of Haiku, by its name: these are normalization, or have some in
# them. To run the others takes ten minutes and builds none of our classes.
WITH_NORMALIZATION = "(Norm and not SpectralNorm) or ResNet or MobileNet"


def _those_with_normalization(*files: str) -> tuple[tuple[str, str], ...]:
    return tuple((file, WITH_NORMALIZATION) for file in files)


SUITES = (
    Suite(
        name="nnx",
        source=FLAX,
        frameworks=("nnx", "linen"),
        files=_all_of("tests/nnx/nn/normalization_test.py"),
        note="Flax NNX's tests of its normalization layers. Most of them ask NNX and Linen for the"
        " same numbers to the bit, so both are ours.",
    ),
    Suite(
        name="linen",
        source=FLAX,
        frameworks=("linen",),
        files=_all_of("tests/linen/linen_test.py"),
        note="Flax Linen's tests of its normalization layers: `NormalizationTest`.",
    ),
    Suite(
        name="flax",
        source=FLAX,
        frameworks=("nnx", "linen"),
        files=_all_of(
            "tests/nnx/transforms_test.py",
            "tests/linen/linen_transforms_test.py",
            "tests/nnx/nn/attention_test.py",
            "tests/nnx/nn/linear_test.py",
            "tests/linen/linen_module_test.py",
            "tests/linen/summary_test.py",
            "tests/nnx/graph_utils_test.py",
            "tests/nnx/bridge/wrappers_test.py",
            "tests/nnx/integration_test.py",
            "tests/nnx/module_test.py",
            "tests/nnx/summary_test.py",
            "tests/nnx/helpers_test.py",
        ),
        note="The files of Flax' tests elsewhere that name a normalization layer, or build one in a"
        " layer that has it (attention with normalized queries and keys). "
        "`tests/checkpoints_test.py` names batch norm in a model that no test builds.",
    ),
    Suite(
        name="haiku",
        source=HAIKU,
        frameworks=("haiku",),
        files=_all_of(
            "_src/batch_norm_test.py",
            "_src/layer_norm_test.py",
            "_src/group_norm_test.py",
            "_src/rms_norm_test.py",
        ),
        note="Haiku's tests of its normalization layers. One of them needs several devices.",
        devices=8,
    ),
    Suite(
        name="haiku-networks",
        source=HAIKU,
        frameworks=("haiku",),
        files=(
            *_all_of("_src/nets/resnet_test.py", "_src/nets/mobilenetv1_test.py"),
            *_those_with_normalization(
                "_src/integration/numpy_inputs_test.py",
                "_src/integration/jaxpr_info_test.py",
                "_src/integration/summarise_test.py",
                "_src/integration/half_test.py",
                "_src/integration/float64_test.py",
                "_src/integration/hk_transforms_test.py",
                "_src/integration/jax_transforms_test.py",
                "_src/integration/rank_promotion_test.py",
                "_src/integration/to_dot_test.py",
                "_src/integration/typing_test.py",
                "_src/integration/check_tracer_leaks_test.py",
            ),
        ),
        note="Haiku's networks with batch norm, and its tests that run over every module: those of"
        " the modules that are normalization or have some in them."
        " `_src/integration/checkpoint_test.py` compares with files that the wheel lacks.",
    ),
    Suite(
        name="keras",
        source=KERAS,
        frameworks=("keras",),
        files=_all_of(
            "src/layers/normalization/batch_normalization_test.py",
            "src/layers/normalization/layer_normalization_test.py",
            "src/layers/normalization/group_normalization_test.py",
            "src/layers/normalization/rms_normalization_test.py",
        ),
        note="Keras' tests of its normalization layers, on its backend for JAX. There are no"
        " classes of ours for Keras: weights and configuration are Keras', and what is computed of"
        " them is ours (`conformance/keras_layers.py`).",
    ),
)
