"""Doubles for tests, ours and yours: servers, faults, a provider, a clock, cards.

The rule of this room: it fakes the wire, the time and the cards, never the library. The
servers speak the real protocols over real sockets on this machine; what they answer is
simulated and says so.

Importing this door loads no HTTP library; the servers load `aiohttp` when they start.
The suite that every provider passes is `model_manager.testing.provider_contract`.
"""

from model_manager.testing._clock import FakeClock
from model_manager.testing._faults import (
    Answer,
    BadChunk,
    CutStream,
    EmptyAnswer,
    EndEarly,
    Fault,
    HttpFault,
    InStreamError,
    InvalidJson,
    NoEndMark,
    Outcome,
    Redirect,
    Reset,
    Silence,
    SlowFirstToken,
    StallStream,
)
from model_manager.testing._gpu import (
    FakeCuda,
    FakeNvml,
    FakeProcesses,
    FakeSystem,
    h200,
    rtx_3090,
    rtx_3090_ti,
    rtx_4090,
    rtx_5060_ti,
)
from model_manager.testing._network import RealNetworkError
from model_manager.testing._proxy import (
    AnswerWith,
    BlackHole,
    CutAfter,
    FaultyProxy,
    HalfCloseAfter,
    InsertAt,
    PassOn,
    Refuse,
    ResetAfter,
    Spoil,
)
from model_manager.testing._scripted import (
    Pause,
    ScriptedOutcome,
    ScriptedProvider,
    said,
)
from model_manager.testing._server import LoopbackServer, RecordedRequest
from model_manager.testing._servers import (
    AnthropicServer,
    OllamaServer,
    OpenAIServer,
)

__all__ = [
    "Answer",
    "AnswerWith",
    "AnthropicServer",
    "BadChunk",
    "BlackHole",
    "CutAfter",
    "CutStream",
    "EmptyAnswer",
    "EndEarly",
    "FakeClock",
    "FakeCuda",
    "FakeNvml",
    "FakeProcesses",
    "FakeSystem",
    "Fault",
    "FaultyProxy",
    "HalfCloseAfter",
    "HttpFault",
    "InStreamError",
    "InsertAt",
    "InvalidJson",
    "LoopbackServer",
    "NoEndMark",
    "OllamaServer",
    "OpenAIServer",
    "Outcome",
    "PassOn",
    "Pause",
    "RealNetworkError",
    "RecordedRequest",
    "Redirect",
    "Refuse",
    "Reset",
    "ResetAfter",
    "ScriptedOutcome",
    "ScriptedProvider",
    "Silence",
    "SlowFirstToken",
    "Spoil",
    "StallStream",
    "h200",
    "rtx_3090",
    "rtx_3090_ti",
    "rtx_4090",
    "rtx_5060_ti",
    "said",
]
