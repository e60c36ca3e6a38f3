"""A batch in parts of unequal count, and what the whole of it gives: values, moments, gradients."""

import jax
import numpy as np
from jax.sharding import AxisType

from inox import functional
from tests import oracle
from tests.functional.closeness import assert_all_close, assert_close

PARTS, ROWS, CHANNELS = 4, 6, 3


def mesh_of(shape, names):
    """A mesh of virtual devices whose axes are split by the compiler outside of the maps."""
    return jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(names))


class Batch:
    """Four parts of six rows, of which 6, 3, 1 and 0 count; the others hold NaN."""

    def __init__(self, counts=(6, 3, 1, 0)):
        generator = np.random.default_rng(0)
        shape = (PARTS, ROWS, CHANNELS)
        # Parts with means far apart: a mean of means is off by more than the standard deviation.
        offset = np.array([0.0, 3.0, -20.0, 7.0]).reshape(PARTS, 1, 1)
        x = generator.normal(1, 2, shape) + offset
        self.where = np.arange(ROWS)[None, :, None] < np.array(counts)[:, None, None]
        self.x = np.where(self.where, x, np.nan).astype(np.float32)
        self.scale = generator.uniform(0.5, 1.5, CHANNELS).astype(np.float32)
        self.bias = generator.normal(size=CHANNELS).astype(np.float32)
        self.epsilon = np.float32(0.125)
        self.cotangents = {
            "y": generator.normal(size=shape).astype(np.float32),
            "mean": generator.normal(size=CHANNELS).astype(np.float32),
            "var": generator.normal(size=CHANNELS).astype(np.float32),
        }
        self.parameters = {"scale": self.scale, "bias": self.bias, "epsilon": self.epsilon}
        self.reference = oracle.Normalization(oracle.slices(shape, (0, 1)))
        self.arrays = oracle.as_float64({"x": self.x} | self.parameters)

    def exact(self):
        return self.reference.evaluate(self.arrays, self.where)

    def exact_gradients(self):
        wide = oracle.as_float64(self.cotangents)
        return (
            self.reference.pullback(self.arrays, wide, self.where),
            self.reference.sizes(self.arrays, wide, self.where),
        )

    def check(self, y, moments, gradients):
        exact = self.exact()
        assert_close(y, exact["y"], "y")
        np.testing.assert_array_equal(moments.count, exact["count"])
        # The offsets make entries of one sum differ by tenfold; it is the largest that rounds.
        assert_close(moments.mean, exact["mean"], "mean", size=np.array(20.0))
        assert_close(moments.var, exact["var"], "var", factor=32)
        expected, sizes = self.exact_gradients()
        assert_all_close(gradients, expected, "gradient", sizes=sizes)


def loss_of(cotangents, y, moments, parts):
    """The product with the cotangents; replicated moments count once, not once a part."""
    own = (y * cotangents["y"]).sum()
    shared = (moments.mean * cotangents["mean"]).sum() + (moments.var * cotangents["var"]).sum()
    return own + shared / parts


def pooled_norm(x, where, parameters):
    """Batch norm over a mapped axis named parts."""
    return functional.batch_norm(
        x,
        parameters["scale"],
        parameters["bias"],
        epsilon=parameters["epsilon"],
        where=where,
        axis_name="parts",
    )
