"""A small language model on the help texts that come with Python, bytes in, bytes out.

Pre-norm with RMS, as in Llama: each branch is added to the residual stream and normalized in one
pass, `add_rms_norm`. Paragraphs differ in length, so sequences are padded, and the mask keeps the
padding out of everything. `python examples/language/run.py --help`
"""

import argparse
import pydoc_data.topics
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from inox.functional import add_rms_norm, rms_norm

Array = jax.Array
BYTES, LENGTH, WIDTH, HEADS, LAYERS = 128, 96, 96, 4, 2
PADDING = 0


def paragraphs() -> np.ndarray:
    """All paragraphs as rows of ASCII codes, cut or padded with zeros to one length."""
    text = "\n\n".join(pydoc_data.topics.topics.values())
    rows = [" ".join(part.split()).encode("ascii", "replace") for part in text.split("\n\n")]
    rows = [row[: LENGTH + 1] for row in rows if len(row) > 20]
    padded = np.full((len(rows), LENGTH + 1), PADDING, np.uint8)
    for into, row in zip(padded, rows, strict=True):
        into[: len(row)] = list(row)
    return padded


class Block(NamedTuple):
    """The parameters of one layer."""

    attention_scale: Array
    attention: Array  # queries, keys and values in one
    out: Array
    hidden_scale: Array
    up: Array
    down: Array


class Model(NamedTuple):
    """All parameters."""

    embedding: Array
    positions: Array
    blocks: tuple[Block, ...]
    scale: Array


def initial(key: Array) -> Model:
    """Parameters before training."""

    def matrix(key: Array, rows: int, columns: int) -> Array:
        return jax.random.normal(key, (rows, columns)) / np.sqrt(rows)

    keys = jax.random.split(key, 2 + 4 * LAYERS)
    blocks = []
    for k in keys[2:].reshape(LAYERS, 4):
        blocks.append(
            Block(
                jnp.ones(WIDTH),
                matrix(k[0], WIDTH, 3 * WIDTH),
                matrix(k[1], WIDTH, WIDTH),
                jnp.ones(WIDTH),
                matrix(k[2], WIDTH, 4 * WIDTH),
                matrix(k[3], 4 * WIDTH, WIDTH),
            )
        )
    embedding, positions = (
        0.1 * jax.random.normal(k, (n, WIDTH))
        for k, n in zip(keys[:2], (BYTES, LENGTH), strict=True)
    )
    return Model(embedding, positions, tuple(blocks), jnp.ones(WIDTH))


def attend(x: Array, block: Block, valid: Array) -> Array:
    """Causal attention, of normalized queries and keys."""
    shape = (*x.shape[:-1], 3, HEADS, WIDTH // HEADS)
    queries, keys, values = jnp.moveaxis((x @ block.attention).reshape(shape), -3, 0)
    y = jax.nn.dot_product_attention(
        rms_norm(queries), rms_norm(keys), values, mask=valid[:, None, None, :], is_causal=True
    )
    return y.reshape(x.shape) @ block.out


def logits_of(model: Model, tokens: Array) -> Array:
    """For each position the logits of the next byte."""
    valid = tokens != PADDING
    where = valid[..., None]
    residual = model.embedding[tokens] + model.positions[: tokens.shape[1]]
    y = rms_norm(residual, scale=model.blocks[0].attention_scale, where=where)
    for number, block in enumerate(model.blocks):
        branch = attend(y, block, valid)
        y, residual = add_rms_norm(branch, residual, scale=block.hidden_scale, where=where)
        branch = jax.nn.gelu(y @ block.up) @ block.down
        following = model.blocks[number + 1 : number + 2]
        scale = following[0].attention_scale if following else model.scale
        y, residual = add_rms_norm(branch, residual, scale=scale, where=where)
    return y @ model.embedding.T


def loss_of(model: Model, rows: Array) -> Array:
    """Mean cross entropy of the bytes that are there, in bits."""
    tokens, targets = rows[:, :-1], rows[:, 1:]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits_of(model, tokens), targets)
    return jnp.mean(losses, where=targets != PADDING) / np.log(2)


def continued(model: Model, start: str, length: int) -> str:
    """What the model takes for the most likely text after a start."""
    tokens = jnp.zeros((1, LENGTH), jnp.int32)
    tokens = tokens.at[0, : len(start)].set(jnp.array(list(start.encode())))
    following = jax.jit(lambda tokens, last: logits_of(model, tokens)[0, last, 1:].argmax() + 1)
    for last in range(len(start) - 1, min(len(start) + length, LENGTH) - 1):
        tokens = tokens.at[0, last + 1].set(following(tokens, last))
    return bytes(tokens[0].tolist()).rstrip(b"\0").decode()


def train(steps: int, seed: int) -> tuple[Model, list[float]]:
    """The model and its loss on paragraphs that it has not seen, before and after."""
    rows = np.random.default_rng(seed).permutation(paragraphs()).astype(np.int32)
    unseen, rows = rows[:200], rows[200:]
    model = initial(jax.random.key(seed))
    schedule = optax.cosine_decay_schedule(3e-3, max(steps, 1))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    @jax.jit
    def step(model: Model, memory: Any, batch: Array) -> tuple[Model, Any]:
        updates, memory = optimizer.update(jax.grad(loss_of)(model, batch), memory)
        return optax.apply_updates(model, updates), memory

    evaluate, memory = jax.jit(loss_of), optimizer.init(model)
    losses = [float(evaluate(model, unseen))]
    for number in range(steps):
        batch = np.take(rows, range(32 * number, 32 * (number + 1)), axis=0, mode="wrap")
        model, memory = step(model, memory, batch)
    return model, [*losses, float(evaluate(model, unseen))]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300, help="steps of 32 paragraphs (300)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", default="The statement ", help="what it is to go on from")
    options = parser.parse_args()
    model, (before, after) = train(options.steps, options.seed)
    print(f"bits a byte on unseen paragraphs: {before:.2f} before, {after:.2f} after")
    print(continued(model, options.start, 60))


if __name__ == "__main__":
    main()
