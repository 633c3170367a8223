from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_manager.providers import _sse
from model_manager.providers._sse import SseOverflowError, SseParser

_STREAM = (
    ": hello\r\n\r\n"
    'event: one\ndata: {"a": 1}\n\n'
    "data:no space\r\rdata: two\r\ndata: lines\r\n\r\n"
    "id: 7\nretry: 10\n\n"
    "data: Grüße, 世界 🙂\n\n"
    "data: \n\n"
    "data: last\n\n"
).encode()
_EVENTS = [
    b'{"a": 1}',
    b"no space",
    b"two\nlines",
    "Grüße, 世界 🙂".encode(),
    b"",
    b"last",
]


def _parse(pieces: list[bytes]) -> list[bytes]:
    parser = SseParser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    rest = parser.finish()
    return events if rest is None else [*events, rest]


@given(st.lists(st.integers(0, len(_STREAM)), max_size=40))
def test_any_cut_of_the_bytes_gives_the_same_events(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(_STREAM)]
    pieces = [_STREAM[a:b] for a, b in pairwise(edges)]
    assert _parse(pieces) == _EVENTS


def test_one_byte_at_a_time_gives_the_same_events() -> None:
    assert _parse([bytes([byte]) for byte in _STREAM]) == _EVENTS


_LINES = st.text(
    st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1, max_size=20
)


@given(
    st.lists(st.lists(_LINES, min_size=1, max_size=3), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 400), max_size=10),
)
def test_what_is_written_as_events_is_read_back(
    events: list[list[str]], end: str, cuts: list[int]
) -> None:
    stream = "".join(
        "".join(f"data: {line}{end}" for line in lines) + end for lines in events
    ).encode()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    assert _parse(pieces) == ["\n".join(lines).encode() for lines in events]


def test_a_byte_order_mark_is_no_part_of_the_first_event() -> None:
    assert _parse([b"\xef\xbb", b"\xbfdata: a\n\n"]) == [b"a"]


def test_an_event_without_its_blank_line_is_kept_at_the_end() -> None:
    assert _parse([b"data: a\n\ndata: b"]) == [b"a", b"b"]
    assert _parse([b"data: a\n\ndata: b\n"]) == [b"a", b"b"]


def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sse, "_LIMIT", 100)
    for piece in (b"data: no end in sight", b"data: no end in sight\n"):
        with pytest.raises(SseOverflowError):
            _parse([piece] * 20)
