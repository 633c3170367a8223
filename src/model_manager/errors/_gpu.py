"""What is wrong with the graphics cards, one class a cause."""

from __future__ import annotations

from model_manager.errors._root import ModelManagerError


class GpuError(ModelManagerError):
    """Raised when the card may not be used; the subclass says why.

    `rule` names the rule of the guard that was broken, and `verdict` holds the whole
    verdict where there is one.
    """

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        rule: str = "",
        verdict: object = None,
    ) -> None:
        """Keep which rule was broken, and the verdict that says so."""
        super().__init__(message, remedy=remedy)
        self.rule = rule
        """The rule's name in a verdict, e.g. `visible_devices`."""
        self.verdict = verdict
        """The `gpu.Verdict` behind it; `None` where the guard was not asked."""


class CudaEnvironmentError(GpuError):
    """Raised when a variable that CUDA reads is missing or wrong."""


class DeviceOrderError(CudaEnvironmentError):
    """Raised when `CUDA_DEVICE_ORDER` lets CUDA number the cards by its own taste."""


class VisibleDevicesError(CudaEnvironmentError):
    """Raised when `CUDA_VISIBLE_DEVICES` does not name exactly one card."""


class AllocatorSettingsError(CudaEnvironmentError):
    """Raised when the settings of PyTorch's allocator are missing or wrong."""


class CudaInitializedError(CudaEnvironmentError):
    """Raised when CUDA runs in this process already: variables now come too late."""


class NvmlError(GpuError):
    """Raised when NVIDIA's management library cannot tell what cards there are."""


class NvmlLibraryMissingError(NvmlError):
    """Raised when the library is not there: no driver, or a container without it."""


class DriverNotLoadedError(NvmlError):
    """Raised when the library is there, and the driver's kernel part is not loaded."""


class DriverMismatchError(NvmlError):
    """Raised when the library and the loaded driver are of different versions."""


class NvmlPermissionError(NvmlError):
    """Raised when this user may not ask."""


class NvmlTimeoutError(NvmlError):
    """Raised when the library or the driver does not answer."""


class GpuLostError(NvmlError):
    """Raised when a card fell off the bus, or must be reset."""


class DriverTooOldError(GpuError):
    """Raised when the driver, or the CUDA version that it brings, is too old."""


class RequiredGpuMissingError(GpuError):
    """Raised when the machine does not have the card that the policy names."""


class AmbiguousGpuError(GpuError):
    """Raised when several cards fit the policy and nothing says which is meant."""


class WrongGpuError(GpuError):
    """Raised when CUDA would use another card, or more than the one."""


class CudaUnavailableError(GpuError):
    """Raised when CUDA itself finds no card."""


class TorchUnsuitableError(GpuError):
    """Raised when the installed PyTorch is too old, or was built without CUDA."""


class GpuUnhealthyError(GpuError):
    """Raised when the card is too hot, held back, or has memory that fails."""


class GpuNotCheckedError(GpuError):
    """Raised when a rule that must hold could not be checked."""


class OllamaLaunchError(GpuError):
    """Raised when an Ollama server cannot be started, or does not answer."""
