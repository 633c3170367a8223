"""What the arithmetic needs of a model; what nobody told is `None`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Whatever the sum is made of: without one of these there is none.
_NEEDED: Final = (
    ("architecture", "its architecture"),
    ("layers", "its number of layers"),
    ("kv_heads", "the heads of its KV cache"),
    ("key_length", "the length of its keys"),
    ("value_length", "the length of its values"),
    ("embedding_length", "the width of its embeddings"),
    ("heads", "its attention heads"),
    ("feed_forward_length", "the width of its feed-forward layers"),
    ("vocabulary", "the size of its vocabulary"),
    ("train_context", "the context that it was trained with"),
    ("weights", "the bytes of its weights"),
    ("projector", "the bytes of its image projector"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpace:
    """The layers that keep a state of fixed size instead of a KV cache (Mamba).

    The names are those of the keys `<architecture>.ssm.*` in a model's file.
    """

    conv_kernel: int
    inner_size: int
    state_size: int
    group_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What decides how much memory a model needs; `None` is what nobody told.

    Made by `shape_from_show`, `shape_from_gguf` or `shape_from_store`, or by hand.
    """

    name: str
    architecture: str | None = None
    """As its file says: `llama`, `qwen2`, `gemma3`."""
    layers: int | None = None
    kv_heads: tuple[int, ...] | None = None
    """Heads of the KV cache, a number for each layer; 0 in layers without one."""
    key_length: int | None = None
    """Numbers in one head's key."""
    value_length: int | None = None
    window_key_length: int | None = None
    """The same in layers with a window; `None` where it is no other one."""
    window_value_length: int | None = None
    embedding_length: int | None = None
    feed_forward_length: int | None = None
    """Numbers that a token becomes in a feed-forward layer; in a mixture, in all the
    experts that it goes through."""
    heads: int | None = None
    """Attention heads; of the layer with the most, where they differ."""
    vocabulary: int | None = None
    """Tokens in it."""
    train_context: int | None = None
    """The longest context that it was trained with; servers allow no longer one."""
    sliding_window: int | None = None
    """How far back layers look that do not look at all; `None` where all do."""
    window_layers: tuple[bool, ...] | None = None
    """Which layers look no further than the window; `None`: count none as such, which
    is never too little."""
    pinned_context: int | None = None
    """The `num_ctx` that the model's own settings ask for, where nobody else does."""
    experts: int = 0
    """Experts in a layer; 0 where it is no mixture."""
    experts_used: int = 0
    """Experts that a token goes through."""
    expert_bytes: int = 0
    """The part of the weights that belongs to experts; a good guess where the tensors
    are not listed, 0 where nobody can tell."""
    state_space: StateSpace | None = None
    weights: int | None = None
    """Bytes of all tensors, the projector's left out."""
    token_embedding: int = 0
    """Bytes of `token_embd.weight`, which stay in host memory where the output has
    weights of its own."""
    has_output: bool = False
    """Whether `output.weight` exists; else the embeddings serve for it, too."""
    projector: int | None = 0
    """Bytes of the image or audio projector; 0 where there is none, or where they are
    among the weights."""
    has_projector: bool = False
    """Whether it can see or hear by such a projector."""
    parameters: int | None = None
    """How many numbers the weights are."""
    file_size: int | None = None
    quantization: str | None = None
    """As its maker calls it, e.g. `Q4_K_M`."""
    digest: str | None = None
    """What the server or the store knows these very files by."""
    kv_lora_rank: int | None = None
    """Set by models with latent attention (MLA), whose cache is another one."""
    is_embedding: bool = False
    """Whether it makes embeddings: such models are loaded in another way."""
    has_draft: bool = False
    """Whether a draft model is loaded beside it."""
    doubts: tuple[str, ...] = ()
    """What of the source could not be understood, where that may change the sum."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """Why no sum can be made, in words; empty where it can."""
        untold = [words for field, words in _NEEDED if getattr(self, field) is None]
        missing = [f"not known: {', '.join(untold)}"] if untold else []
        missing += self._contradictions()
        if self.kv_lora_rank:
            missing.append("latent attention (MLA) keeps a cache of another form")
        if self.is_embedding:
            missing.append("embedding models are loaded in another way")
        if self.has_draft:
            missing.append("a draft model is loaded beside it")
        return (*missing, *self.doubts)

    def _contradictions(self) -> list[str]:
        lists = (self.kv_heads, self.window_layers)
        if any(each is not None and len(each) != self.layers for each in lists):
            return ["what is said of each layer is not said of all layers"]
        return []

    @property
    def card_weights(self) -> int | None:
        """Bytes of the weights that go to the card when all layers do."""
        if self.weights is None:
            return None
        stays = self.token_embedding if self.has_output else 0
        return max(0, self.weights - stays)

    @property
    def active_share(self) -> float | None:
        """The part of the weights that one token goes through.

        `None` for a mixture of experts of which nobody told what the experts take.
        """
        if not self.weights or not self.experts:
            return 1.0
        if not self.expert_bytes:
            return None
        idle = 1 - min(1.0, self.experts_used / self.experts)
        return 1 - min(1.0, self.expert_bytes / self.weights) * idle
