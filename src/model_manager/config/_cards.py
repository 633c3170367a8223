"""The section about graphics cards: which may work, and what local servers run with."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StringConstraints

from model_manager.config._settings import Count, Name, Section

CudaVersion = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}\.[0-9]{1,2}$")]
Dotted = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,4}(\.[0-9]{1,4}){0,2}$")]
DottedOrNone = Annotated[
    str, StringConstraints(pattern=r"^([0-9]{1,4}(\.[0-9]{1,4}){0,2})?$")
]
PciDevice = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-fA-F]{4}$")]
Setting = Annotated[
    str, StringConstraints(pattern=r"^([a-z_]{1,50}:[a-z0-9_.]{1,50})?$")
]
VisibleCard = Annotated[
    str, StringConstraints(pattern=r"^([0-9]{1,4}|GPU-[0-9a-fA-F-]{36})$")
]
KvCacheType: TypeAlias = Literal[
    "f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"
]


class CardSettings(Section):
    """One model of card that may work, by all that tells it from its relatives."""

    pci_device_ids: tuple[PciDevice, ...] = Field(
        min_length=1,
        description=(
            'The maker\'s numbers of it, such as `["0x2204"]`: `model-manager gpu'
            " status --json` shows them."
        ),
    )
    compute_capability: CudaVersion = Field(
        description='Such as `"8.6"`; a card of any other is refused.'
    )
    min_memory_gib: float = Field(
        gt=0, le=10_000, description="The memory that it has at least, in GiB."
    )


class GpuSettings(Section):
    """Which graphics card may work, and how local models use it."""

    require_gpu: Literal[True, False, "local"] = Field(
        default=False,
        description=(
            "Whether the guard must find the card in order. `local`: else local models"
            " are refused, with the verdict. `true`: else nobody answers at all."
            " `false`: the guard is not asked."
        ),
    )
    cuda_visible_devices: VisibleCard | None = Field(
        default=None,
        description=(
            "The card that may be used: its place on the PCI bus from 0, as text, or"
            ' its UUID, which never changes. Default: `"1"`.'
        ),
    )
    cards: dict[Name, CardSettings] = Field(
        default_factory=dict,
        description=(
            "The models of card that may work, by the whole name that the driver gives"
            " them. Default: the NVIDIA GeForce RTX 3090 alone."
        ),
    )
    device_order: Literal["PCI_BUS_ID", ""] = Field(
        default="PCI_BUS_ID",
        description="What `CUDA_DEVICE_ORDER` must be; empty: nothing is asked.",
    )
    allocator: Setting = Field(
        default="max_split_size_mb:1024",
        description="A setting that PyTorch's allocator must have; empty: none.",
    )
    min_driver: Dotted = Field(
        default="550", description="The oldest NVIDIA driver that will do."
    )
    min_cuda: CudaVersion = Field(
        default="12.1",
        description="The oldest CUDA that the driver must be able to run.",
    )
    min_torch: DottedOrNone = Field(
        default="2.1.0",
        description="The oldest PyTorch, where one is installed; empty: any.",
    )
    allow_offload: bool = Field(
        default=False,
        description=(
            "Whether a local model may run that does not wholly fit the card: the rest"
            " then runs on the processor, many times slower."
        ),
    )
    kv_cache_type: KvCacheType | None = Field(
        default=None,
        description=(
            "What the local server keeps its cache in (its `OLLAMA_KV_CACHE_TYPE`),"
            " where that cannot be read. Default: `f16`."
        ),
    )
    num_parallel: Count | None = Field(
        default=None,
        description=(
            "Calls that the local server runs at once (its `OLLAMA_NUM_PARALLEL`),"
            " where that cannot be read. Default: 1."
        ),
    )
    context_length: Count | None = Field(
        default=None,
        description=(
            "Tokens of context that the local server gives a model that has no"
            " `num_ctx` (its `OLLAMA_CONTEXT_LENGTH`), where that cannot be read."
            " Default: Ollama's own, by the card's memory."
        ),
    )
    gpu_layers: int | None = Field(
        default=None,
        ge=-1,
        description=(
            "Layers on the card. `-1`, all of them, is what is asked of every local"
            " model unless `allow_offload` is set. Other numbers have no effect: give"
            ' the model `"options": {"num_gpu": 20}`.'
        ),
    )
    num_gpu: int | None = Field(
        default=None,
        ge=0,
        description="How many cards. Always one, whatever is written here.",
    )
    gpu_memory_fraction: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description=(
            "The share of the card's memory that may be filled, up to 1; the lower of"
            " it and `performance_thresholds.max_vram_usage_percent` counts."
        ),
    )
