"""Says whether a model fits on the card before it is loaded: arithmetic on its file.

The rule of this part: what is not known never fits. The figures are estimates, meant
to be a little too high, until a model was loaded once and measured.
"""

from model_manager.gpu.vram._card import CardMemory
from model_manager.gpu.vram._files import shape_from_gguf
from model_manager.gpu.vram._fit import fit
from model_manager.gpu.vram._measured import Measured, measured_from_ps
from model_manager.gpu.vram._result import Fit, FitState, Quantization
from model_manager.gpu.vram._shape import ModelShape, StateSpace
from model_manager.gpu.vram._show import shape_from_show
from model_manager.gpu.vram._store import models_in_store, shape_from_store

__all__ = [
    "CardMemory",
    "Fit",
    "FitState",
    "Measured",
    "ModelShape",
    "Quantization",
    "StateSpace",
    "fit",
    "measured_from_ps",
    "models_in_store",
    "shape_from_gguf",
    "shape_from_show",
    "shape_from_store",
]
