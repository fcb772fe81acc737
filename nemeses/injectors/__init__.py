"""Injectors: who does a spec, proves it by probes, and undoes it. One class for each kind of spec, in a file that is called as
that of the nemeses which aim it. What only one nemesis does (`Other`) has its injector beside that nemesis."""

from __future__ import annotations

from typing import Any

from splitbrain.harness.history.fault import Cut, Flap, Hush, Impair, Kill, Pause, Retry, Sever, Skew, Spec, Surge
from splitbrain.nemeses.injectors.clocks import SkewInjector
from splitbrain.nemeses.injectors.injector import Injector
from splitbrain.nemeses.injectors.links import ImpairInjector
from splitbrain.nemeses.injectors.load import HushInjector, RetryInjector, SeverInjector, SurgeInjector
from splitbrain.nemeses.injectors.partitions import CutInjector, FlapInjector
from splitbrain.nemeses.injectors.processes import KillInjector, PauseInjector


def injector_of(spec: Spec) -> Injector[Any]:
    """A new injector for a spec of ours. One from elsewhere comes from its nemesis (`Nemesis.injector`)."""
    match spec:
        case Cut():
            return CutInjector()
        case Flap():
            return FlapInjector()
        case Impair():
            return ImpairInjector()
        case Skew():
            return SkewInjector()
        case Surge():
            return SurgeInjector()
        case Hush():
            return HushInjector()
        case Sever():
            return SeverInjector()
        case Retry():
            return RetryInjector()
        case Kill():
            return KillInjector()
        case Pause():
            return PauseInjector()
        case _:
            raise TypeError(f"the nemesis that brings the spec '{spec.name}' brings no injector for it")
