"""Sessions: what a client may rely on who stays with his own session, weaker than linearizability: the four session guarantees
(Terry et al., "Session guarantees for weakly consistent replicated data", PDIS 1994), causal and sequential consistency."""

from __future__ import annotations

from splitbrain.checkers.sessions.checker import Sessions
from splitbrain.checkers.sessions.guarantees import GUARANTEES, MODELS, Model, models_of

__all__ = ["GUARANTEES", "MODELS", "Model", "Sessions", "models_of"]
