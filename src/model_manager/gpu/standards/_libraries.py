"""Which libraries load CUDA, and which of their names are no use of a card."""

from __future__ import annotations

from typing import Final

CUDA_LIBRARIES: Final = (
    # PyTorch and what imports it.
    *("torch", "torchvision", "torchaudio", "torchtext", "torchmetrics"),
    *("pytorch_lightning", "lightning", "fastai", "timm", "ultralytics", "easyocr"),
    *("transformers", "sentence_transformers", "diffusers", "accelerate", "peft"),
    *("trl", "optimum", "bitsandbytes", "auto_gptq", "awq", "exllamav2", "unsloth"),
    *("vllm", "sglang", "deepspeed", "xformers", "flash_attn", "triton"),
    *("open_clip", "torch_geometric", "whisper", "whisperx", "stable_baselines3"),
    # spaCy and Thinc import PyTorch and CuPy at once where they are installed.
    *("spacy", "thinc"),
    # TensorFlow and JAX.
    *("tensorflow", "tf_keras", "keras", "tensorflow_hub"),
    *("jax", "jaxlib", "flax"),
    # CUDA itself, and arrays on it.
    *("cupy", "cudf", "cuml", "cugraph", "cuspatial", "dask_cudf", "rmm"),
    *("numba.cuda", "pycuda", "cuda", "tensorrt", "tensorrt_llm", "paddle", "mxnet"),
    # Engines of their own that load CUDA.
    *("onnxruntime", "llama_cpp", "ctranslate2", "faster_whisper"),
)
"""What loads CUDA, or a library that does, when it is imported.

Left out are libraries that work on the processor unless a call says otherwise and load
no CUDA before it (xgboost, lightgbm, catboost, numba without `numba.cuda`), and those
that only read the cards (pynvml).
"""

CALL_IS_USE: Final = frozenset(
    {
        *("tensorflow", "tf_keras", "keras", "tensorflow_hub", "jax", "flax"),
        *("cupy", "cudf", "cuml", "cugraph", "cuspatial", "dask_cudf", "rmm"),
        *("numba.cuda", "pycuda", "cuda", "tensorrt", "tensorrt_llm"),
        *("transformers", "sentence_transformers", "diffusers", "accelerate", "peft"),
        *("trl", "optimum", "auto_gptq", "awq", "exllamav2", "unsloth"),
        *("vllm", "sglang", "deepspeed", "bitsandbytes", "flash_attn"),
        *("pytorch_lightning", "lightning", "fastai", "ultralytics", "easyocr"),
        *("whisper", "whisperx", "stable_baselines3"),
        *("llama_cpp", "ctranslate2", "faster_whisper"),
    }
)
"""Libraries that take the card by themselves: any call of theirs may use it."""

NO_USE: Final = frozenset(
    {
        # Questions.
        *("is_available", "is_gpu_available", "device_count", "get_device_name"),
        *("get_device_properties", "get_device_capability", "current_device"),
        *("current_accelerator", "current_device_index"),
        *("is_initialized", "is_bf16_supported", "get_arch_list", "mem_get_info"),
        *("memory_allocated", "memory_reserved", "max_memory_allocated"),
        *("list_physical_devices", "list_logical_devices", "set_memory_growth"),
        *("set_visible_devices", "detect", "get_available_providers", "get_device"),
        *("is_built_with_cuda", "get_build_info", "devices", "local_devices"),
        # Seeds and settings, which wait until the card is used.
        *("manual_seed", "manual_seed_all", "set_seed", "set_random_seed"),
        *("set_verbosity", "set_verbosity_error", "set_verbosity_warning", "update"),
        *("get_logger", "set_level", "enable_x64", "seed_everything"),
        # What makes a function, and does not run it.
        *("jit", "vmap", "grad", "pmap", "function", "autotune", "Config"),
    }
)
"""Last names of calls that ask or prepare, and leave the card alone."""

NO_USE_WORDS: Final = (
    *("Tokenizer", "Processor", "Config", "FeatureExtractor", "SamplingParams"),
    *("logging", "Arguments", "Callback", "datasets", "Collator"),
)
"""Words in the path of a call of these libraries that leaves the card alone."""

FIRST_ARGUMENT_IS_DEVICE: Final = frozenset(
    {
        *(
            f"torch.cuda.{name}"
            for name in (
                *("set_device", "device", "get_device_name", "get_device_properties"),
                *("get_device_capability", "mem_get_info", "memory_allocated"),
                *("memory_reserved", "max_memory_allocated", "max_memory_reserved"),
                *("synchronize", "current_stream", "default_stream", "memory_stats"),
                *("reset_peak_memory_stats", "memory_summary", "utilization"),
                *("temperature", "power_draw", "clock_rate"),
            )
        ),
        "torch.device",
        "torch.accelerator.set_device_index",
        "torch.accelerator.set_device_idx",
        "cupy.cuda.Device",
        "numba.cuda.select_device",
        "pycuda.driver.Device",
        "cuda.cudart.cudaSetDevice",
        "cuda.bindings.runtime.cudaSetDevice",
    }
)
"""Calls whose first argument is the number of a card."""

DEVICE_LISTS: Final = frozenset(
    {
        "jax.devices()",
        "jax.local_devices()",
        "tensorflow.config.list_physical_devices()",
        "tensorflow.config.list_logical_devices()",
        "tensorflow.config.experimental.list_physical_devices()",
        "tensorflow.config.get_visible_devices()",
    }
)
"""Calls that return the cards in a list."""

PREFILTER: Final = tuple(
    word.encode()
    for word in (
        *("torch", "lightning", "fastai", "timm", "ultralytics", "easyocr"),
        *("transformers", "diffusers", "accelerate", "peft", "trl", "optimum"),
        *("bitsandbytes", "auto_gptq", "awq", "exllamav2", "unsloth", "vllm"),
        *("sglang", "deepspeed", "xformers", "flash_attn", "triton", "open_clip"),
        *("whisper", "stable_baselines3", "spacy", "thinc", "tensorflow", "keras"),
        *("jax", "flax", "cupy", "cudf", "cuml", "cugraph", "cuspatial", "rmm"),
        *("cuda", "tensorrt", "paddle", "mxnet", "onnxruntime", "llama_cpp"),
        *("ctranslate2", "CUDA_", "PYTORCH_", "OLLAMA_", "ollama", "main_gpu"),
        *("gpu_id", "GPU:", "gpu-standards", "--gpus"),
    )
)
"""A file with none of these words cannot break a rule."""


def library_of(module: str) -> str | None:
    """Return which CUDA library the import of a module loads, if any."""
    for library in _places(module):
        if library in _LIBRARIES:
            return library
    return None


def takes_the_card(path: str) -> bool:
    """Return whether a call of this dotted name may use the card by itself."""
    if any(word in path for word in NO_USE_WORDS):
        return False
    if path.rpartition(".")[2] in NO_USE:
        return False
    return any(place in CALL_IS_USE for place in _places(path))


def _places(path: str) -> list[str]:
    """Return the first names of a dotted path: `numba`, `numba.cuda`."""
    first, _, rest = path.replace("()", "").partition(".")
    second = rest.partition(".")[0]
    return [first, f"{first}.{second}"]


_LIBRARIES: Final = frozenset(CUDA_LIBRARIES)
