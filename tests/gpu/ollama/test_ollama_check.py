"""Checking a server that runs: what it was given, and where its models sit."""

from __future__ import annotations

import http.server
import json
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from model_manager.errors import (
    CudaUnavailableError,
    DeviceOrderError,
    DriverNotLoadedError,
    GpuError,
    GpuNotCheckedError,
    InvalidRequestError,
    NvmlError,
    RequiredGpuMissingError,
    VisibleDevicesError,
    WrongGpuError,
)
from model_manager.gpu import Gpu, GpuPolicy, GpuProcess, Inventory, Verdict
from model_manager.gpu._processes import Processes
from model_manager.gpu.ollama import (
    OllamaSettings,
    ServerFacts,
    check_ollama,
    judge_server,
    launch_ollama,
    ollama_environment,
    plan_launch,
    read_ollama,
)
from model_manager.gpu.ollama._service import read_service
from model_manager.gpu.ollama._wire import fetch_json
from model_manager.testing import FakeNvml, OllamaServer, rtx_3090, rtx_5060_ti
from model_manager.types import LoadedModel

RECORDED = {
    "/api/version": b'{"version":"0.32.15"}',
    "/api/ps": b'{"models":[{"name":"tiny-chat:latest","model":"tiny-chat:latest",'
    b'"size":10758389,"digest":"f74d","details":{"parent_model":"","format":"gguf",'
    b'"family":"llama","families":["llama"],"parameter_size":"521K",'
    b'"quantization_level":"unknown"},"expires_at":"2026-11-21T04:26:09.532947489Z",'
    b'"size_vram":0,"context_length":4096}]}',
}
"""What a server of this version answers, with a model that runs on the CPU."""
GIB = 1024**3
POLICY = GpuPolicy()
CARD = rtx_3090()
OTHER = rtx_5060_ti()
BOTH = Inventory(gpus=(OTHER, CARD))
PINNED = dict(ollama_environment(replace(POLICY, uuid=CARD.uuid)))
NUMBERED = dict(ollama_environment(POLICY))
URL = "http://127.0.0.1:11434"
RIGHT = ServerFacts(
    base_url=URL,
    version="0.32.15",
    models=(),
    cloud_disabled=True,
    pid=70,
    pids=frozenset({70, 71}),
    environment=PINNED,
    source="process",
    is_complete=True,
)
UNREADABLE = replace(
    RIGHT, environment=None, source=None, is_complete=False, why_unknown="not yours"
)


def model(share: float = 1.0, *, size: int = 5 * GIB, name: str = "m") -> LoadedModel:
    return LoadedModel(
        name=name, size=size, size_vram=int(size * share), context_length=8192
    )


def holding(card: Gpu, memory: int | None, *, pid: int = 71, used: int = 0) -> Gpu:
    process = GpuProcess(pid=pid, kind="compute", memory=memory)
    return replace(card, processes=(process,), memory_used=used or memory)


def given(**environ: str | None) -> ServerFacts:
    """Return a right server with some variables changed, or taken away."""
    changed = {**PINNED, **environ}
    kept = {name: text for name, text in changed.items() if text is not None}
    return replace(RIGHT, environment=kept)


class TestEnvironment:
    @pytest.mark.parametrize("environment", [PINNED, NUMBERED])
    def test_what_the_scripts_set_is_right(self, environment: dict[str, str]) -> None:
        verdict = judge_server(replace(RIGHT, environment=environment), POLICY, BOTH)

        assert verdict.passed, str(verdict)
        assert verdict.gpu == CARD
        assert not [c for c in verdict.checks if c.status in {"failed", "warning"}]

    @pytest.mark.parametrize(
        ("environ", "error", "words"),
        [
            ({"CUDA_VISIBLE_DEVICES": "0"}, WrongGpuError, "5060"),
            ({"CUDA_VISIBLE_DEVICES": OTHER.uuid}, WrongGpuError, "5060"),
            ({"CUDA_VISIBLE_DEVICES": "1,0"}, WrongGpuError, "5060"),
            ({"CUDA_VISIBLE_DEVICES": None}, WrongGpuError, "not set"),
            ({"CUDA_VISIBLE_DEVICES": "-1"}, CudaUnavailableError, "no card"),
            ({"CUDA_VISIBLE_DEVICES": "7"}, CudaUnavailableError, "no card"),
            ({"CUDA_VISIBLE_DEVICES": ""}, CudaUnavailableError, "no card"),
            ({"CUDA_VISIBLE_DEVICES": '"1"'}, CudaUnavailableError, "no card"),
            ({"CUDA_VISIBLE_DEVICES": f"MIG-{CARD.uuid}/1/0"}, VisibleDevicesError, ""),
            (
                {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": None},
                DeviceOrderError,
                "fastest",
            ),
        ],
    )
    def test_another_card_or_none_is_refused(
        self, environ: dict[str, str | None], error: type[GpuError], words: str
    ) -> None:
        verdict = judge_server(given(**environ), POLICY, BOTH)
        check = verdict.check("server_environment")

        assert (check.status, check.error) == ("failed", error)
        assert words in check.seen
        assert check.remedy
        with pytest.raises(error):
            verdict.raise_for_failure()

    def test_two_cards_that_are_both_allowed_are_still_two(self) -> None:
        second = rtx_3090(index=2, uuid="GPU-2", bus="00000000:03:00.0")
        verdict = judge_server(
            given(CUDA_VISIBLE_DEVICES="1,2"),
            POLICY,
            Inventory(gpus=(OTHER, CARD, second)),
        )

        assert verdict.check("server_environment").error is VisibleDevicesError
        assert not verdict.passed

    def test_on_a_machine_with_one_card_nothing_need_be_set(self) -> None:
        facts = replace(RIGHT, environment={})

        verdict = judge_server(facts, POLICY, Inventory(gpus=(CARD,)))

        assert verdict.passed, str(verdict)
        assert verdict.check("server_environment").status == "warning"
        assert verdict.check("vulkan").status == "warning"

    def test_what_cannot_be_read_is_not_taken_for_right(self) -> None:
        verdict = judge_server(UNREADABLE, POLICY, BOTH)

        assert not verdict.passed
        check = verdict.check("server_environment")
        assert (check.status, check.is_needed) == ("skipped", True)
        assert "root" in check.remedy
        with pytest.raises(GpuNotCheckedError):
            verdict.raise_for_failure()

    def test_a_unit_whose_files_are_not_read_leaves_open_what_it_does_not_say(
        self,
    ) -> None:
        facts = replace(RIGHT, source="service", is_complete=False, environment={})

        verdict = judge_server(facts, POLICY, BOTH)

        statuses = {check.rule: check.status for check in verdict.checks}
        assert statuses["server_environment"] == statuses["vulkan"] == "skipped"
        assert statuses["spread"] == "skipped"

    def test_what_a_unit_says_is_named_as_its_source(self) -> None:
        verdict = judge_server(replace(RIGHT, source="service"), POLICY, BOTH)

        assert "unit" in verdict.check("server_environment").seen


class TestOtherRules:
    @pytest.mark.parametrize("value", [None, "1", "", "off", "yes"])
    def test_vulkan_finds_the_card_that_cuda_does_not(self, value: str | None) -> None:
        """Ollama takes for yes whatever does not say no, such as `off`."""
        facts = given(OLLAMA_VULKAN=value, GGML_VK_VISIBLE_DEVICES=None)
        check = judge_server(facts, POLICY, BOTH).check("vulkan")

        assert (check.status, check.error) == ("failed", WrongGpuError)
        assert "5060" in check.seen

    @pytest.mark.parametrize(
        "environ",
        [
            {"OLLAMA_VULKAN": "false", "GGML_VK_VISIBLE_DEVICES": None},
            {"OLLAMA_VULKAN": "0", "GGML_VK_VISIBLE_DEVICES": None},
            {"OLLAMA_VULKAN": None, "GGML_VK_VISIBLE_DEVICES": "-1"},
            {
                "OLLAMA_VULKAN": None,
                "GGML_VK_VISIBLE_DEVICES": None,
                "OLLAMA_LLM_LIBRARY": "cuda_v12",
            },
        ],
    )
    def test_each_way_to_put_vulkan_off_counts(
        self, environ: dict[str, str | None]
    ) -> None:
        verdict = judge_server(given(**environ), POLICY, BOTH)

        assert verdict.check("vulkan").status == "passed"

    @pytest.mark.parametrize(
        ("version", "status"),
        [
            ("0.24.0", "passed"),
            ("0.29.9", "passed"),
            ("0.30.0", "failed"),
            ("0.30.0-rc1", "failed"),
            ("0.0.0", "failed"),
            ("odd", "failed"),
        ],
    )
    def test_vulkan_counts_since_the_version_that_has_it_on(
        self, version: str, status: str
    ) -> None:
        facts = given(OLLAMA_VULKAN=None, GGML_VK_VISIBLE_DEVICES=None)

        verdict = judge_server(replace(facts, version=version), POLICY, BOTH)

        assert verdict.check("vulkan").status == status

    def test_a_card_that_cannot_be_read_may_be_found_by_vulkan(self) -> None:
        facts = given(OLLAMA_VULKAN=None, GGML_VK_VISIBLE_DEVICES=None)
        nvml = FakeNvml(CARD)
        inventory = replace(BOTH, gpus=(CARD,), unreadable=(_lost(),))

        check = judge_server(facts, POLICY, inventory).check("vulkan")

        assert nvml.read().gpus
        assert check.status == "failed"

    @pytest.mark.parametrize(
        ("value", "status"), [("1", "failed"), ("on", "failed"), ("0", "passed")]
    )
    def test_spreading_over_all_cards_is_refused(self, value: str, status: str) -> None:
        facts = given(OLLAMA_SCHED_SPREAD=value)

        assert judge_server(facts, POLICY, BOTH).check("spread").status == status

    def test_names_that_ollama_ignores_are_told_where_they_stand_alone(self) -> None:
        facts = given(CUDA_VISIBLE_DEVICES=None)
        check = judge_server(facts, POLICY, BOTH).check("ignored_names")

        assert check.status == "warning"
        assert "OLLAMA_GPU_DEVICE, OLLAMA_NUM_GPU" in check.seen

    def test_an_older_version_is_told(self) -> None:
        verdict = judge_server(replace(RIGHT, version="0.24.0"), POLICY, BOTH)

        assert verdict.check("version").status == "warning"
        assert verdict.passed

    def test_a_context_that_ollama_chooses_is_told(self) -> None:
        verdict = judge_server(given(OLLAMA_CONTEXT_LENGTH=None), POLICY, BOTH)

        assert verdict.check("context_length").status == "warning"
        assert "32768" in verdict.check("context_length").seen

    @pytest.mark.parametrize(
        ("told", "value", "status"),
        [
            (True, None, "passed"),
            (False, "1", "warning"),
            (None, "1", "passed"),
            (None, None, "warning"),
            (None, "0", "warning"),
        ],
    )
    def test_work_that_could_go_to_the_cloud_is_told(
        self, *, told: bool | None, value: str | None, status: str
    ) -> None:
        facts = replace(given(OLLAMA_NO_CLOUD=value), cloud_disabled=told)

        assert judge_server(facts, POLICY, BOTH).check("cloud").status == status

    @pytest.mark.parametrize(
        ("value", "status"),
        [
            (None, "passed"),
            ("http://localhost:11434/", "passed"),
            ("0.0.0.0", "warning"),
            (":11434", "warning"),
        ],
    )
    def test_a_server_that_others_reach_is_told(
        self, value: str | None, status: str
    ) -> None:
        facts = given(OLLAMA_HOST=value)

        assert judge_server(facts, POLICY, BOTH).check("exposure").status == status

    def test_without_the_card_nothing_is_right(self) -> None:
        verdict = judge_server(RIGHT, POLICY, Inventory(gpus=(OTHER,)))

        assert verdict.check("cards").error is RequiredGpuMissingError
        assert not verdict.passed

    def test_without_nvml_nothing_is_right(self) -> None:
        problem = DriverNotLoadedError("the driver is not loaded.", remedy="Load it.")
        verdict = judge_server(RIGHT, POLICY, Inventory(), problem=problem)

        assert not verdict.passed
        with pytest.raises(NvmlError, match="not loaded"):
            verdict.raise_for_failure()


def _lost() -> Any:
    from model_manager.gpu import UnreadableGpu

    return UnreadableGpu(index=0, reason="lost")


class TestPlacement:
    def judge(
        self, *models: LoadedModel, cards: Sequence[Gpu], facts: ServerFacts = RIGHT
    ) -> Verdict:
        return judge_server(
            replace(facts, models=models), POLICY, Inventory(gpus=tuple(cards))
        )

    def test_a_model_that_the_driver_shows_on_the_card_is_right(self) -> None:
        verdict = self.judge(model(), cards=(OTHER, holding(CARD, 6 * GIB)))

        assert verdict.check("placement").status == "passed"
        assert "as the driver shows" in verdict.check("placement").seen

    def test_a_right_place_makes_up_for_variables_that_cannot_be_read(self) -> None:
        verdict = self.judge(
            model(), cards=(OTHER, holding(CARD, 6 * GIB)), facts=UNREADABLE
        )

        assert verdict.passed, str(verdict)
        assert verdict.gpu is not None
        assert verdict.gpu.uuid == CARD.uuid
        check = verdict.check("server_environment")
        assert (check.status, check.is_needed) == ("skipped", False)

    def test_a_runner_on_the_forbidden_card_is_refused(self) -> None:
        verdict = self.judge(
            model(), cards=(holding(OTHER, 5 * GIB), holding(CARD, 6 * GIB, pid=70))
        )

        assert verdict.check("placement").error is WrongGpuError
        assert OTHER.name in verdict.check("placement").seen

    def test_it_is_refused_there_also_where_nothing_is_loaded(self) -> None:
        verdict = self.judge(cards=(holding(OTHER, GIB), CARD))

        assert verdict.check("placement").error is WrongGpuError

    def test_others_may_be_on_the_forbidden_card(self) -> None:
        verdict = self.judge(cards=(holding(OTHER, GIB, pid=999), CARD))

        assert verdict.passed

    @pytest.mark.parametrize(
        ("share", "error", "words"),
        [
            (0.0, CudaUnavailableError, "on the CPU"),
            (0.4, GpuError, "40%"),
            (0.97, GpuError, "97%"),
        ],
    )
    def test_a_model_that_is_not_wholly_on_the_card_is_refused(
        self, share: float, error: type[GpuError], words: str
    ) -> None:
        verdict = self.judge(
            model(), model(share, name="big"), cards=(OTHER, holding(CARD, 20 * GIB))
        )
        check = verdict.check("placement")

        assert (check.status, check.error) == ("failed", error)
        assert words in check.seen
        assert "big" in check.seen

    def test_sizes_that_were_rounded_still_count_as_whole(self) -> None:
        verdict = self.judge(model(0.985), cards=(OTHER, holding(CARD, 6 * GIB)))

        assert verdict.check("placement").status == "passed"

    def test_the_word_of_the_server_alone_proves_nothing(self) -> None:
        """It says that all is on a card; the driver shows an idle one."""
        verdict = self.judge(model(), cards=(OTHER, CARD))

        assert verdict.check("placement").status == "failed"
        assert "the driver shows 0.0 GiB" in verdict.check("placement").seen

    def test_a_process_that_holds_too_little_is_not_where_the_model_is(self) -> None:
        verdict = self.judge(model(), cards=(OTHER, holding(CARD, GIB, used=20 * GIB)))

        assert verdict.check("placement").status == "failed"

    @pytest.mark.parametrize("pids", [frozenset({70, 71}), frozenset[int]()])
    def test_memory_that_fits_is_no_proof_where_processes_are_not_shown(
        self, pids: frozenset[int]
    ) -> None:
        card = replace(CARD, processes=None, memory_used=6 * GIB)
        verdict = self.judge(
            model(), cards=(OTHER, card), facts=replace(UNREADABLE, pids=pids)
        )

        assert verdict.check("placement").status == "warning"
        assert not verdict.passed

    def test_on_windows_the_process_counts_and_the_memory_of_the_card(self) -> None:
        right = self.judge(model(), cards=(OTHER, holding(CARD, None, used=6 * GIB)))
        wrong = self.judge(model(), cards=(OTHER, holding(CARD, None, used=GIB)))

        assert right.check("placement").status == "passed"
        assert wrong.check("placement").status == "failed"

    @pytest.mark.parametrize(
        "loaded", [None, (), (LoadedModel(name="m"),), (LoadedModel(name="m", size=0),)]
    )
    def test_what_is_not_told_is_not_judged(
        self, loaded: tuple[LoadedModel, ...] | None
    ) -> None:
        verdict = judge_server(replace(RIGHT, models=loaded), POLICY, BOTH)

        check = verdict.check("placement")
        assert (check.status, check.is_needed) == ("skipped", False)


class TestFacts:
    def test_what_others_compute_with_is_known_where_it_was_read(self) -> None:
        facts = given(OLLAMA_KV_CACHE_TYPE="q8_0", OLLAMA_NUM_PARALLEL="4")

        assert (facts.num_parallel, facts.kv_cache_type) == (4, "q8_0")
        assert facts.context_length == 8192

    def test_what_is_not_set_is_ollamas_own(self) -> None:
        facts = replace(RIGHT, environment={})

        assert (facts.num_parallel, facts.kv_cache_type) == (1, "f16")
        assert facts.context_length is None
        assert replace(facts, version="0.5.0").num_parallel is None

    def test_what_cannot_be_read_is_unknown(self) -> None:
        facts = (UNREADABLE, replace(RIGHT, environment={}, is_complete=False))

        for one in facts:
            assert (one.num_parallel, one.kv_cache_type) == (None, None)


class Listed:
    """Processes of a made-up machine."""

    def __init__(self, **processes: Any) -> None:
        self.listening: int | None = processes.get("listening")
        self.names: Mapping[int, str] = processes.get("names", {})
        self.environs: Mapping[int, Mapping[str, str]] = processes.get("environs", {})
        self.start = 100.0

    def listener(self, port: int) -> int | None:
        return self.listening if port else None

    def named(self, name: str, *, argument: str = "") -> tuple[int, ...]:
        assert argument == "serve"
        return tuple(pid for pid, its in self.names.items() if its == name)

    def name(self, pid: int) -> str | None:
        return self.names.get(pid)

    def environ(self, pid: int, names: Collection[str]) -> Mapping[str, str] | None:
        found = self.environs.get(pid)
        return None if found is None else {n: found[n] for n in names if n in found}

    def family(self, pid: int) -> frozenset[int]:
        return frozenset({pid, pid + 1})

    def started(self, pid: int) -> float | None:
        return self.start if pid else None

    def available_memory(self) -> int | None:
        return None


def answers(url: str) -> object:
    told = {
        "version": {"version": "0.32.15"},
        "ps": {"models": []},
        "status": {"cloud": {"disabled": True, "source": "env"}},
    }
    return told[url.rpartition("/")[2]]


def unit(text: str) -> Any:
    return lambda command: text if command[0] == "systemctl" else None


def no_systemd(_: Sequence[str]) -> str | None:
    return None


def look(url: str = URL, *, systemd: Any = no_systemd, **processes: Any) -> ServerFacts:
    return read_ollama(url, processes=Listed(**processes), fetch=answers, run=systemd)


class TestLook:
    def test_the_listener_is_the_server(self) -> None:
        facts = look(listening=7, names={7: "ollama"}, environs={7: PINNED})

        assert (facts.pid, facts.pids) == (7, frozenset({7, 8}))
        assert facts.environment is not None
        assert facts.environment["CUDA_VISIBLE_DEVICES"] == CARD.uuid
        assert (facts.source, facts.is_complete) == ("process", True)

    def test_only_the_variables_that_are_judged_are_kept(self) -> None:
        secret = {**PINNED, "OLLAMA_API_KEY": "secret", "HTTP_PROXY": "http://a:b@c"}
        facts = look(listening=7, names={7: "ollama"}, environs={7: secret})

        assert "secret" not in repr(facts)
        assert "a:b@c" not in repr(facts)

    @pytest.mark.parametrize("name", ["docker-proxy", "ssh", "wslrelay.exe"])
    def test_who_listens_for_another_is_not_the_server(self, name: str) -> None:
        facts = look(listening=7, names={7: name}, environs={7: PINNED})

        assert facts.environment is None
        assert "elsewhere" in facts.why_unknown

    def test_where_sockets_are_not_shown_the_program_is_looked_for(self) -> None:
        facts = look(names={5: "bash", 7: "ollama"}, environs={7: PINNED})

        assert facts.pid == 7

    def test_of_several_servers_the_one_of_that_port_is_meant(self) -> None:
        other = {**PINNED, "OLLAMA_HOST": "127.0.0.1:11500"}
        facts = look(names={7: "ollama", 8: "ollama"}, environs={7: other, 8: PINNED})

        assert facts.pid == 8

    def test_where_several_can_be_meant_none_is_guessed(self) -> None:
        assert look(names={7: "ollama", 8: "ollama"}).pid is None
        assert look("http://127.0.0.1:11500", names={7: "ollama"}).pid is None

    def test_one_that_cannot_be_read_is_still_found(self) -> None:
        facts = look(names={7: "ollama"})

        assert (facts.pid, facts.environment) == (7, None)
        assert "root" in facts.why_unknown

    def test_a_service_tells_what_its_process_does_not(self, tmp_path: Path) -> None:
        text = _unit(tmp_path, "CUDA_VISIBLE_DEVICES=1 TOKEN=secret 'OLLAMA_HOST=::1'")
        facts = look(names={7: "ollama"}, systemd=unit(text))

        assert facts.environment == {"CUDA_VISIBLE_DEVICES": "1", "OLLAMA_HOST": "::1"}
        assert (facts.source, facts.is_complete) == ("service", True)

    def test_a_service_with_files_of_variables_is_known_in_part(
        self, tmp_path: Path
    ) -> None:
        text = _unit(tmp_path, "", files="/etc/ollama.env (ignore_errors=no)")
        facts = look(names={7: "ollama"}, systemd=unit(text))

        assert (facts.environment, facts.is_complete) == ({}, False)
        assert not facts.is_known("CUDA_VISIBLE_DEVICES")

    def test_a_unit_that_was_changed_since_says_nothing(self, tmp_path: Path) -> None:
        """The usual slip: the file was edited, and the service not restarted."""
        text = _unit(tmp_path, "CUDA_VISIBLE_DEVICES=1", changed=200.0)
        facts = look(names={7: "ollama"}, systemd=unit(text))

        assert facts.environment is None
        assert "changed after it was started" in facts.why_unknown

    def test_a_service_that_is_another_process_says_nothing(
        self, tmp_path: Path
    ) -> None:
        text = _unit(tmp_path, "CUDA_VISIBLE_DEVICES=1", pid=9)

        assert look(names={7: "ollama"}, systemd=unit(text)).environment is None

    def test_a_service_that_does_not_run_is_none(self, tmp_path: Path) -> None:
        assert read_service(unit(_unit(tmp_path, "", pid=0))) is None
        assert read_service(unit("")) is None
        assert read_service(no_systemd) is None

    def test_a_server_on_another_machine_is_not_asked(self) -> None:
        def never(_: object) -> Any:
            pytest.fail("something was asked")

        verdict = check_ollama(
            "http://10.0.0.7:11434", nvml=FakeNvml(CARD), fetch=never, run=never
        )

        assert not verdict.passed
        assert "another machine" in verdict.check("server").seen
        assert {check.status for check in verdict.checks} == {"skipped"}

    @pytest.mark.parametrize(
        "url", ["", "ftp://localhost", "http://", "http://[::1", "localhost:x"]
    )
    def test_what_is_no_url_is_refused(self, url: str) -> None:
        with pytest.raises(InvalidRequestError):
            read_ollama(url, fetch=answers, run=no_systemd)

    def test_a_password_in_a_url_is_refused_and_not_repeated(self) -> None:
        with pytest.raises(InvalidRequestError) as caught:
            read_ollama("http://me:secret@127.0.0.1:11434", fetch=answers)

        assert "secret" not in str(caught.value)


def _unit(
    folder: Path,
    environment: str,
    *,
    pid: int = 7,
    files: str = "",
    changed: float = 50.0,
) -> str:
    path = folder / "ollama.service"
    path.write_text("[Service]\n", encoding="utf-8")
    os.utime(path, (changed, changed))
    return (
        f"MainPID={pid}\nEnvironment={environment}\nEnvironmentFiles={files}\n"
        f"FragmentPath={path}\nDropInPaths=\n"
    )


@contextmanager
def replay(pages: Mapping[str, bytes], *, status: int = 200) -> Iterator[str]:
    """Serve recorded answers on this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = pages.get(self.path)
            self.send_response(404 if body is None else status)
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body or b"404 page not found")

        @override
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class TestWire:
    def test_a_recorded_server_whose_model_is_on_the_cpu_is_refused(self) -> None:
        with replay(RECORDED) as url:
            verdict = check_ollama(url, nvml=FakeNvml(OTHER, CARD), run=no_systemd)

        assert "0.32.15" in verdict.check("server").seen
        assert verdict.check("placement").error is CudaUnavailableError
        assert "tiny-chat:latest runs on the CPU" in verdict.check("placement").seen
        assert verdict.check("cloud").status in {"skipped", "warning"}

    def test_the_server_of_the_tests_answers_as_one(self) -> None:
        with OllamaServer(models=["small"]) as server:
            facts = read_ollama(server.base_url, run=no_systemd)

        assert facts.version == "0.32.15"
        assert facts.models == ()
        assert facts.pid == os.getpid()

    def test_no_proxy_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")

        with replay(RECORDED) as url:
            assert fetch_json(f"{url}/api/version") == {"version": "0.32.15"}

    def test_no_redirect_is_followed(self) -> None:
        with (
            replay({"/api/version": b""}, status=302) as url,
            pytest.raises(OSError, match="302"),
        ):
            fetch_json(f"{url}/api/version")

    @pytest.mark.parametrize(
        "url", ["http://10.0.0.7/api", "http://example.com/", "http://127.1.evil/"]
    )
    def test_only_this_machine_is_asked(self, url: str) -> None:
        with pytest.raises(ValueError, match="this machine"):
            fetch_json(url)

    def test_an_answer_without_end_is_not_read_to_its_end(self) -> None:
        with (
            replay({"/api/version": b" " * 3_000_000}) as url,
            pytest.raises(ValueError, match="too long"),
        ):
            fetch_json(f"{url}/api/version")

    @pytest.mark.parametrize(
        "body", [b"Ollama is running", b"[]", b'{"version":1}', b"\xff\xfe", b""]
    )
    def test_what_is_not_ollama_is_told(self, body: bytes) -> None:
        with replay({"/api/version": body}) as url:
            verdict = check_ollama(url, nvml=FakeNvml(CARD), run=no_systemd)

        assert verdict.check("server").status == "failed"
        assert not verdict.passed

    def test_where_nothing_answers_it_is_told_with_what_to_do(self, port: int) -> None:
        verdict = check_ollama(f"http://127.0.0.1:{port}", nvml=FakeNvml(CARD))

        assert verdict.check("server").status == "failed"
        assert "launch-ollama" in verdict.check("server").remedy
        assert "refused" in verdict.check("server").seen

    @pytest.mark.parametrize(
        "body",
        [
            b'{"models":null}',
            b'{"models":[1,{"name":null,"size":"x","size_vram":-1}]}',
            b'{"models":{}}',
            b"[]",
            b"{",
        ],
    )
    def test_odd_lists_of_models_break_nothing(self, body: bytes) -> None:
        with replay({**RECORDED, "/api/ps": body}) as url:
            verdict = check_ollama(url, nvml=FakeNvml(OTHER, CARD), run=no_systemd)

        assert verdict.check("placement").status == "skipped"


class TestRealProcesses:
    """A real server process, looked at by the real psutil."""

    def test_what_was_launched_is_found_to_be_right(self, box: Any) -> None:
        plan = plan_launch(
            POLICY,
            OllamaSettings(host=f"127.0.0.1:{box.port}", num_parallel=2),
            machine=box.machine(OLLAMA_API_KEY="secret"),
            guard=None,
        )
        with launch_ollama(plan, show=lambda _: None) as launched:
            verdict = check_ollama(box.url, nvml=box.nvml, run=no_systemd)
            facts = read_ollama(box.url, run=no_systemd)

        assert verdict.passed, str(verdict)
        assert verdict.gpu is not None
        assert verdict.gpu.uuid == box.card.uuid
        assert facts.pid == launched.pid
        assert facts.num_parallel == 2
        assert "secret" not in repr(facts) + json.dumps(verdict.to_dict())

    def test_a_server_on_the_other_card_is_found_out(self, box: Any) -> None:
        wrong = GpuPolicy(
            name="5060", cards=(_model_of(box.other),), visible_devices="0"
        )
        plan = plan_launch(
            wrong,
            OllamaSettings(host=f"127.0.0.1:{box.port}"),
            machine=box.machine(),
            guard=None,
        )
        with launch_ollama(plan, show=lambda _: None):
            verdict = check_ollama(box.url, nvml=box.nvml, run=no_systemd)

        assert verdict.check("server_environment").error is WrongGpuError

    def test_processes_are_seen_as_they_are(self, box: Any) -> None:
        plan = plan_launch(
            POLICY,
            OllamaSettings(host=f"127.0.0.1:{box.port}"),
            machine=box.machine(),
            guard=None,
        )
        seen = Processes()
        before = time.time()
        with launch_ollama(plan, show=lambda _: None) as launched:
            pid = launched.pid
            assert seen.listener(box.port) == pid
            assert seen.name(pid) == "ollama"
            assert pid in seen.named("ollama", argument="serve")
            assert pid not in seen.named("ollama", argument="run")
            assert pid in seen.family(os.getpid())
            started = seen.started(pid)
            assert started is not None
            assert abs(started - before) < 60
            assert seen.environ(pid, ["OLLAMA_VULKAN", "OLLAMA_NOT_THERE"]) == {
                "OLLAMA_VULKAN": "0"
            }

        assert seen.environ(pid, ["OLLAMA_VULKAN"]) is None
        assert seen.name(pid) is None
        assert seen.started(pid) is None
        assert seen.family(pid) == frozenset()
        assert seen.listener(box.port) is None
        assert (seen.available_memory() or 0) > 0


def _model_of(card: Gpu) -> Any:
    from model_manager.gpu import CardModel

    return CardModel(
        names=frozenset({card.name}),
        pci_device_ids=frozenset({card.pci_device_id or 0}),
        compute_capability=card.compute_capability or (0, 0),
        min_memory=1,
    )
