"""The names of what sessions are promised."""

from __future__ import annotations

from typing import Literal

Guarantee = Literal["read-your-writes", "monotonic-reads", "monotonic-writes", "writes-follow-reads"]
Model = Literal[
    "sequential", "causal", "read-your-writes", "monotonic-reads", "monotonic-writes", "writes-follow-reads",
]

GUARANTEES: tuple[Guarantee, ...] = ("read-your-writes", "monotonic-reads", "monotonic-writes", "writes-follow-reads")
MODELS: tuple[Model, ...] = ("sequential", "causal", *GUARANTEES)
"""The strongest first; causal implies all four guarantees."""

_ALIASES: dict[str, Model] = {
    "causal-consistency": "causal", "sequential-consistency": "sequential", "ryw": "read-your-writes", "mr": "monotonic-reads",
    "mw": "monotonic-writes", "wfr": "writes-follow-reads",
}


def models_of(names: str) -> tuple[Model, ...] | None:
    """The models that `--model` names, several with commas between them; None where one of them is no model of sessions."""
    known: dict[str, Model] = {model: model for model in MODELS} | _ALIASES
    found = [known.get(name.strip()) for name in names.split(",") if name.strip()]
    models = tuple(dict.fromkeys(model for model in found if model is not None))
    return models if models and None not in found else None
