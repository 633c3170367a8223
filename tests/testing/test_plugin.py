"""The plugin forbids the network where it is asked to, and nothing else."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from model_manager import ModelManager
from model_manager.testing import AnthropicServer, OllamaServer, OpenAIServer
from model_manager.testing._network import NetworkGuard, RealNetworkError, is_loopback

FAR = "192.0.2.1"  # reserved for documentation: nobody has it

TESTS = f"""
import socket
import pytest

def reach():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(({FAR!r}, 9))  # of a datagram socket: sends nothing

def test_plain():
    reach()

@pytest.mark.real_network
def test_marked():
    reach()
"""


def run_pytest(folder: Path, *options: str, ini: str = "") -> str:
    (folder / "pytest.ini").write_text(f"[pytest]\n{ini}\n")
    (folder / "test_it.py").write_text(TESTS)
    done = subprocess.run(  # noqa: S603 - our own interpreter on our own file
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_it_is_silent_until_asked(tmp_path: Path) -> None:
    # Where there is no route at all, the connection itself may fail: not our doing.
    assert "RealNetworkError" not in run_pytest(tmp_path)


@pytest.mark.parametrize(
    ("option", "ini"),
    [("--forbid-network", ""), ("-v", "model_manager_forbid_network = true")],
)
def test_it_forbids_the_network_when_asked(
    tmp_path: Path, *, option: str, ini: str
) -> None:
    shown = run_pytest(tmp_path, option, "--strict-markers", ini=ini)

    assert "FAILED test_it.py::test_plain" in shown
    assert "RealNetworkError" in shown
    assert "FAILED test_it.py::test_marked - model_manager" not in shown


def test_starting_pytest_loads_no_http_library(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    heavy = {'aiohttp', 'httpx2', 'openai', 'anthropic', 'jsonschema'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "1 passed" in done.stdout


def test_this_very_suite_cannot_leave_the_machine() -> None:
    with socket.socket() as sock:
        with pytest.raises(RealNetworkError, match="not this machine"):
            sock.connect((FAR, 80))
        with pytest.raises(RealNetworkError):
            sock.connect_ex((FAR, 80))
    with (
        socket.socket(type=socket.SOCK_DGRAM) as sock,
        pytest.raises(RealNetworkError),
    ):
        sock.sendto(b"x", (FAR, 9))
    with pytest.raises(RealNetworkError, match=r"example\.com"):
        socket.getaddrinfo("example.com", 443)


async def test_nor_through_a_loop() -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)  # noqa: FBT003 - the socket's own signature
        with pytest.raises(RealNetworkError):
            await loop.sock_connect(sock, (FAR, 80))
    with pytest.raises(RealNetworkError):
        await asyncio.open_connection(FAR, 80)
    with pytest.raises(RealNetworkError):
        await asyncio.open_connection("example.com", 80)


def test_unix_sockets_pass(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(FileNotFoundError):
        sock.connect(str(tmp_path / "nobody"))


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::1%lo", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("a.localhost", True),
        (b"localhost", True),
        ("", True),
        (None, True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1", False),
        ("localhost.example.com", False),
        ("example.com", False),
        (7, False),
    ],
)
def test_what_counts_as_this_machine(host: object, *, here: bool) -> None:
    assert is_loopback(host) is here


def test_the_guard_leaves_the_sockets_as_they_were() -> None:
    before = (socket.socket.connect, socket.getaddrinfo)
    guard = NetworkGuard()
    guard.install()
    guard.install()
    guard.uninstall()
    guard.uninstall()

    assert before == (socket.socket.connect, socket.getaddrinfo)


def test_the_servers_are_fixtures(
    openai_server: OpenAIServer,
    anthropic_server: AnthropicServer,
    ollama_server: OllamaServer,
) -> None:
    addresses = {
        server.base_url for server in (openai_server, anthropic_server, ollama_server)
    }

    assert len(addresses) == 3


MINE = """
import pytest
from model_manager.testing import ScriptedProvider, said
from model_manager.testing.provider_contract import ProviderCase, ProviderContract

class TestMine(ProviderContract):
    @pytest.fixture
    def provider_case(self):
        provider = ScriptedProvider({script})
        return ProviderCase(provider=provider, endpoint="scripted", kind="scripted")
"""


@pytest.mark.parametrize(
    ("script", "code"), [("", 0), ("said('a')[:1], said('a')[:1]", 1)]
)
def test_the_contract_tells_good_providers_from_bad_ones(
    tmp_path: Path, *, script: str, code: int
) -> None:
    (tmp_path / "test_mine.py").write_text(MINE.format(script=script))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == code, done.stdout
    assert " skipped" in done.stdout


class TestModelsOfTheFixture:
    @pytest.fixture
    def ollama_models(self) -> list[str]:
        return ["qwen2.5-coder:1.5b"]

    async def test_a_manager_finds_them_installed(
        self, ollama_server: OllamaServer
    ) -> None:
        models: dict[str, object] = {"qwen2.5-coder:1.5b": {}}
        ollama = {"base_url": ollama_server.base_url, "models": models}
        config = {
            "version": "1.1.0",
            "agent_models": {"agent": {"local": "qwen2.5-coder:1.5b"}},
            "model_providers": {"ollama": ollama},
        }
        async with ModelManager(config) as manager:
            response = await manager.generate("agent", "Bonjour")

        assert response.model == "qwen2.5-coder:1.5b"


CALLS = """
from model_manager import ModelManager

async def test_it_answers():
    config = {
        "version": "1.1.0",
        "agent_models": {"a": {"primary": "demo"}},
        "model_providers": {"simulated": {"models": {"demo": {}}}},
    }
    async with ModelManager(config) as manager:
        await manager.generate("a", "hi")
        assert len(await manager.entries()) == 1
"""


def test_a_test_writes_nothing_into_the_users_own_ledger(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "test_calls.py").write_text(CALLS)
    unset = {"MODEL_MANAGER_DATA", "XDG_DATA_HOME", "LOCALAPPDATA"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto"],
        cwd=tmp_path,
        env={**kept, "HOME": str(home), "USERPROFILE": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert list(home.iterdir()) == []
