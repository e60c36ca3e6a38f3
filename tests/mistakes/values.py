"""Wrong values of each argument that functions and layers share, by what is wrong with them.

Each is (value, exception, what the message tells besides the argument's name).
"""

import jax
import jax.numpy as jnp
import numpy as np

from inox import functional, nn
from tests.mistakes.registry import CHANNELS, SHAPE, X, key, ones, zeros

# What is no array of real numbers, whether it is given as x, scale or bias.
NO_ARRAYS = {
    "text": ("ones", TypeError, ("'ones'", "array of numbers")),
    "layer": (nn.LayerNorm(), TypeError, ("LayerNorm(", "Call it")),
    "parameter": (nn.Parameter(ones(CHANNELS)), TypeError, ("Parameter(", "Call it")),
    "function": (jax.nn.relu, TypeError, ("function relu", "Call it")),
    "class": (nn.LayerNorm, TypeError, ("class LayerNorm", "Call it")),
    "dict": ({"scale": 1.0}, TypeError, ("{'scale': 1.0}", "arrays that it holds")),
    "set": ({1.0}, TypeError, ("{1.0}", "jax.numpy")),
    "iterator": (iter("ab"), TypeError, ("iterator", "jax.numpy")),
    "complex": (ones(*SHAPE, dtype=np.complex64), TypeError, ("complex64", "real", "apart")),
    "complex number": (1j, TypeError, ("complex", "real", "apart")),
    "objects": (np.array([1.0, None]), TypeError, ("object", "astype")),
    "masked array": (np.ma.array([1.0], mask=[True]), TypeError, ("float64", "where=~x.mask")),
    "dates": (np.zeros(CHANNELS, "M8[D]"), TypeError, ("datetime64", "jax.numpy")),
    "records": (np.zeros(CHANNELS, [("a", int)]), TypeError, ("('a', '<i8')", "jax.numpy")),
    "extended": (np.zeros(CHANNELS, np.longdouble), TypeError, ("float128", "jax.numpy")),
    "key": (key(), TypeError, ("key<", "random.normal")),
    "exponents": (jnp.ones(CHANNELS, jnp.float8_e8m0fnu), TypeError, ("e8m0", "astype")),
    "struct": (jax.ShapeDtypeStruct((2,), "float32"), TypeError, ("ShapeDtype", "eval_shape")),
}

# Lists and tuples, of which x may be one if it holds numbers.
X_VALUES = NO_ARRAYS | {
    "None": (None, TypeError, ("None", "Pass an array")),
    "result of batch norm": ((X, {}), TypeError, ("tuple of (ndarray, dict)", "y, state =")),
    "result of batch_norm": (
        (X, functional.Moments(1, 1, 1)),
        TypeError,
        ("tuple of (ndarray, Moments)", "unpack", "pass y"),
    ),
    "list of result": ([X, {}], TypeError, ("list of (ndarray, dict)", "unpack")),
    "two arrays": ((X, X), TypeError, ("tuple of (ndarray, ndarray)", "jnp.stack")),
    "many arrays": ([X, X, X, X], TypeError, ("list of (ndarray, ndarray, ndarray, ...)", "stack")),
    "texts": (["a", "b"], TypeError, ("['a', 'b']", "jax.numpy")),
    "ragged": ([[1.0], [2.0, 3.0]], TypeError, ("[[1.0], [2.0, 3.0]]", "jax.numpy")),
    "list with None": ([1.0, None], TypeError, ("[1.0, None]", "jax.numpy")),
    "beyond float64": ([10**400], TypeError, ("[1000", "jax.numpy")),
}

SCALES = NO_ARRAYS | {
    "shape": ((CHANNELS,), TypeError, ("(6,)", "jnp.asarray", "normalized_shape")),
    "shape of two": ((3, CHANNELS), TypeError, ("(3, 6)", "normalized_shape")),
    "shape as a list": ([CHANNELS], TypeError, ("[6]", "normalized_shape")),
    "list": ([1.0] * CHANNELS, TypeError, ("[1.0, 1.0", "jnp.asarray")),
    "tuple of arrays": ((ones(6), ones(6)), TypeError, ("tuple of", "jnp.asarray")),
    "True": (True, TypeError, ("True", "switch", "(channels)", "None")),
    "False": (False, TypeError, ("False", "switch", "None")),
    "NumPy's True": (np.True_, TypeError, ("True", "switch", "None")),
    "booleans": (ones(CHANNELS, dtype=bool), TypeError, ("bool", "switch", "None")),
    "traced booleans": (jnp.ones(CHANNELS, bool), TypeError, ("bool", "switch", "None")),
}

# Scales whose shape doesn't fit x; known at a call alone.
SCALE_SHAPES = {
    str(shape): (ones(*shape), ValueError, (str(shape), str(SHAPE), "right", "trailing"))
    for shape in [(5,), (2,), (2, 6), (3, 2), (2, 3, 5), (1, 2, 3, 6)]
}

AXES = {
    "True": (True, TypeError, ("True", "integer", "-1")),
    "False": (False, TypeError, ("False", "integer", "-1")),
    "NumPy's True": (np.True_, TypeError, ("True", "integer", "-1")),
    "float": (1.0, TypeError, ("1.0", "integer", "-1")),
    "epsilon": (1e-5, TypeError, ("1e-05", "integer", "-1")),
    "None": (None, TypeError, ("None", "integer", "-1")),
    "text": ("channels", TypeError, ("'channels'", "integer", "-1")),
    "float among them": ((0, 1.5), TypeError, ("(0, 1.5)", "integer", "-1")),
    "True among them": ((-1, True), TypeError, ("(-1, True)", "integer", "-1")),
    "nested": (((-1,),), TypeError, ("((-1,),)", "integer", "-1")),
    "array of floats": (zeros(2), TypeError, ("float32", "integer", "-1")),
    "empty": ((), ValueError, ("()", "at least one", "-1")),
    "repeated": ((-1, -1), ValueError, ("(-1, -1)", "once")),
    "size": (768, ValueError, ("768", "not its size", "-1")),
    "size among them": ((-1, 1024), ValueError, ("1024", "not its size", "-1")),
    "negative size": (-512, ValueError, ("-512", "not its size", "-1")),
}

OFFSETS = {
    "True": (True, TypeError, ("True", "number", "Gemma")),
    "NumPy's True": (np.True_, TypeError, ("True", "number", "Gemma")),
    "None": (None, TypeError, ("None", "number", "0.0")),
    "text": ("1", TypeError, ("'1'", "number", "1.0")),
    "complex": (1j, TypeError, ("1j", "number", "1.0")),
    "complex array": (np.complex64(1), TypeError, ("1+0j", "number", "1.0")),
    "list": ([1.0], TypeError, ("[1.0]", "number", "1.0")),
    "parameter": (nn.Parameter(jnp.float32(1.0)), TypeError, ("Parameter", "number", "1.0")),
    "one a channel": (ones(CHANNELS), ValueError, ("(6,)", "scalar", "scale + offset")),
    "NaN": (float("nan"), ValueError, ("nan", "finite", "1.0")),
    "infinity": (float("inf"), ValueError, ("inf", "finite", "1.0")),
    "infinite array": (jnp.float32(-np.inf), ValueError, ("float32", "finite", "1.0")),
    "beyond float32": (1e60, ValueError, ("1e+60", "finite in float32", "1.0")),
    "huge integer": (10**400, ValueError, ("1000", "finite", "1.0")),
}
# Offsets with nothing to add them to.
LONE_OFFSETS = {
    "1": (1, ValueError, ("1", "scale=None", "jnp.zeros(channels)", "leave")),
    "1.0": (1.0, ValueError, ("1.0", "scale=None", "jnp.zeros(channels)", "leave")),
    "array": (jnp.float32(1.0), ValueError, ("float32", "scale=None", "jnp.zeros(channels)")),
}

ROUNDINGS = {
    "integer": (jnp.int8, TypeError, ("int8", "floating-point", "x.dtype")),
    "boolean": (bool, TypeError, ("bool", "floating-point", "x.dtype")),
    "complex": (np.complex64, TypeError, ("complex64", "floating-point", "x.dtype")),
    "bits": (16, TypeError, ("16", "floating-point", "jnp.bfloat16")),
    "True": (True, TypeError, ("True", "floating-point", "jnp.bfloat16")),
    "number": (1.0, TypeError, ("1.0", "floating-point", "jnp.bfloat16")),
    "text": ("half precision", TypeError, ("'half precision'", "floating-point", "bfloat16")),
    "array": (jnp.ones(2), TypeError, ("float32", "floating-point", "jnp.bfloat16")),
    "NumPy array": (ones(2), TypeError, ("float32", "floating-point", "jnp.bfloat16")),
    "NumPy scalar": (np.float32(1), TypeError, ("1.0", "floating-point", "jnp.bfloat16")),
    "struct": (jax.ShapeDtypeStruct((2,), "float32"), TypeError, ("Shape", "jnp.bfloat16")),
    "dict": ({"x": "float16"}, TypeError, ("{'x': 'float16'}", "floating-point", "bfloat16")),
    "list": ([jnp.bfloat16], TypeError, ("bfloat16", "floating-point")),
    "function": (jnp.round, TypeError, ("round", "floating-point", "jnp.bfloat16")),
    "exponents": (jnp.float8_e8m0fnu, TypeError, ("e8m0", "floating-point", "jnp.bfloat16")),
}
# Known at a call alone.
WIDE_ROUNDINGS = {
    "float64": (np.float64, ValueError, ("float64", "wider than float32", "None", "x.astype")),
    "name": ("float64", ValueError, ("float64", "wider than float32", "None", "x.astype")),
}

# Axes that x has not; known at a call alone.
AXES_OF_X = {
    "3": (3, ValueError, ("3", str(SHAPE), "-3 to 2")),
    "-4": (-4, ValueError, ("-4", str(SHAPE), "-3 to 2")),
    "5 among them": ((-1, 5), ValueError, ("5", str(SHAPE), "-3 to 2")),
    "two names of one": ((-1, 2), ValueError, ("(-1, 2)", str(SHAPE), "once")),
}

EPSILONS = {
    "negative": (-1e-5, ValueError, ("-1e-05", "not negative", "1e-05")),
    "negative integer": (-1, ValueError, ("-1", "not negative", "1e-05")),
    "negative array": (jnp.float32(-1.0), ValueError, ("-1.0", "not negative", "1e-05")),
    "NaN": (float("nan"), ValueError, ("nan", "finite", "1e-05")),
    "NaN array": (np.array(np.nan, np.float32), ValueError, ("nan", "finite", "1e-05")),
    "infinity": (float("inf"), ValueError, ("inf", "finite", "1e-05")),
    "infinite array": (jnp.float32(np.inf), ValueError, ("inf", "finite", "1e-05")),
    "beyond float32": (1e60, ValueError, ("1e+60", "finite in float32", "1e-05")),
    "array beyond float32": (np.float64(1e60), ValueError, ("1e+60", "float32", "1e-05")),
    "channels": (64, ValueError, ("64", "number of channels", "1e-05")),
    "huge integer": (10**400, ValueError, ("1000", "number of channels", "1e-05")),
    "True": (True, TypeError, ("True", "float", "1e-05")),
    "False": (False, TypeError, ("False", "float", "1e-05")),
    "complex": (1e-5j, TypeError, ("1e-05j", "float", "1e-05")),
    "complex array": (np.complex64(1e-5), TypeError, ("1e-05", "float", "jnp.asarray")),
    "integer array": (np.array(1), TypeError, ("int64", "float", "1e-05")),
    "text": ("1e-5", TypeError, ("'1e-5'", "float", "1e-05")),
    "None": (None, TypeError, ("None", "float", "1e-05")),
    "list": ([1e-5], TypeError, ("[1e-05]", "float", "1e-05")),
    "one a channel": (ones(CHANNELS), ValueError, ("(6,)", "scalar", "vmap")),
    "parameter": (nn.Parameter(jnp.float32(1e-5)), TypeError, ("Parameter", "float", "1e-05")),
}

MOMENTA = {
    "above 1": (1.5, ValueError, ("1.5", "[0, 1]", "PyTorch")),
    "negative": (-0.1, ValueError, ("-0.1", "[0, 1]", "PyTorch")),
    "NaN": (float("nan"), ValueError, ("nan", "[0, 1]", "PyTorch")),
    "infinity": (float("inf"), ValueError, ("inf", "[0, 1]", "PyTorch")),
    "per cent": (90, ValueError, ("90", "[0, 1]", "PyTorch")),
    "array above 1": (jnp.float32(1.5), ValueError, ("1.5", "[0, 1]", "PyTorch")),
    "one above 1": (np.full(CHANNELS, 2.0), ValueError, ("2.", "[0, 1]", "PyTorch")),
    "True": (True, TypeError, ("True", "float", "0.9")),
    "text": ("0.9", TypeError, ("'0.9'", "float", "0.9")),
    "None": (None, TypeError, ("None", "float", "0.9")),
    "complex": (0.9j, TypeError, ("0.9j", "float", "0.9")),
    "list": ([0.9], TypeError, ("[0.9]", "float", "0.9")),
    "parameter": (nn.Parameter(jnp.float32(0.9)), TypeError, ("Parameter", "float", "0.9")),
    "another number of channels": (np.full(4, 0.5, np.float32), ValueError, ("(4,)", "(6,)")),
}

MASKS = {
    "tokens": (ones(2, 3, dtype=bool), ValueError, ("(2, 3)", str(SHAPE), "where[..., None]")),
    "channels": (ones(CHANNELS, dtype=bool), ValueError, ("(6,)", str(SHAPE), "axes")),
    "positions": (ones(3, CHANNELS, dtype=bool), ValueError, ("(3, 6)", str(SHAPE), "axes")),
    "more axes": (ones(1, *SHAPE, dtype=bool), ValueError, ("(1, 2, 3, 6)", str(SHAPE), "axes")),
    "other sizes": (ones(2, 4, 1, dtype=bool), ValueError, ("(2, 4, 1)", str(SHAPE), "axes")),
    "True": (True, ValueError, ("()", str(SHAPE), "leave it out")),
    "False": (np.False_, ValueError, ("()", str(SHAPE), "leave it out")),
    "integers": (ones(2, 3, 1, dtype=np.int32), TypeError, ("int32", "boolean", "astype(bool)")),
    "floats": (ones(2, 3, 1), TypeError, ("float32", "boolean", "astype(bool)")),
    "lists of integers": ([[[1], [0], [1]]], TypeError, ("int", "boolean", "astype(bool)")),
    "lengths": (np.array([3, 1]), TypeError, ("int", "boolean", "!= 0")),
    "text": ("yes", TypeError, ("'yes'", "boolean", "x > 0")),
    "function": (jnp.isfinite, TypeError, ("isfinite", "boolean", "x > 0")),
    "dict": ({"mask": True}, TypeError, ("{'mask': True}", "boolean", "x > 0")),
    "ragged": ([[True], [True, False]], TypeError, ("[[True], [True", "boolean", "x > 0")),
    "complex": (ones(*SHAPE, dtype=np.complex64), TypeError, ("complex64", "boolean", "!= 0")),
}

WEIGHTS = {
    "lists of booleans": ([[[True]], [[False]]], TypeError, ("weights", "booleans", "where")),
    "a sample": (ones(2), ValueError, ("(2,)", str(SHAPE), "axis", "reshape")),
    "tokens": (ones(2, 3), ValueError, ("(2, 3)", str(SHAPE), "axes")),
    "other sizes": (ones(2, 4, 1), ValueError, ("(2, 4, 1)", str(SHAPE), "axes")),
    "mask": (ones(2, 3, 1, dtype=bool), TypeError, ("booleans", "where", "astype")),
    "True": (True, TypeError, ("booleans", "where", "astype")),
    "complex": (ones(2, 3, 1, dtype=np.complex64), TypeError, ("complex64", "real")),
    "text": ("ones", TypeError, ("'ones'", "array of numbers")),
    "negative": (-ones(2, 1, 1), ValueError, ("-1", "not negative", "Write 0")),
    "NaN": (np.full((2, 1, 1), np.nan), ValueError, ("nan", "finite", "Write 0")),
    "infinity": (np.full((2, 1, 1), np.inf), ValueError, ("inf", "finite", "Write 0")),
}

GROUPS = {
    "True": (True, ValueError, ("True", "above 0", "8")),
    "zero": (0, ValueError, ("0", "above 0", "8")),
    "negative": (-2, ValueError, ("-2", "above 0", "8")),
    "float": (2.0, TypeError, ("2.0", "integer", "8")),
    "text": ("2", TypeError, ("'2'", "integer", "8")),
    "None": (None, TypeError, ("None", "integer", "8")),
    "tuple": ((2,), TypeError, ("(2,)", "integer", "8")),
    "array": (ones(2), TypeError, ("float32", "integer", "8")),
}

IMPLEMENTATIONS = {
    "number": (3, ValueError, ("3", "'xla'", "'cpu'", "None")),
    "True": (True, ValueError, ("True", "'xla'", "'cpu'", "None")),
    "platform": ("cuda", ValueError, ("'cuda'", "'xla'", "'cpu'", "None")),
    "capitals": ("XLA", ValueError, ("'XLA'", "'xla'", "'cpu'", "None")),
    "empty": ("", ValueError, ("''", "'xla'", "'cpu'", "None")),
    "list": (["xla"], ValueError, ("['xla']", "'xla'", "'cpu'", "None")),
}

# With one mapped axis.
INDEX_GROUPS = {
    "positions": ((0, 1), TypeError, ("(0, 1)", "sequence of sequences", "((0, 1), (2, 3))")),
    "number": (2, TypeError, ("2", "sequence of sequences", "((0, 1), (2, 3))")),
    "floats": (((0.0, 1.0),), TypeError, ("0.0", "sequence of sequences", "((0, 1), (2, 3))")),
    "booleans": (((False, True),), TypeError, ("True", "sequences", "((0, 1), (2, 3))")),
    "text": ("01", TypeError, ("'01'", "sequence of sequences", "((0, 1), (2, 3))")),
    "twice": (((0, 1), (1,)), ValueError, ("((0, 1), (1,))", "once", "((0, 1), (2, 3))")),
    "a gap": (((0, 2),), ValueError, ("((0, 2),)", "each position", "((0, 1), (2, 3))")),
    "an empty group": (((0, 1), ()), ValueError, ("((0, 1), ())", "empty", "((0, 1), (2, 3))")),
    "none": ((), ValueError, ("()", "each position", "((0, 1), (2, 3))")),
}

AXIS_NAMES = {
    "number": (3, TypeError, ("3", "name", "vmap")),
    "zero": (0, TypeError, ("0", "name", "vmap")),
    "True": (True, TypeError, ("True", "name", "vmap")),
    "numbers": ((0, 1), TypeError, ("(0, 1)", "name", "vmap")),
    "float": (1.0, TypeError, ("1.0", "name", "vmap")),
    "array": (zeros(2), TypeError, ("float32", "name", "vmap")),
    "set": ({"batch"}, TypeError, ("{'batch'}", "name", "vmap")),
    "dict": ({"batch": 2}, TypeError, ("{'batch': 2}", "name", "vmap")),
    "nested": ((("batch",),), TypeError, ("(('batch',),)", "name", "vmap")),
    "None among them": (("batch", None), TypeError, ("None", "name", "vmap")),
    "empty tuple": ((), ValueError, ("()", "at least one", "Leave it out")),
    "empty list": ([], ValueError, ("[]", "at least one", "Leave it out")),
    "twice": (("batch", "batch"), ValueError, ("'batch'", "once")),
}
