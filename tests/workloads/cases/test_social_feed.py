"""What users of a feed do, and that a right one is not accused."""

from __future__ import annotations

import random
from collections import Counter

from splitbrain.harness.history.history import History
from splitbrain.harness.history.recording import Phase, Recording
from splitbrain.harness.plan import Plan
from splitbrain.workloads.cases.social_feed import FULL, NOBODY, SocialFeed
from tests.workloads.cases.right import used


def test_a_right_feed_is_not_accused_and_every_feature_is_used() -> None:
    workload = SocialFeed(Plan(database="d", variant="v", nodes=3, concurrency=3, keys=4), SocialFeed.needs)
    done = used(workload, 6000)
    end = (Phase("final-reads", 10 * 6000, 10 * len(done)),)
    verdict = workload.checkers()[0].check(Recording(history=History.of(done), nodes=(), phases=end))
    assert verdict.validity == "valid", verdict.reason
    calls = Counter(one.f for one in done)
    assert set(calls) == {"post", "reply", "delete", "block", "view", "rename", "look", "like", "likes"}
    assert min(calls.values()) > 50
    given = Counter(one.key for one in done if one.f == "like")
    assert max(given.values()) <= FULL and all(one.value == given[one.key] for one in done[-len(given):])
    elements = Counter(one.key for one in done if one.f in ("post", "reply"))
    assert max(elements.values()) <= FULL and len(elements) > 4
    assert {one.kind for one in done if one.process in (0, 3, 6)} == {"read"}
    assert all(one.key == f"profile-{one.process}" for one in done if one.f == "rename")
    shown = {element for one in done if one.f == "view" for element in one.value[1:]}
    assert {one.value for one in done if one.f == "delete"} <= shown
    assert any(one.value[0] != NOBODY and not one.value[1:] and elements[one.key] > 10 for one in done if one.f == "view")
    rng = random.Random(1)
    assert {workload.next(rng, 1, "read").kind for _ in range(9)} == {"read"}
    assert {workload.next(rng, 1, "write").kind for _ in range(9)} == {"write"}
