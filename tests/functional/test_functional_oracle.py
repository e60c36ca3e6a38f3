"""The oracle itself: its values against NumPy's statistics, its gradients against complex steps."""

import functools

import numpy as np
import pytest

from tests import oracle
from tests.registry import OPERATIONS, draw_mask

CASES = [
    (operation, layout)
    for operation in OPERATIONS
    for layout in operation.layouts
    if 0 not in layout.shape
]


def test_slices_of_mixed_axes_have_numpys_mean_and_variance():
    """Axes in any order, a kept one between: `mean` and `var` of NumPy."""
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    moments = oracle.Normalization(oracle.slices(x.shape, (2, 0))).evaluate({"x": x})
    np.testing.assert_allclose(moments["mean"], x.mean((0, 2)), rtol=1e-14)
    np.testing.assert_allclose(moments["var"], x.var((0, 2)), rtol=1e-14)


def test_slices_of_groups_have_numpys_mean_and_variance():
    """Groups are neighbouring channels."""
    x = np.random.default_rng(0).normal(size=(2, 3, 6))
    split = x.reshape(2, 3, 3, 2)
    for axis, pooled in ((-1, 3), ((1, -1), (1, 3))):
        moments = oracle.Normalization(oracle.slices(x.shape, axis, groups=3)).evaluate({"x": x})
        np.testing.assert_allclose(moments["mean"], split.mean(pooled), rtol=1e-14)
        np.testing.assert_allclose(moments["var"], split.var(pooled), rtol=1e-14)


@pytest.mark.parametrize(("operation", "layout"), CASES, ids=str)
def test_gradients_are_derivatives_of_the_values(operation, layout):
    """<pullback(cotangent), tangent> is <cotangent, derivative along tangent>, masked or not."""
    arrays = oracle.as_float64(operation.draw(layout, np.float64))
    reference = operation.reference(layout)
    generator = np.random.default_rng(3)
    for where in (None, draw_mask(layout)):
        values = reference.evaluate(arrays, where)
        cotangents = operation.cotangents(values, dict.fromkeys(values, np.float64))
        gradients = reference.pullback(arrays, cotangents, where)
        for name, array in arrays.items():
            tangent = generator.normal(size=array.shape)
            slope = oracle.directional(
                functools.partial(reference.evaluate, where=where), arrays, {name: tangent}
            )
            terms = [(cotangents[key] * slope[key]).ravel() for key in cotangents]
            size = sum(np.abs(term).sum() for term in terms)
            expected = sum(term.sum() for term in terms)
            np.testing.assert_allclose(
                (gradients[name] * tangent).sum(), expected, rtol=1e-12, atol=1e-13 * size
            )
