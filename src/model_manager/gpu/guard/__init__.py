"""Says whether the card that would work is the one that may.

The rule of this folder: a rule is a small pure function from what was seen to one
`Check`, and what could not be seen is never taken for good.
"""

from model_manager.gpu.guard._check import check_gpu, validate_rtx3090_mandatory

__all__ = ["check_gpu", "validate_rtx3090_mandatory"]
