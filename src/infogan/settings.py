"""Kedro's settings of this project."""

from infogan.guards import Guards
from infogan.hooks import Tracking

_TRACKING = Tracking()
HOOKS = (Guards(_TRACKING.where), _TRACKING)

# Distribution names, letter for letter. None of them is needed; each would slow every command.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry", "kedro-viz", "kedro_mlflow")

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment repeats only what differs; by default it would replace whole blocks.
    "merge_strategy": {"parameters": "soft", "tracking": "soft", "globals": "soft"},
    "config_patterns": {"tracking": ["tracking*"]},
}
