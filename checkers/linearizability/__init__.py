"""Linearizability: whether the operations of a history look as if each had taken effect at one moment within its call."""

from splitbrain.checkers.linearizability.checker import Linearizability
from splitbrain.checkers.linearizability.engine import check
from splitbrain.checkers.linearizability.parts import check_parts

__all__ = ["Linearizability", "check", "check_parts"]
