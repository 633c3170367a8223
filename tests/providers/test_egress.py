"""Local work opens no connection that could leave the machine, whatever leads there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_manager.errors import EgressRefusedError, RemoteModelError
from model_manager.providers import HttpPool, WireError
from model_manager.providers._guard import Guard, RefusedAddressError

Address = IPv4Address | IPv6Address


class Net:
    """The net as a loop sees it: scripted look-ups, and every `connect` on record."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers: Iterator[Sequence[str]] = iter([*answers, *answers[-1:] * 9])
        self.connected: list[str] = []
        loop: Any = asyncio.get_running_loop()
        loop.getaddrinfo = self._getaddrinfo
        loop.getnameinfo = self._getnameinfo
        loop.sock_connect = self._sock_connect

    async def _getaddrinfo(self, _host: str, port: int, **_: object) -> list[Any]:
        found = [ip_address(text) for text in next(self.answers)]
        return [self._info(address, port) for address in found]

    @staticmethod
    def _info(address: Address, port: int) -> tuple[Any, ...]:
        if isinstance(address, IPv4Address):
            target: tuple[Any, ...] = (str(address), port)
            return socket.AF_INET, socket.SOCK_STREAM, 6, "", target
        target = (str(address), port, 0, 0)
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", target

    async def _getnameinfo(self, address: tuple[Any, ...], _: int) -> tuple[str, str]:
        return str(address[0]), str(address[1])

    async def _sock_connect(self, _: socket.socket, address: tuple[Any, ...]) -> None:
        self.connected.append(str(address[0]))
        raise ConnectionRefusedError


async def send(
    pool: HttpPool, url: str, networks: tuple[str, ...] = (), *, local: bool = True
) -> WireError:
    client = pool.client(local=local, networks=networks)
    with pytest.raises(WireError) as caught:
        await client.send("POST", url, headers={}, body=b"x", connect=5)
    return caught.value


def attempts(
    url: str,
    *answers: Sequence[str],
    networks: tuple[str, ...] = (),
    times: int = 1,
) -> tuple[list[str], list[WireError]]:
    """Return the addresses that were connected to, and the errors."""

    async def run() -> tuple[list[str], list[WireError]]:
        net, pool = Net(*answers), HttpPool()
        errors = [await send(pool, url, networks) for _ in range(times)]
        await pool.aclose()
        return net.connected, errors

    return asyncio.run(run())


HERE = ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"]
ELSEWHERE = [
    "0.0.0.0",
    "10.0.0.1",
    "169.254.169.254",
    "192.168.1.7",
    "8.8.8.8",
    "255.255.255.255",
    "::",
    "::127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "2002:7f00:1::1",
    "fe80::1",
    "fd00::1",
]


@pytest.mark.parametrize("address", HERE)
def test_this_machine_may_be_connected_to(address: str) -> None:
    connected, (error,) = attempts("http://somewhere.test/", [address])

    assert [ip_address(text) for text in connected] == [ip_address(address)]
    assert error.fault == "unreachable"


@pytest.mark.parametrize("address", ELSEWHERE)
def test_a_name_that_leads_elsewhere_is_refused_before_connecting(address: str) -> None:
    connected, (error,) = attempts("http://localhost:81/", [address])

    assert connected == []
    assert (error.fault, error.address) == ("refused", f"{ip_address(address)}:81")


@pytest.mark.parametrize("address", ELSEWHERE)
def test_an_address_written_out_is_judged_like_a_name(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    connected, (error,) = attempts(f"http://{host}:81/", ["127.0.0.1"])

    assert connected == []
    assert error.fault == "refused"


@pytest.mark.parametrize(
    "url", ["http://2130706433/", "http://127.1/", "http://0x7f.1/"]
)
def test_addresses_in_disguise_are_not_taken(url: str) -> None:
    connected, (error,) = attempts(url, ["8.8.8.8"])

    assert connected == []
    assert error.fault in {"refused", "unreachable"}


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_address_among_good_ones_refuses_all(place: int) -> None:
    addresses = ["127.0.0.1", "::1"]
    addresses.insert(place, "10.0.0.1")
    connected, (error,) = attempts("http://somewhere.test/", addresses)

    assert connected == []
    assert error.fault == "refused"


def test_a_name_whose_answer_changes_is_judged_at_each_look_up() -> None:
    async def run() -> tuple[list[str], list[str]]:
        net, pool = Net(["127.0.0.1"], ["10.0.0.1"]), HttpPool()
        faults = [(await send(pool, "http://rebound.test/")).fault]
        await pool.aclose()  # what was looked up is forgotten with the connections
        faults.append((await send(pool, "http://rebound.test/")).fault)
        await pool.aclose()
        return net.connected, list(faults)

    connected, faults = asyncio.run(run())

    assert connected == ["127.0.0.1"]
    assert faults == ["unreachable", "refused"]


def test_no_second_look_up_comes_between_judging_and_connecting() -> None:
    connected, _ = attempts("http://rebound.test/", ["127.0.0.1"], ["10.0.0.1"])

    assert connected == ["127.0.0.1"]


def test_a_listed_network_may_be_reached_and_no_other() -> None:
    networks = ("192.168.1.0/24",)
    near, _ = attempts("http://box.test/", ["192.168.1.7"], networks=networks)
    far, (error,) = attempts("http://box.test/", ["192.168.2.7"], networks=networks)

    assert near == ["192.168.1.7"]
    assert far == []
    assert error.fault == "refused"


@pytest.mark.parametrize("family", [socket.AF_UNIX, getattr(socket, "AF_VSOCK", 40), 0])
def test_other_families_of_sockets_are_refused(family: int) -> None:
    with pytest.raises(RefusedAddressError):
        Guard(["0.0.0.0/0"]).check_socket(family, ("127.0.0.1", 80))


@pytest.mark.parametrize("text", ["", "localhost", "127.0.0.1 ", "1", "0177.0.0.1"])
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    with pytest.raises(RefusedAddressError):
        Guard(["0.0.0.0/0"]).check(text)


def _is_allowed(text: str, networks: Sequence[str]) -> bool:
    """The rule, said once more in other words."""
    address = ip_address(text)
    if isinstance(address, IPv6Address) and int(address) >> 32 == 0xFFFF:
        address = IPv4Address(int(address) & 0xFFFFFFFF)
    loopback = ["127.0.0.0/8", "::1/128"]
    return any(address in ip_network(net) for net in [*loopback, *networks])


_mapped = st.ip_addresses(v=4).map(lambda a: IPv6Address((0xFFFF << 32) | int(a)))
_addresses = st.one_of(
    st.sampled_from(HERE + ELSEWHERE).map(ip_address), st.ip_addresses(), _mapped
).map(str)
_networks = st.lists(
    st.sampled_from(["10.0.0.0/8", "192.168.1.0/24", "fd00::/8", "fe80::/10"]),
    max_size=2,
).map(tuple)


@settings(deadline=None, max_examples=150)
@given(
    lookups=st.lists(st.lists(_addresses, max_size=4), min_size=1, max_size=3),
    networks=_networks,
    host=st.one_of(st.just("localhost"), st.just("name.test"), _addresses),
)
def test_whatever_is_looked_up_no_connection_leaves_the_machine(
    lookups: list[list[str]], networks: tuple[str, ...], host: str
) -> None:
    literal = f"[{host}]" if ":" in host else host
    connected, errors = attempts(
        f"http://{literal}/", *lookups, networks=networks, times=3
    )

    assert all(_is_allowed(address, networks) for address in connected)
    assert all(e.fault in {"refused", "unreachable"} for e in errors)


def test_an_open_client_is_not_held_back() -> None:
    async def run() -> list[str]:
        net, pool = Net(["8.8.8.8"]), HttpPool()
        await send(pool, "http://far.test/", local=False)
        await pool.aclose()
        return net.connected

    assert asyncio.run(run()) == ["8.8.8.8"]


@pytest.fixture(params=["openai", "anthropic", "ollama"])
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.mark.parametrize("streaming", [True, False])
async def test_local_work_is_refused_at_a_cloud_endpoint(
    plain_wire: Any, kind: str, *, streaming: bool
) -> None:
    net = Net(["104.18.6.192"])
    provider = plain_wire.provider(kind, base_url="https://cloud.test/v1")
    attempt = plain_wire.attempt(kind, streaming=streaming)
    error, chunks = await plain_wire.error(provider, replace(attempt, local_only=True))

    assert type(error) is EgressRefusedError
    assert error.address == "104.18.6.192:443"
    assert "privacy.local_networks" in error.remedy
    assert (net.connected, chunks) == ([], [])
    assert error.__context__ is None


async def test_a_local_endpoint_whose_name_leads_elsewhere_is_refused(
    plain_wire: Any, kind: str
) -> None:
    net = Net(["192.168.7.7"])
    provider = plain_wire.provider(
        kind, base_url="http://localhost:9", is_local=True, api_key_env=None
    )
    error, _ = await plain_wire.error(provider, plain_wire.attempt(kind))

    assert type(error) is EgressRefusedError
    assert "192.168.7.7:9" in str(error)
    assert net.connected == []
    assert (await provider.check()).status == "error"
    assert net.connected == []


async def test_other_work_at_a_cloud_endpoint_goes_its_way(
    plain_wire: Any, kind: str
) -> None:
    net = Net(["104.18.6.192"])
    provider = plain_wire.provider(kind, base_url="http://cloud.test/v1")
    await plain_wire.error(provider, plain_wire.attempt(kind))

    assert net.connected == ["104.18.6.192"]


async def test_local_work_asks_no_cloud_model_of_ollama_wherever_it_stands(
    plain_wire: Any,
) -> None:
    net = Net(["127.0.0.1"])
    provider = plain_wire.provider("ollama", base_url="http://cloud.test")
    attempt = plain_wire.attempt("ollama", model="gpt-oss:120b-cloud")
    error, _ = await plain_wire.error(provider, replace(attempt, local_only=True))

    assert type(error) is RemoteModelError
    assert net.connected == []


async def test_a_redirect_leads_local_work_nowhere(wire: Any, kind: str) -> None:
    wire.says(b"", status=307, headers={"location": "http://8.8.8.8/"})
    base_url = f"http://127.0.0.1:{wire.port}"
    provider = wire.provider(kind, base_url=base_url, is_local=True)
    with suppress(RemoteModelError):
        await wire.error(provider, wire.attempt(kind))

    assert len(wire.requests) == 1
