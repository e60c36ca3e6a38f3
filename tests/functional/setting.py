"""An operation at one point: arrays, a direction for each, cotangents, and the oracle's answers."""

import numpy as np

from tests import oracle
from tests.functional.programs import result_dtypes
from tests.registry import draw_mask, spoil


class Setting:
    """By default on the first layout of the operation, and without a mask."""

    def __init__(self, operation, masked=False, dtype=np.float32, layout=None):
        self.operation = operation
        self.layout = layout or operation.layouts[0]
        self.reference = operation.reference(self.layout)
        self.where = draw_mask(self.layout) if masked else None
        self.arrays = operation.draw(self.layout, dtype)
        if masked:
            self.arrays["x"] = spoil(self.arrays["x"], self.where)
        generator = np.random.default_rng(5)
        self.tangents = {
            name: np.asarray(generator.normal(size=array.shape)).astype(dtype)
            for name, array in self.arrays.items()
        }
        self.exact = self.reference.evaluate(self.wide(self.arrays), self.where)
        self.cotangents = operation.cotangents(self.exact, result_dtypes(operation, self.arrays))

    def wide(self, arrays):
        return oracle.as_float64(arrays)

    def call(self, arrays):
        named = self.operation.call(arrays, self.where, **self.layout.static)
        return {name: named[name] for name in self.operation.results}

    def loss(self, arrays):
        """The cotangents' product with the results, so that its gradient is the pullback."""
        results = self.call(arrays)
        return sum((results[name] * self.cotangents[name]).sum() for name in results)

    def slope(self):
        """Derivative of the results along the tangents."""
        return oracle.directional(
            lambda moved: self.reference.evaluate(moved, self.where),
            self.wide(self.arrays),
            self.wide(self.tangents),
        )

    def hessian_vector_product(self):
        """Derivative of the gradient of the loss along the tangents."""
        cotangents = self.wide(self.cotangents)
        return oracle.directional(
            lambda moved: self.reference.pullback(moved, cotangents, self.where),
            self.wide(self.arrays),
            self.wide(self.tangents),
        )
