"""What a run was made from, beyond the commit and the words of its command."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from kedro.config import AbstractConfigLoader, OmegaConfigLoader


def written_in_base(config: AbstractConfigLoader) -> dict[str, Any]:
    """The parameters of conf/base alone, whatever the environment and the command line say."""
    written: dict[str, Any] = conf_base(config)["parameters"]
    return written


def conf_base(config: AbstractConfigLoader) -> OmegaConfigLoader:
    """The configuration of conf/base alone."""
    return OmegaConfigLoader(
        config.conf_source, env="base", base_env="base", default_run_env="base"
    )


def not_committed(
    config: AbstractConfigLoader,
    project: Path,
    environment: str,
    run_params: Mapping[str, Any],
    datasets: Collection[str],
) -> dict[str, Any]:
    """Parameters of these data sets as if conf/local had been typed, which git does not know; and
    where the configuration lies, if elsewhere.
    """
    found: dict[str, Any] = {}
    source = Path(config.conf_source)
    if (project / source).resolve() != (project / "conf").resolve():
        found["conf_source"] = str(source)
    local = environment in ("base", "local") and run_params.get("env") != "base"
    if local and any((project / source / "local").rglob("parameters*")):
        differ = _differences(config["parameters"], written_in_base(config))
        found["runtime_params"] = _merged(
            {name: each for name, each in differ.items() if name in datasets},
            run_params.get("runtime_params") or {},
        )
    return found


def _differences(ours: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """What is otherwise in the first one, with the keys that lead to it."""
    found: dict[str, Any] = {}
    for key, value in ours.items():
        other = others.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            inner = _differences(value, other)
            if inner:
                found[key] = inner
        elif key not in others or value != other:
            found[key] = value
    return found


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both, the second one where they disagree."""
    merged = dict(first)
    for key, value in second.items():
        inner = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        merged[key] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return merged


def outside_of_dvc(project: Path) -> Path:
    """The project that an experiment of DVC runs in a copy of, which DVC removes at its end."""
    for folder in project.parents:
        if (folder / ".dvc" / "tmp" / "exps") in project.parents:
            return folder
    return project


def data_name(dataset: str, card: dict[str, Any]) -> str:
    """The dataset, with the model it was rendered from if there is one."""
    model = card.get("source", {}).get("model")
    return f"{dataset} ({model})" if model else dataset


def data_tags(dataset: str, card: dict[str, Any]) -> dict[str, str]:
    """What a run was made from; of a part of a data set, how large a part."""
    tags = {
        "data": data_name(dataset, card),
        "data_sha256": card["splits"]["train"]["sha256"],
    }
    if "partial" in card:
        tags["partial"] = f"{card['partial']['images']} of {card['partial']['of']}"
    return tags
