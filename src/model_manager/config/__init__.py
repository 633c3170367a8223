"""What the users write down; the only room that reads files or the environment."""

from model_manager.config._accounts import Budget, LedgerSettings
from model_manager.config._cards import CardSettings, GpuSettings, KvCacheType
from model_manager.config._catalog import Endpoint, ModelRef, is_cloud_name
from model_manager.config._closest import closest
from model_manager.config._config import Config
from model_manager.config._keys import read_keys
from model_manager.config._ledger_place import LedgerPlace, ledger_place
from model_manager.config._load import config_path, load_config
from model_manager.config._problems import Problem
from model_manager.config._read import find_file
from model_manager.config._reference import (
    config_schema,
    render_reference,
    schema_text,
)
from model_manager.config._schema import (
    AgentModels,
    Capabilities,
    ModelSettings,
    PriceOverride,
    ProviderSettings,
)
from model_manager.config._secrets import looks_secret
from model_manager.config._settings import (
    Breaker,
    Hedging,
    Limits,
    PerformanceThresholds,
    PrivacySettings,
    Retry,
    TaskRule,
    Timeouts,
)

__all__ = [
    "AgentModels",
    "Breaker",
    "Budget",
    "Capabilities",
    "CardSettings",
    "Config",
    "Endpoint",
    "GpuSettings",
    "Hedging",
    "KvCacheType",
    "LedgerPlace",
    "LedgerSettings",
    "Limits",
    "ModelRef",
    "ModelSettings",
    "PerformanceThresholds",
    "PriceOverride",
    "PrivacySettings",
    "Problem",
    "ProviderSettings",
    "Retry",
    "TaskRule",
    "Timeouts",
    "closest",
    "config_path",
    "config_schema",
    "find_file",
    "is_cloud_name",
    "ledger_place",
    "load_config",
    "looks_secret",
    "read_keys",
    "render_reference",
    "schema_text",
]
