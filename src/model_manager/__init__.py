"""One call from an agent's name to an answer.

```python
from model_manager import ModelManager

async with ModelManager("models_config.json") as manager:
    response = await manager.generate("my_agent", "Hello")
```

Local models first, cloud fallback, every token and dollar accounted for. Importing
this package loads no vendor SDK and no HTTP library.
"""

from typing import TYPE_CHECKING

from model_manager._agent import AgentHandle
from model_manager._manager import ModelManager
from model_manager._stream import Stream
from model_manager.errors import (
    AllCandidatesFailedError,
    BudgetExceededError,
    CallTimeoutError,
    ConfigError,
    InvalidRequestError,
    LocalOnlyUnavailableError,
    ModelManagerError,
    NoCandidateError,
    OutputInvalidError,
    ProviderError,
    StreamBrokenError,
    UnknownAgentError,
)
from model_manager.types import (
    Completed,
    Embeddings,
    Image,
    Message,
    Response,
    Route,
    StreamReset,
    TextDelta,
    ThinkingDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)

if TYPE_CHECKING:
    from model_manager.config import Config

__all__ = [
    "AgentHandle",
    "AllCandidatesFailedError",
    "BudgetExceededError",
    "CallTimeoutError",
    "Completed",
    "Config",
    "ConfigError",
    "Embeddings",
    "Image",
    "InvalidRequestError",
    "LocalOnlyUnavailableError",
    "Message",
    "ModelManager",
    "ModelManagerError",
    "NoCandidateError",
    "OutputInvalidError",
    "ProviderError",
    "Response",
    "Route",
    "Stream",
    "StreamBrokenError",
    "StreamReset",
    "TextDelta",
    "ThinkingDelta",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolResult",
    "UnknownAgentError",
    "Usage",
]


def __getattr__(name: str) -> object:
    """Load `Config` when it is asked for: pydantic need not slow every import."""
    if name == "Config":
        from model_manager.config import Config  # noqa: PLC0415 - see above

        return Config
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
