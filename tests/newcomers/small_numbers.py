"""A newcomer's checker: one file, one class."""

import splitbrain


class SmallNumbers(splitbrain.Checker):
    """No read returns more than 100."""

    name = "small-numbers"

    def check(self, recording: splitbrain.Recording) -> splitbrain.Verdict:
        """Every acknowledged read of a larger number is unexpected."""
        wrong = [one for one in recording.history if one.f == "read" and one.outcome == "ok" and (one.value or 0) > 100]
        return splitbrain.Verdict(
            checker=self.name,
            validity="invalid" if wrong else "valid",
            reason=f"{len(wrong)} reads returned more than 100",
            anomalies=tuple(
                splitbrain.Anomaly(
                    identifier="unexpected", sentence=f"{one.value} was read", key=one.key, operations=(one,)
                )
                for one in wrong[:3]
            ),
            counts={"unexpected": len(wrong)} if wrong else {},
        )
