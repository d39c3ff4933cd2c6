"""Typed, frozen configuration: schema, recipes in YAML, overrides from the command line.

One :class:`Config` subclass for each stage is the schema. :func:`load_config` lays three things over its
defaults, later ones winning: a recipe, keyword values, and overrides such as ``train.steps=200``. Whatever
cannot be meant is refused with a :class:`~nolabel.errors.ConfigError` that names the nearest right key.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from nolabel.errors import ConfigError
from nolabel.recipes import recipe_names, recipe_path

__all__ = ["Config", "dump_config", "load_config", "parse_override", "read_recipe"]

ConfigType = TypeVar("ConfigType", bound="Config")


class Config(pydantic.BaseModel):
    """Base of every stage's settings: immutable, and unknown keys are errors."""

    model_config = pydantic.ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the settings as canonical JSON: equal settings, equal fingerprint."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def replaced(self: ConfigType, **values: Any) -> ConfigType:
        """Return a validated copy with some top-level fields replaced."""
        return load_config(type(self), **{**self.model_dump(), **values})


def load_config(
    cls: type[ConfigType],
    recipe: str | Path | None = None,
    overrides: Sequence[str] | None = None,
    *,
    section: str | None = None,
    **values: Any,
) -> ConfigType:
    """Build settings from defaults, a recipe, keyword values and overrides; later ones win.

    Args:
        cls: the schema.
        recipe: path of a YAML file (it has a suffix: ``my.yaml``), or the name of a packaged recipe (it has
            none: ``cups/tiny``).
        overrides: ``"train.steps=200"`` strings; the value is YAML (``"crop=[512, 1024]"``).
        section: take this top-level section of the recipe (a recipe may hold several stages);
            without a recipe it counts for nothing.
        values: nested values by field name; ``None`` is a value, not "unset".

    Raises:
        ConfigError: for a missing recipe, broken YAML, a wrong key, type or value.
    """
    merged: dict[str, Any] = {}
    source = cls.__name__
    if recipe is not None:
        merged = read_recipe(recipe, section)
        source = str(recipe) if section is None else f"{recipe} [{section}]"
    merged = _merge(merged, values)
    for override in overrides or ():
        path, value = parse_override(override)
        _check_path(cls, path)
        default = cls.model_fields[path[0]].default
        if len(path) > 1 and path[0] not in merged and isinstance(default, Config):
            merged[path[0]] = default.model_dump()  # one key of a group changes: the others stay
        for key in reversed(path):
            value = {key: value}
        merged = _merge(merged, value)
    try:
        return cls.model_validate(merged)
    except pydantic.ValidationError as error:
        raise _explain(cls, error, source) from None


def dump_config(config: Config) -> str:
    """Return the settings as YAML, in field order; :func:`load_config` reads it back to equal settings."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_recipe(recipe: str | Path, section: str | None = None) -> dict[str, Any]:
    """Read a recipe (path or packaged name), or one top-level section of it, as a plain dictionary."""
    path = _locate(recipe)
    content = _read_yaml(path)
    if section is None:
        return content
    if section not in content:
        raise ConfigError(
            f"recipe {recipe} has no section {section!r}",
            hint=_did_you_mean(section, list(content)) or f"its sections are: {', '.join(content) or 'none'}",
        )
    chosen = content[section]
    if chosen is None:
        return {}
    if not isinstance(chosen, dict):
        raise ConfigError(f"section {section!r} of recipe {recipe} is {_type_name(chosen)}, not settings")
    return chosen


def parse_override(override: str) -> tuple[list[str], Any]:
    """Split ``"train.steps=200"`` into ``(["train", "steps"], 200)``; the value is read as YAML.

    Raises:
        ConfigError: if there is no ``=``, no key, or the value is not YAML.
    """
    key, equals, text = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise ConfigError(
            f"cannot read the setting {override!r}", hint="write it as KEY=VALUE: train.steps=200"
        )
    try:
        return path, _number(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ConfigError(
            f"the value of {key.strip()} is not YAML: {text!r}", hint=_first_line(error)
        ) from None


def _locate(recipe: str | Path) -> Path:
    """Find the file of a recipe: a suffix makes it a path, none makes it a packaged name. Never both."""
    if isinstance(recipe, Path) or Path(recipe).suffix in {".yaml", ".yml"}:
        path = Path(recipe)
        if not path.is_file():
            raise ConfigError(
                f"there is no recipe file {path}",
                hint="a packaged recipe is named without .yaml: " + ", ".join(recipe_names()),
            )
        return path
    names = recipe_names()
    if recipe not in names:
        hint = _did_you_mean(recipe, names) or f"packaged recipes: {', '.join(names) or 'none'}"
        raise ConfigError(f"there is no packaged recipe {recipe!r}", hint=f"{hint}; a file needs its .yaml")
    return recipe_path(recipe)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigError(f"{place}: {error.problem or 'not YAML'}", hint="correct the YAML there") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {_first_line(error)}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {_type_name(content)}, not settings", hint="write KEY: VALUE lines")
    result = _number(content)
    assert isinstance(result, dict)
    return result


class _UniqueKeys(yaml.SafeLoader):
    """The safe loader, but a key given twice is an error: YAML would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            if key is not None:
                seen.add(key)
        return super().construct_mapping(node, deep)


def _number(value: Any) -> Any:
    """Turn ``1e-4`` into a number: YAML 1.1 reads a float without a dot as text."""
    if isinstance(value, dict):
        return {key: _number(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_number(item) for item in value]
    if isinstance(value, str) and value[:1] in "+-.0123456789" and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``over`` on ``base``: dictionaries are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, Config):
            value = value.model_dump()
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


# --- explaining what is wrong -----------------------------------------------------------------------------


def _check_path(cls: type[Config], path: Sequence[str]) -> None:
    """Refuse an override whose dotted path is no setting, before it can shadow a value on its way."""
    models: list[type[Config]] = [cls]
    for depth, key in enumerate(path):
        fields = [model.model_fields[key] for model in models if key in model.model_fields]
        if not fields:
            raise _unknown_key(cls, ".".join(path[: depth + 1]), cls.__name__)
        models = [model for field in fields for model in _models_in(field.annotation)]
        if not models:  # a leaf, or a free dictionary whose keys are the user's
            if depth + 1 < len(path) and not _is_mapping(fields[0].annotation):
                name = ".".join(path[: depth + 1])
                raise ConfigError(
                    f"{'.'.join(path)} is not a setting of {cls.__name__}: {name} has no settings below it"
                )
            return


def _explain(cls: type[Config], error: pydantic.ValidationError, source: str) -> ConfigError:
    """Turn pydantic's report into one error that names every wrong setting by its dotted path."""
    problems = error.errors(include_url=False, include_context=False)
    messages, hints = [], []
    for problem in problems:
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            unknown = _unknown_key(cls, _field_path(cls, problem["loc"]), source)
            messages.append(unknown.message)
            if unknown.hint:
                hints.append(unknown.hint)
        elif problem["type"] == "missing":
            messages.append(f"{name} is needed by {cls.__name__} and not given")
        elif not name:  # a rule over several fields
            messages.append(f"{source}: {_plain(problem['msg'])}")
        else:
            given = problem.get("input")
            messages.append(f"{name} cannot be {_shown(given)}: {_plain(problem['msg'])}")
    hints = list(dict.fromkeys(hints))
    return ConfigError("; ".join(messages), hint="; ".join(hints) or None)


def _unknown_key(cls: type[Config], name: str, source: str) -> ConfigError:
    """Make the error for a key that is no setting, with the nearest full dotted path."""
    candidates = _setting_paths(cls)
    hint = _did_you_mean(name, candidates)
    if hint is None:
        # The last word alone, for a setting written at the wrong depth: ``steps`` for ``train.steps``.
        leaf = name.rsplit(".", 1)[-1]
        deep = [path for path in candidates if path.rsplit(".", 1)[-1] == leaf]
        parent = name.rpartition(".")[0]
        here = [p for p in candidates if p.rpartition(".")[0] == parent]
        hint = f"did you mean {deep[0]}?" if deep else f"its settings are: {', '.join(here or candidates)}"
    return ConfigError(f"{name} is not a setting of {source}", hint=hint)


def _setting_paths(cls: type[Config], prefix: str = "") -> list[str]:
    paths: list[str] = []
    for name, field in cls.model_fields.items():
        paths.append(prefix + name)
        for model in _models_in(field.annotation):
            paths.extend(_setting_paths(model, f"{prefix}{name}."))
    return paths


def _field_path(cls: type[Config], location: Sequence[int | str]) -> str:
    """Join an error's location, leaving out the union branches that pydantic names between fields."""
    kept: list[str] = []
    models: list[type[Config]] = [cls]
    for position, part in enumerate(location):
        known = [model.model_fields[str(part)] for model in models if str(part) in model.model_fields]
        if known:
            models = [inner for field in known for inner in _models_in(field.annotation)]
        elif position + 1 < len(location) and any(model.__name__ == part for model in models):
            continue
        kept.append(str(part))
    return ".".join(kept)


def _models_in(annotation: Any) -> list[type[Config]]:
    """Return the Config classes an annotation speaks of: itself, or those of its union."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        return [model for arg in typing.get_args(annotation) for model in _models_in(arg)]
    return []


def _is_mapping(annotation: Any) -> bool:
    origins = [annotation, typing.get_origin(annotation)]
    origins += [typing.get_origin(arg) for arg in typing.get_args(annotation)]
    return any(isinstance(origin, type) and issubclass(origin, Mapping) for origin in origins)


def _did_you_mean(word: str, candidates: Sequence[str]) -> str | None:
    near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else None


def _plain(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message[:1].lower() + message[1:]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _type_name(value: Any) -> str:
    names = {list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false"}
    return names.get(type(value), type(value).__name__)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
