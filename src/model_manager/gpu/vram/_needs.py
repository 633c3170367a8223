"""How many bytes of a card a model takes: the arithmetic, and nothing else.

What llama.cpp allocates on the card, with all layers on it (names as in the keys of a
model's file):

```
weights   all tensors; token_embd stays on the host where output.weight exists
KV cache  cells x (row of keys + row of values), over all layers
          cells = slots x the context, to a multiple of 256; in layers with a window
          slots x (window + batch), to a multiple of 256, if that is less; where the
          file has own lengths of keys and values for these layers, those count
          none in layers that use the cache of others (shared_kv_layers)
          a layer without KV heads keeps, for each slot, 4 bytes x
          ((conv_kernel - 1) x (inner_size + 2 x group_count x state_size)
           + state_size x inner_size)
compute   4 bytes x batch x the largest of
            vocabulary + 4 x embedding_length
            3 x feed_forward_length + 5 x embedding_length
            6 x (inner_size + 2 x group_count x state_size) + 5 x embedding_length
            without flash attention: 1 + 4 x embedding_length + context x (1 + heads)
          and the mask, batch x context x 2 bytes; 4 without flash attention
projector its bytes, and 1 GiB for what it computes
```

Sources: ggml-org/llama.cpp `src/llama-kv-cache.cpp`, `llama-kv-cache-iswa.cpp`,
`llama-memory-recurrent.cpp` and `llama-hparams.cpp`; ollama/ollama
`llm/llama_server.go` (projector), `server/sched.go` (batch) and, for the graph,
`fs/ggml/ggml.go` of v0.24.0. The lines of the graph with `feed_forward_length` and
`inner_size`, and the mask, are what llama.cpp was seen to allocate; newer versions do
without the vocabulary's line, so that the graph is rather too large than too small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from model_manager.gpu.vram._card import GIB
from model_manager.gpu.vram._ggml import row_bytes
from model_manager.gpu.vram._shape import ModelShape, StateSpace

STEP: Final = 256
"""Contexts are allocated in steps of so many cells."""
PROJECTOR_ROOM: Final = 1 * GIB
VISION_CONTEXT: Final = 2048
"""The least context that Ollama gives models with a projector."""
# ollama/ollama, server/sched.go: the batch that is chosen by the tokens of all slots.
_BATCHES: Final = ((32768, 2048), (4096, 1024))
_BATCH: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How a model is loaded."""

    num_ctx: int
    """Tokens of a slot."""
    parallel: int = 1
    kv_cache_type: str = "f16"
    flash_attention: bool = True
    batch: int | None = None
    """Tokens that are computed at once; `None` for the server's own choice."""

    @property
    def tokens(self) -> int:
        """Tokens computed at once.

        The server takes fewer where memory is scarce: this is never too little.
        """
        if self.batch is not None:
            return self.batch
        if self.flash_attention:
            context = self.num_ctx * self.parallel
            for above, batch in _BATCHES:
                if context > above:
                    return batch
        return _BATCH


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The bytes of each part; `total` is their sum."""

    weights: int
    kv_cache: int
    graph: int
    projector: int

    @property
    def total(self) -> int:
        """All bytes on the card."""
        return self.weights + self.kv_cache + self.graph + self.projector


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A shape of which everything is known that the sum needs."""

    shape: ModelShape
    weights: int
    projector: int
    kv_heads: tuple[int, ...]
    row: tuple[int, int]
    """Numbers of one head's key and of its value."""
    window_row: tuple[int, int]
    """The same in layers with a window."""
    width: int
    feed_forward: int
    heads: int
    vocabulary: int
    train_context: int


def known(shape: ModelShape) -> Known | None:
    """Return the shape with all that is needed; `None` where something is missing."""
    parts = (
        shape.card_weights,
        shape.projector,
        shape.key_length,
        shape.value_length,
        shape.embedding_length,
        shape.feed_forward_length,
        shape.heads,
        shape.vocabulary,
        shape.train_context,
    )
    numbers = [part for part in parts if part is not None]
    if shape.unknown or shape.kv_heads is None or len(numbers) != len(parts):
        return None
    weights, projector, keys, values, width, forward, *others = numbers
    heads, vocabulary, context = others
    return Known(
        shape=shape,
        weights=weights,
        projector=projector,
        kv_heads=shape.kv_heads,
        row=(keys, values),
        window_row=(
            shape.window_key_length or keys,
            shape.window_value_length or values,
        ),
        width=width,
        feed_forward=forward,
        heads=heads,
        vocabulary=vocabulary,
        train_context=context,
    )


def context_of(model: Known, asked: int) -> int:
    """Return the context that a server gives when so much is asked for."""
    least = VISION_CONTEXT if _sees(model) else 1
    return max(1, min(max(asked, least), model.train_context))


def needs(model: Known, load: Load) -> Needs:
    """Return the bytes that a model takes of a card when it is loaded so."""
    return Needs(
        weights=model.weights,
        kv_cache=_kv_cache(model, load),
        graph=_graph(model, load),
        projector=model.projector + (PROJECTOR_ROOM if _sees(model) else 0),
    )


def _sees(model: Known) -> bool:
    return model.shape.has_projector or model.projector > 0


def _padded(tokens: int) -> int:
    return -(-tokens // STEP) * STEP


def _kv_cache(model: Known, load: Load) -> int:
    shape = model.shape
    cells = _padded(load.num_ctx)
    windowed = cells
    if shape.sliding_window:
        windowed = min(cells, _padded(shape.sliding_window + load.tokens))
    windows = shape.window_layers or (False,) * len(model.kv_heads)
    total = 0
    for heads, has_window in zip(model.kv_heads, windows, strict=True):
        lengths = model.window_row if has_window else model.row
        row = sum(row_bytes(load.kv_cache_type, heads * each) for each in lengths)
        total += (windowed if has_window else cells) * row
    return load.parallel * (total + _states(model))


def _states(model: Known) -> int:
    """Return the bytes of a slot's states, in the layers that keep one."""
    space = model.shape.state_space
    if space is None:
        return 0
    numbers = (space.conv_kernel - 1) * _convolved(space)
    numbers += space.state_size * space.inner_size
    # Where no layer is without KV heads, which layers keep a state is not told: all.
    layers = model.kv_heads.count(0) or len(model.kv_heads)
    return 4 * numbers * layers


def _convolved(space: StateSpace | None) -> int:
    if space is None:
        return 0
    return space.inner_size + 2 * space.group_count * space.state_size


def _graph(model: Known, load: Load) -> int:
    context = _padded(load.num_ctx)
    widths = [
        model.vocabulary + 4 * model.width,
        3 * model.feed_forward + 5 * model.width,
        6 * _convolved(model.shape.state_space) + 5 * model.width,
    ]
    mask = 2
    if not load.flash_attention:
        widths.append(1 + 4 * model.width + context * (1 + model.heads))
        mask = 4
    return load.tokens * (4 * max(widths) + mask * context)
