"""Says which scripts break the standards of the cards, and mends what it can.

The rule of this folder: a script is read and never run, and what reading cannot tell is
a finding, never a pass.
"""

from model_manager.gpu.standards._check import check_scripts, fix_scripts
from model_manager.gpu.standards._findings import Edit, Finding, StandardsReport
from model_manager.gpu.standards._rules import StandardsRule, standards_rules
from model_manager.gpu.standards._sarif import sarif_of
from model_manager.gpu.standards._template import gpu_template

__all__ = [
    "Edit",
    "Finding",
    "StandardsReport",
    "StandardsRule",
    "check_scripts",
    "fix_scripts",
    "gpu_template",
    "sarif_of",
    "standards_rules",
]
