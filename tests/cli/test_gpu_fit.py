"""`gpu fit`: what is said of models in a server, in a store and in a file."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import typer
from typer.testing import CliRunner
from typing_extensions import override

from model_manager.cli import _gpu_fit
from model_manager.cli._app import CommandLine
from model_manager.cli._options import ConfigPath
from model_manager.cli._session import Notes, Session
from model_manager.errors import DriverNotLoadedError
from model_manager.gpu import GpuProcess, Machine
from model_manager.testing import (
    FakeCuda,
    FakeNvml,
    FakeProcesses,
    FakeSystem,
    rtx_3090,
    rtx_5060_ti,
)

GIB = 1024**3
WIDTH = 4096
FORWARD = 14336
TOKENS = 4000
app = typer.Typer(cls=CommandLine, rich_markup_mode="rich")
group = typer.Typer()


@app.callback()
def _begin(context: typer.Context, *, config: ConfigPath = None) -> None:
    notes = Notes(verbose=False)
    context.call_on_close(notes.close)
    context.obj = Session(config=config, verbose=False, notes=notes)


@group.callback()
def _group() -> None:
    """Keep the command a command of a group."""


group.command("fit", epilog=_gpu_fit.EXAMPLES)(_gpu_fit.fit)
app.add_typer(group, name="gpu")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeNvml:
    """Describe a machine with the two cards, and no configuration around."""
    nvml = FakeNvml(rtx_5060_ti(), rtx_3090())
    described = Machine(
        nvml=nvml,
        cuda=FakeCuda(),
        system=FakeSystem(),
        processes=FakeProcesses(free_memory=64 * GIB),
        environ={},
    )
    monkeypatch.setattr(_gpu_fit, "machine", lambda: described)
    monkeypatch.delenv("MODEL_MANAGER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return nvml


def run(*arguments: str, columns: int = 80) -> Any:
    environ = {"COLUMNS": str(columns), "NO_COLOR": "1"}
    return CliRunner().invoke(app, ["gpu", "fit", *arguments], env=environ)


def tensors(layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "token_embd.weight", (WIDTH, TOKENS)
    yield "output.weight", (WIDTH, TOKENS)
    for layer in range(layers):
        for name in ("attn_q", "attn_output"):
            yield f"blk.{layer}.{name}.weight", (WIDTH, WIDTH)
        for name in ("attn_k", "attn_v"):
            yield f"blk.{layer}.{name}.weight", (WIDTH, 1024)
        for name in ("ffn_gate", "ffn_up", "ffn_down"):
            yield f"blk.{layer}.{name}.weight", (WIDTH, FORWARD)


def written(path: Path, *, layers: int, context: int = 32768) -> Path:
    """Write a model of real size and 8 bits, whose weights are a hole in the file."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FORWARD)
    writer.add_head_count(32)
    writer.add_head_count_kv(8)
    writer.add_vocab_size(TOKENS)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    room = 0
    for name, (row, count) in tensors(layers):
        size = row // 32 * 34
        room += -(-size * count // 32) * 32
        writer.add_tensor_info(
            name,
            [count, size],
            np.dtype(np.uint8),
            size * count,
            raw_dtype=gguf.GGMLQuantizationType.Q8_0,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 32 + room)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a file of 32 layers, which fits."""
    return written(tmp_path / "small.gguf", layers=32)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Return a file of 110 layers, which fits at no context."""
    return written(tmp_path / "large.gguf", layers=110)


@pytest.fixture
def store(tmp_path: Path, small: Path, large: Path) -> Path:
    """Return a store with both, and one that is damaged."""
    folder = tmp_path / "models"
    (folder / "blobs").mkdir(parents=True)
    library = folder / "manifests" / "registry.ollama.ai" / "library"
    for path in (small, large):
        digest = hashlib.sha256(path.name.encode()).hexdigest()
        (folder / "blobs" / f"sha256-{digest}").hardlink_to(path)
        layer = {
            "mediaType": "application/vnd.ollama.image.model",
            "digest": f"sha256:{digest}",
            "size": path.stat().st_size,
        }
        place = library / path.stem / "latest"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps({"layers": [layer]}), encoding="utf-8")
    (library / "broken").mkdir()
    (library / "broken" / "latest").write_text("{", encoding="utf-8")
    return folder


class _Ollama(BaseHTTPRequestHandler):
    """Answers as a server does that has one model, and another elsewhere."""

    asked: list[str]
    loaded: list[dict[str, object]]
    changes: dict[str, object]
    """Keys of the model that it tells otherwise."""

    def do_GET(self) -> None:
        self.asked.append(self.path)
        here = {"name": "llama3:8b", "size": 9 * GIB, "digest": "d1"}
        far = {"name": "gpt-oss:120b-cloud", "remote_host": "https://ollama.com:443"}
        listed = [here, far] if self.path == "/api/tags" else self.loaded
        self._answer(200, {"models": listed})

    def do_POST(self) -> None:
        self.asked.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["model"] != "llama3:8b":
            self._answer(404, {"error": f"model '{body['model']}' not found"})
            return
        info = {
            "block_count": 32,
            "context_length": 8192,
            "embedding_length": WIDTH,
            "feed_forward_length": FORWARD,
            "attention.head_count": 32,
            "attention.head_count_kv": 8,
            "vocab_size": 128256,
        }
        named = {f"llama.{key}": value for key, value in (info | self.changes).items()}
        self._answer(200, {"model_info": {"general.architecture": "llama", **named}})

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    @override
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Ollama:
    """A server on loopback, what it was asked, and what it has loaded."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.loaded: list[dict[str, object]] = []
        self.changes: dict[str, object] = {}
        facts = {
            "asked": self.asked,
            "loaded": self.loaded,
            "changes": self.changes,
        }
        handler = type("Handler", (_Ollama,), facts)
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def ollama() -> Iterator[Ollama]:
    server = Ollama()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def test_a_file_that_fits_is_told_with_every_figure(small: Path) -> None:
    result = run("--gguf", str(small), "--num-ctx", "8192")

    assert result.exit_code == 0
    assert "A card of 24.0 GiB, with nothing else on it" in result.stdout
    assert "small.gguf: fits" in result.stdout
    assert "KV cache 1.0 GiB (8192 tokens, f16)" in result.stdout
    assert "tokens/s" in result.stdout


def test_a_file_that_does_not_fit_ends_with_code_3_and_what_would(large: Path) -> None:
    result = run("--gguf", str(large), "--num-ctx", "4096")

    assert result.exit_code == 3
    assert "only in part on the card" in result.stdout
    assert "take a smaller quantization: q6_K" in result.stdout


@pytest.mark.parametrize("columns", [80, 120])
def test_all_models_of_a_store_are_listed_and_none_stops_the_list(
    store: Path, columns: int
) -> None:
    result = run("--ollama-models", str(store), "--num-ctx", "4096", columns=columns)

    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert any(line.startswith("small:latest") and "fits" in line for line in lines)
    assert any(line.startswith("large:latest") and "part" in line for line in lines)
    assert any("broken:latest: the manifest" in line for line in lines)
    assert max(map(len, lines)) <= columns


def test_on_a_narrow_screen_each_model_is_a_card(store: Path) -> None:
    result = run("--ollama-models", str(store), columns=40)

    assert max(map(len, result.stdout.splitlines())) <= 40
    assert "small:latest" in result.stdout


def test_a_model_of_a_store_can_be_asked_about_alone(store: Path) -> None:
    result = run("SMALL", "--ollama-models", str(store))

    assert result.exit_code == 0
    assert "SMALL: fits" in result.stdout


def test_programs_get_json(small: Path) -> None:
    result = run("--gguf", str(small), "--json", "--parallel", "2")

    found = json.loads(result.stdout)
    assert found["card"]["total"] == 24 * GIB
    assert found["models"][0]["state"] == "fits"
    assert found["models"][0]["parallel"] == 2


def test_a_running_server_is_asked_and_models_elsewhere_are_left_out(
    ollama: Ollama,
) -> None:
    result = run("--server", ollama.url)

    assert result.exit_code == 0
    assert "llama3:8b" in result.stdout
    assert "cloud" not in result.stdout
    assert set(ollama.asked) == {"/api/tags", "/api/show", "/api/ps"}


def test_what_a_loaded_model_really_takes_goes_before_the_sum(ollama: Ollama) -> None:
    ollama.loaded.append(
        {
            "name": "llama3:8b",
            "digest": "d1",
            "size": 12 * GIB,
            "size_vram": 12 * GIB,
            "context_length": 8192,
        }
    )

    for cache in ("f16", "F16"):
        result = run("llama3:8b", "--server", ollama.url, "--kv-cache-type", cache)

        assert "needs   12.0 GiB, as measured (8192 tokens, f16)" in result.stdout


def test_a_model_that_is_not_installed_is_refused_and_not_pulled(
    ollama: Ollama,
) -> None:
    result = run("llama9", "--server", ollama.url)

    assert result.exit_code == 6
    assert "model 'llama9' not found" in result.stderr
    assert "/api/pull" not in ollama.asked


def test_the_card_as_it_is_now_has_room_where_the_servers_models_go(
    machine: FakeNvml, ollama: Ollama
) -> None:
    server = GpuProcess(pid=7, kind="compute", name="ollama", memory=19 * GIB)
    full_card = rtx_3090(memory_used=20 * GIB, processes=(server,))
    machine.cards = (replace(full_card, memory_free=4 * GIB),)
    full = run("llama3:8b", "--server", ollama.url, "--now")
    ollama.loaded.append({"name": "other", "size_vram": 15 * GIB})
    leaving = run("llama3:8b", "--server", ollama.url, "--now")

    assert full.exit_code == 3
    assert "as it is now" in full.stdout
    assert leaving.exit_code == 0
    assert "unloads 15.0 GiB of other models" in " ".join(leaving.stdout.split())


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.1.5:11434",
        "https://ollama.com",
        "http://example.com",
        "x://",
        "[",
    ],
)
def test_only_a_server_on_this_machine_is_asked(url: str) -> None:
    result = run("llama3", "--server", url)

    assert result.exit_code == 6
    assert "no address of a server on this machine" in result.stderr


def test_a_server_that_is_not_there_is_told_with_what_to_do() -> None:
    result = run("--server", "http://127.0.0.1:9")

    assert result.exit_code == 6
    assert "does not answer" in result.stderr
    assert "--ollama-models" in result.stderr


def test_without_a_driver_the_cards_memory_can_be_said(
    machine: FakeNvml, small: Path
) -> None:
    machine.error = DriverNotLoadedError("no driver.", remedy="load it.")

    refused = run("--gguf", str(small))
    said = run("--gguf", str(small), "--memory", "24")

    assert refused.exit_code != 0
    assert "--memory 24" in refused.stderr
    assert said.exit_code == 0


def test_a_card_that_the_policy_does_not_allow_is_not_reckoned_with(
    machine: FakeNvml, small: Path
) -> None:
    machine.cards = (rtx_5060_ti(),)

    result = run("--gguf", str(small))

    assert result.exit_code != 0
    assert "allows 0 of the cards: NVIDIA GeForce RTX 5060 Ti" in result.stderr


def test_what_the_configuration_says_of_the_card_is_respected(
    tmp_path: Path, small: Path
) -> None:
    path = tmp_path / "models.json"
    settings = {
        "version": "1.1.0",
        "agent_models": {"a": {"primary": "ollama/llama3:8b"}},
        "model_providers": {"ollama": {"models": {"llama3:8b": {}}}},
        "gpu_settings": {"context_length": 4096, "kv_cache_type": "q8_0"},
        "performance_thresholds": {"max_vram_usage_percent": 30},
    }
    path.write_text(json.dumps(settings), encoding="utf-8")

    result = run("--gguf", str(small), "--config", str(path), "--memory", "24")

    assert result.exit_code == 3
    assert "at most 30 % of it used" in result.stdout
    assert "(4096 tokens, q8_0)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--kv-cache-type", "q9"), "f16, bf16, f32"),
        (("extra",), "names of models, and not both"),
        (("--ollama-models", "x"), "names of models, and not both"),
        (("--now",), "Leave --now out"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    small: Path, arguments: tuple[str, ...], words: str
) -> None:
    result = run("--gguf", str(small), *arguments)

    assert result.exit_code == 6
    assert words in result.stderr


@pytest.mark.parametrize("content", [None, b"", b"GGUF"])
def test_a_file_that_cannot_be_read_is_a_failure(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)

    result = run("--gguf", str(path))

    assert result.exit_code == 6
    assert "Try: " in result.stderr


def test_of_a_model_that_was_named_one_must_be_sure(ollama: Ollama) -> None:
    ollama.changes["context_length"] = 0

    named = run("llama3:8b", "--server", ollama.url)

    assert run("--server", ollama.url).exit_code == 0
    assert named.exit_code == 3
    assert "not known: the context that it was trained with" in " ".join(
        named.stdout.split()
    )


def test_an_empty_store_says_so(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()

    result = run("--ollama-models", str(tmp_path))

    assert result.exit_code == 0
    assert "No models are installed." in result.stdout
