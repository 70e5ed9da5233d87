"""A template as the installed versions of its classes take it. Pure."""

from __future__ import annotations

import copy

from .engine import Catalog
from .input_specs import specs_of
from .template import Template


def adapted(template: Template, catalog: Catalog) -> Template:
    """The template fitted to what is installed; classes that are not are left alone.

    Inputs that a template calls drifting go where the class has none of that name; required inputs that a newer class
    has and the template has not get the class's own default.
    """
    prompt = copy.deepcopy(template)
    for it in prompt.values():
        info = catalog.get(it["class_type"])
        if info is None:
            continue
        inputs = it["inputs"]
        specs = specs_of(info, inputs)
        for name in it.get("_meta", {}).get("drifting", ()):
            if name not in specs:
                inputs.pop(name, None)
        for name, spec in specs.items():
            if spec.required and name not in inputs and "default" in spec.options:
                inputs[name] = spec.options["default"]
    return prompt


def choices(catalog: Catalog, class_type: str, name: str) -> tuple[str, ...]:
    """What a choice of a class can be set to; empty when it is none, or not told."""
    spec = specs_of(catalog.get(class_type), {}).get(name)
    return tuple(choice for choice in (spec.choices if spec else None) or () if isinstance(choice, str))
