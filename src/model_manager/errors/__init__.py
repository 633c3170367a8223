"""Every error of the library.

The rule of this room: one class a cause, and no message without what to do.

```
ModelManagerError
├── ConfigError                    the configuration is wrong; holds every problem
├── UnknownAgentError              no such agent, and no `defaults`
├── InvalidRequestError            the call itself is wrong; nothing was sent
├── MissingDependencyError         an optional package is not installed
├── NoCandidateError               the route is empty; holds the route
│   ├── LocalOnlyUnavailableError  ... because the work may not leave the machine
│   └── BudgetExceededError        ... because budgets are used up
├── AllCandidatesFailedError       every candidate failed; holds every attempt
├── CallTimeoutError               the deadline of the whole call passed
├── StreamBrokenError              a stream broke after its first piece was handed out
├── LedgerError                    the ledger cannot be written or read
├── GpuError                       the graphics card may not be used
│   ├── CudaEnvironmentError       a variable that CUDA reads is missing or wrong
│   │   ├── DeviceOrderError       CUDA_DEVICE_ORDER
│   │   ├── VisibleDevicesError    CUDA_VISIBLE_DEVICES does not name one card
│   │   ├── AllocatorSettingsError PYTORCH_CUDA_ALLOC_CONF
│   │   └── CudaInitializedError   CUDA runs already: variables come too late
│   ├── NvmlError                  nobody can tell what cards there are
│   │   ├── NvmlLibraryMissingError  no driver, or a container without it
│   │   ├── DriverNotLoadedError   the driver's kernel part is not loaded
│   │   ├── DriverMismatchError    library and driver differ: restart the machine
│   │   ├── NvmlPermissionError    this user may not ask
│   │   ├── NvmlTimeoutError       no answer
│   │   └── GpuLostError           a card fell off the bus, or must be reset
│   ├── DriverTooOldError          the driver, or its CUDA
│   ├── RequiredGpuMissingError    the card that the policy names is not there
│   ├── AmbiguousGpuError          several fit, and nothing says which is meant
│   ├── WrongGpuError              CUDA would use another card, or several
│   ├── CudaUnavailableError       CUDA itself finds no card
│   ├── TorchUnsuitableError       PyTorch is too old, or was built without CUDA
│   ├── GpuUnhealthyError          too hot, held back, or with failing memory
│   ├── GpuNotCheckedError         a rule that must hold could not be checked
│   └── OllamaLaunchError          a server cannot be started, or does not answer
└── ProviderError                  one attempt failed
    ├── ConnectionFailedError      no connection, or reset before any byte
    ├── ProviderTimeoutError       no answer, or no first piece, in time
    ├── ServerError                500 to 504, 408, 409, or the like in a stream
    │   └── OverloadedError        503, 529: busy
    ├── RateLimitError             429
    ├── QuotaExhaustedError        money or quota is used up: waiting does not help
    ├── AuthenticationError        401, 403: the key is wrong or may not do this
    ├── ModelNotFoundError         404: no such model there
    ├── LocalResourceError         a local server ran out of memory or cannot load
    ├── RemoteModelError           a "local" model that would leave the machine
    ├── EgressRefusedError         an address off the machine, for work that must stay
    ├── UnavailableError           nothing was sent: it rests, is at a limit or budget
    ├── ContextWindowError         the prompt is longer than the model takes
    ├── ContentFilterError         refused for its content
    ├── BadRequestError            the provider says that the request is malformed
    │   └── UnsupportedFeatureError  this model or provider cannot do what was asked
    ├── MalformedResponseError     an answer that is empty or cannot be read
    │   └── OutputInvalidError     an answer that does not have the asked structure
    └── StreamInterruptedError     cut or stalled after its first piece
```

Messages never hold a key, a prompt or an answer, and end with what to do.
"""

from model_manager.errors._calls import (
    AllCandidatesFailedError,
    BudgetExceededError,
    CallTimeoutError,
    ConfigError,
    InvalidRequestError,
    LedgerError,
    LocalOnlyUnavailableError,
    MissingDependencyError,
    NoCandidateError,
    StreamBrokenError,
    UnknownAgentError,
)
from model_manager.errors._gpu import (
    AllocatorSettingsError,
    AmbiguousGpuError,
    CudaEnvironmentError,
    CudaInitializedError,
    CudaUnavailableError,
    DeviceOrderError,
    DriverMismatchError,
    DriverNotLoadedError,
    DriverTooOldError,
    GpuError,
    GpuLostError,
    GpuNotCheckedError,
    GpuUnhealthyError,
    NvmlError,
    NvmlLibraryMissingError,
    NvmlPermissionError,
    NvmlTimeoutError,
    OllamaLaunchError,
    RequiredGpuMissingError,
    TorchUnsuitableError,
    VisibleDevicesError,
    WrongGpuError,
)
from model_manager.errors._providers import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    ContentFilterError,
    ContextWindowError,
    EgressRefusedError,
    LocalResourceError,
    MalformedResponseError,
    ModelNotFoundError,
    OutputInvalidError,
    OverloadedError,
    ProviderError,
    ProviderTimeoutError,
    QuotaExhaustedError,
    RateLimitError,
    RemoteModelError,
    ServerError,
    StreamInterruptedError,
    UnavailableError,
    UnsupportedFeatureError,
)
from model_manager.errors._root import (
    ModelManagerError,
)

__all__ = [
    "AllCandidatesFailedError",
    "AllocatorSettingsError",
    "AmbiguousGpuError",
    "AuthenticationError",
    "BadRequestError",
    "BudgetExceededError",
    "CallTimeoutError",
    "ConfigError",
    "ConnectionFailedError",
    "ContentFilterError",
    "ContextWindowError",
    "CudaEnvironmentError",
    "CudaInitializedError",
    "CudaUnavailableError",
    "DeviceOrderError",
    "DriverMismatchError",
    "DriverNotLoadedError",
    "DriverTooOldError",
    "EgressRefusedError",
    "GpuError",
    "GpuLostError",
    "GpuNotCheckedError",
    "GpuUnhealthyError",
    "InvalidRequestError",
    "LedgerError",
    "LocalOnlyUnavailableError",
    "LocalResourceError",
    "MalformedResponseError",
    "MissingDependencyError",
    "ModelManagerError",
    "ModelNotFoundError",
    "NoCandidateError",
    "NvmlError",
    "NvmlLibraryMissingError",
    "NvmlPermissionError",
    "NvmlTimeoutError",
    "OllamaLaunchError",
    "OutputInvalidError",
    "OverloadedError",
    "ProviderError",
    "ProviderTimeoutError",
    "QuotaExhaustedError",
    "RateLimitError",
    "RemoteModelError",
    "RequiredGpuMissingError",
    "ServerError",
    "StreamBrokenError",
    "StreamInterruptedError",
    "TorchUnsuitableError",
    "UnavailableError",
    "UnknownAgentError",
    "UnsupportedFeatureError",
    "VisibleDevicesError",
    "WrongGpuError",
]
