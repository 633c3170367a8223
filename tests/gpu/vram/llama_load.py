"""Load a model with llama.cpp, which writes to stderr how many bytes it takes.

Run by an interpreter that has `xllamacpp`, with one argument, JSON: `path`, `num_ctx`,
`parallel`, `cache`, `batch` and `flash_attention`.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def main(asked: dict[str, Any]) -> None:
    """Load the model in the way that was asked for."""
    llama = importlib.import_module("xllamacpp")
    settings = llama.CommonParams()
    settings.model.path = asked["path"]
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.offline = True
    settings.ui = False
    settings.warmup = False
    settings.verbosity = 4
    # Take what is asked for, and count each tensor once, in its own form.
    settings.fit_params = False
    settings.no_extra_bufts = True
    settings.cpuparams.n_threads = 1
    settings.n_parallel = asked["parallel"]
    settings.n_ctx = asked["num_ctx"] * asked["parallel"]
    settings.n_batch = settings.n_ubatch = asked["batch"]
    cache = getattr(llama.ggml_type, f"GGML_TYPE_{asked['cache'].upper()}")
    settings.cache_type_k = settings.cache_type_v = cache
    attention = "ENABLED" if asked["flash_attention"] else "DISABLED"
    settings.flash_attn_type = getattr(
        llama.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{attention}"
    )
    llama.Server(settings)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
