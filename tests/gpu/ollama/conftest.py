from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from model_manager.gpu import Machine
from model_manager.testing import FakeCuda, FakeNvml, FakeSystem, rtx_3090, rtx_5060_ti

_SERVER = '''\
"""A program that starts, listens and ends as Ollama does."""

import http.server
import json
import os
import signal
import sys
import threading

notes = os.environ["NOTES"]
print("time=now msg=\\"server config\\" env=map[HTTP_PROXY:http://me:secret@proxy]",
      file=sys.stderr, flush=True)
print(f"time=now msg=\\"{os.environ.get('SAYS', 'starting')}\\"",
      file=sys.stderr, flush=True)
with open(notes + "/environ.json", "w") as file:
    json.dump({"argv": sys.argv[1:], "pid": os.getpid(), **os.environ}, file)
if "DIES" in os.environ:
    sys.exit(int(os.environ["DIES"]))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.loads(os.environ.get("ANSWERS", "{}")).get(self.path)
        if self.path == "/api/version":
            body = body or {"version": "0.32.15"}
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *arguments):
        print("served", self.path, file=sys.stderr, flush=True)


def end(number, frame):
    with open(notes + "/signals", "a") as file:
        file.write(signal.Signals(number).name + "\\n")
    if "SILENT" not in os.environ:
        threading.Thread(target=server.shutdown).start()


signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGTERM, end)
host, port = os.environ["OLLAMA_HOST"].rsplit(":", 1)
if "SILENT" in os.environ:
    with open(notes + "/silent", "w"):
        pass
    signal.pause()
    sys.exit(7)
server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
server.serve_forever()
sys.exit(int(os.environ.get("ENDS", "0")))
'''


class Box:
    """A machine with both cards, a folder on its PATH, and a free port."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.card = rtx_3090()
        self.other = rtx_5060_ti()
        self.nvml = FakeNvml(self.other, self.card)

    def install(self) -> None:
        program = self.folder / "ollama"
        program.write_text(f"#!{sys.executable}\n{_SERVER}", encoding="utf-8")
        program.chmod(0o755)

    def machine(self, **environ: str) -> Machine:
        own = {
            "PATH": f"{self.folder}{os.pathsep}/usr/bin",
            "NOTES": str(self.folder),
            **environ,
        }
        return Machine(
            nvml=self.nvml,
            cuda=FakeCuda(self.card),
            system=FakeSystem(),
            environ=own,
        )

    def seen(self) -> Mapping[str, str]:
        """Return the environment that the server got."""
        text = (self.folder / "environ.json").read_text(encoding="utf-8")
        found: Mapping[str, str] = json.loads(text)
        return found

    def signals(self) -> list[str]:
        path = self.folder / "signals"
        return path.read_text(encoding="utf-8").split() if path.exists() else []


@pytest.fixture
def port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number


@pytest.fixture
def box(tmp_path: Path, port: int) -> Box:
    """A machine on which a program named `ollama` is installed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    made = Box(folder, port)
    made.install()
    return made
