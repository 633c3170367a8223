"""The suite that every provider passes; subclass it to test one of your own.

```python
import pytest

from model_manager.testing import OpenAIServer
from model_manager.testing.provider_contract import ProviderCase, ProviderContract


class TestMyProvider(ProviderContract):
    @pytest.fixture
    async def provider_case(self):
        async with OpenAIServer() as server:
            provider = MyProvider(server.base_url)
            yield ProviderCase(
                provider=provider,
                endpoint="mine",
                kind="mine",
                server=server,
                abilities=frozenset({"tools"}),
            )
            await provider.aclose()
```

Runs with pytest-asyncio. A provider that speaks none of the three protocols gives no
server, and is then tested for the form of its answers only.
"""

from __future__ import annotations

import pytest

from model_manager.testing._contract_answers import AnswerContract
from model_manager.testing._contract_case import ProviderCase
from model_manager.testing._contract_connections import ConnectionContract
from model_manager.testing._contract_faults import FaultContract

__all__ = ["ProviderCase", "ProviderContract"]


@pytest.mark.asyncio
class ProviderContract(AnswerContract, FaultContract, ConnectionContract):
    """Everything that is asked of a provider; needs a fixture `provider_case`."""
