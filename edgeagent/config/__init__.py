# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's configuration: parsed once, frozen, every mistake reported at once.

Sources, later wins: the defaults below, one YAML file, `EDGEAGENT_...` variables. A double underscore in
a variable's name goes one level down: `EDGEAGENT_API__PORT=9000`, `EDGEAGENT_PIPELINES__0__SOURCE__URL=...`;
lists and mappings are written as YAML: `EDGEAGENT_NODE__LABELS='{line: a}'`.
"""

from edgeagent.config.api import ApiConfig, ApiTlsConfig
from edgeagent.config.clear_text import clear_text_secrets, has_readable_password, readable_login
from edgeagent.config.hooks import HookConfig
from edgeagent.config.load import ConfigError, load_config, parse_config
from edgeagent.config.schema import (
    Config,
    ConfigStoreConfig,
    EngineConfig,
    IntentSourceConfig,
    LogConfig,
    ModelStoreConfig,
    NodeConfig,
    PipelineConfig,
    Sink,
    UpdateConfig,
)
from edgeagent.config.source import SourceConfig, default_live
from edgeagent.config.verdict import GatesConfig, ProbationConfig
from edgeagent.util.hosts import is_loopback
from edgeagent.util.secret import read_secret

__all__ = [
    "ApiConfig",
    "ApiTlsConfig",
    "Config",
    "ConfigError",
    "ConfigStoreConfig",
    "EngineConfig",
    "GatesConfig",
    "HookConfig",
    "IntentSourceConfig",
    "LogConfig",
    "ModelStoreConfig",
    "NodeConfig",
    "PipelineConfig",
    "ProbationConfig",
    "Sink",
    "SourceConfig",
    "UpdateConfig",
    "clear_text_secrets",
    "default_live",
    "has_readable_password",
    "is_loopback",
    "load_config",
    "parse_config",
    "read_secret",
    "readable_login",
]
