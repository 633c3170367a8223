"""Models in Ollama's store on disk, without a server."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from model_manager.errors import InvalidRequestError
from model_manager.gpu.vram import models_in_store, shape_from_store

KIND = "application/vnd.ollama.image."
LIBRARY = "registry.ollama.ai/library"


class Store:
    """A store as Ollama lays it out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = folder / "weights.gguf"
        writer = gguf.GGUFWriter(self.weights, "llama")
        writer.add_block_count(2)
        writer.add_context_length(4096)
        writer.add_embedding_length(64)
        writer.add_feed_forward_length(128)
        writer.add_head_count(4)
        writer.add_head_count_kv(2)
        writer.add_tensor("token_embd.weight", np.ones((96, 64), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        (folder / "manifests").mkdir()

    def blob(self, kind: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        path = self.folder / "blobs" / f"sha256-{digest}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return {
            "mediaType": KIND + kind,
            "digest": f"sha256:{digest}",
            "size": len(content),
        }

    def install(self, place: str, *more: dict[str, Any]) -> Path:
        model = self.blob("model", self.weights.read_bytes())
        return self.write(place, {"schemaVersion": 2, "layers": [model, *more]})

    def write(self, place: str, manifest: object) -> Path:
        path = self.folder / "manifests" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest), encoding="utf-8")
        return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (f"{LIBRARY}/llama3/latest", "llama3"),
        (f"{LIBRARY}/llama3/8b-instruct-q6_k", "llama3:8b-instruct-q6_k"),
        (f"{LIBRARY}/llama3/8b-instruct-q6_K", "LLAMA3:8B-instruct-q6_k"),
        ("registry.ollama.ai/me/mine/latest", "me/mine"),
        ("hf.co/someone/A-GGUF/Q4_K_M", "hf.co/someone/A-GGUF:Q4_K_M"),
        ("hf.co/someone/A-GGUF/Q4_K_M", "https://hf.co/someone/A-GGUF:Q4_K_M"),
    ],
)
def test_a_model_is_found_by_the_name_that_the_server_takes(
    store: Store, place: str, name: str
) -> None:
    manifest = store.install(place)

    shape = shape_from_store(store.folder, name)

    assert shape.name == name
    assert shape.unknown == ()
    assert shape.weights == 96 * 64 * 4
    # What /api/tags calls its digest.
    assert shape.digest == hashlib.sha256(manifest.read_bytes()).hexdigest()


def test_all_models_are_listed_by_the_names_that_the_server_writes(
    store: Store,
) -> None:
    for place in ("llama3/latest", "llama3/8b"):
        store.install(f"{LIBRARY}/{place}")
    store.install("registry.ollama.ai/me/mine/latest")
    store.install("hf.co/someone/A-GGUF/Q4_K_M")
    (store.folder / "manifests" / "stray").write_text("x", encoding="utf-8")
    store.write(f"{LIBRARY}/.hidden/latest", {})

    assert models_in_store(store.folder) == (
        "hf.co/someone/A-GGUF:Q4_K_M",
        "llama3:8b",
        "llama3:latest",
        "me/mine:latest",
    )


def test_what_lies_beside_the_weights_is_counted(store: Store) -> None:
    store.install(
        f"{LIBRARY}/sees/latest",
        store.blob("projector", b"p" * 1000),
        store.blob("adapter", b"a" * 500),
        store.blob("params", b'{"num_ctx": 2048, "stop": ["x"]}'),
    )

    shape = shape_from_store(store.folder, "sees")

    assert shape.projector == 1000
    assert shape.has_projector
    assert shape.weights == 96 * 64 * 4 + 500
    assert shape.pinned_context == 2048


def test_a_draft_model_beside_it_makes_the_sum_unknown(store: Store) -> None:
    store.install(f"{LIBRARY}/fast/latest", store.blob("draft", b"d"))

    assert any(
        "draft model" in reason
        for reason in shape_from_store(store.folder, "fast").unknown
    )


@pytest.mark.parametrize("content", [b"[]", b"\xff", b'{"num_ctx": "many"}', b"{"])
def test_settings_that_cannot_be_read_pin_nothing(store: Store, content: bytes) -> None:
    store.install(f"{LIBRARY}/m/latest", store.blob("params", content))

    assert shape_from_store(store.folder, "m").pinned_context is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../../etc/passwd",
        "a/../b:c",
        "a:../../x",
        "/etc/passwd",
        "a/b/c/d/e",
        "a\0b",
        "..",
        ".hidden",
        "host/../m:t",
        "m:" + "t" * 200,
        "a b",
        "a\\..\\b",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(store: Store, name: str) -> None:
    secret = store.folder / "secret"
    secret.write_text("{}", encoding="utf-8")

    with pytest.raises(InvalidRequestError, match="no name of a model"):
        shape_from_store(store.folder, name)


def test_a_model_that_is_not_there_is_refused_with_those_that_are(
    store: Store,
) -> None:
    store.install(f"{LIBRARY}/llama3/8b")

    with pytest.raises(InvalidRequestError, match="no model 'llama4'") as refused:
        shape_from_store(store.folder, "llama4")

    assert "llama3:8b" in refused.value.remedy


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="is no folder of Ollama's models"):
        models_in_store(tmp_path)
    with pytest.raises(InvalidRequestError, match="is no folder of Ollama's models"):
        shape_from_store(tmp_path / "missing", "llama3")


@pytest.mark.parametrize(
    "manifest",
    [
        [],
        "text",
        {},
        {"layers": {}},
        {"layers": [7]},
        {"layers": [{"mediaType": KIND + "model", "digest": "sha256:../x", "size": 1}]},
        {"layers": [{"mediaType": KIND + "model", "digest": "sha256:" + "0" * 64}]},
        {"layers": [{"mediaType": 1, "digest": "sha256:" + "0" * 64, "size": 1}]},
    ],
)
def test_a_damaged_manifest_is_refused(store: Store, manifest: object) -> None:
    store.write(f"{LIBRARY}/m/latest", manifest)

    with pytest.raises(InvalidRequestError, match="manifest of 'm' is damaged"):
        shape_from_store(store.folder, "m")


def test_a_manifest_that_is_no_text_or_far_too_long_is_refused(store: Store) -> None:
    path = store.write(f"{LIBRARY}/m/latest", {})
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequestError, match="damaged"):
        shape_from_store(store.folder, "m")
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(InvalidRequestError, match="damaged"):
        shape_from_store(store.folder, "m")
    path.write_bytes(b" " * (2 * 1024**2))
    with pytest.raises(InvalidRequestError, match="too large"):
        shape_from_store(store.folder, "m")


def test_weights_that_are_missing_or_cut_off_are_noticed(store: Store) -> None:
    store.install(f"{LIBRARY}/m/latest")
    (blob,) = (store.folder / "blobs").iterdir()
    content = blob.read_bytes()

    blob.write_bytes(content[:-100])
    with pytest.raises(InvalidRequestError, match="before its weights do"):
        shape_from_store(store.folder, "m")
    blob.unlink()
    with pytest.raises(InvalidRequestError, match="is not there"):
        shape_from_store(store.folder, "m")


def test_a_model_on_another_machine_has_no_weights_here(store: Store) -> None:
    store.write(f"{LIBRARY}/far/latest", {"layers": [store.blob("system", b"be good")]})

    with pytest.raises(InvalidRequestError, match="has no weights"):
        shape_from_store(store.folder, "far")
