"""What offpath says about itself: a contract. Changing or removing a row of `SIGNALS` or of `METRICS` is a breaking
change.

`signals.py` has the lines of the log, `metrics.py` the figures, `meters.py` counts them in this process, and
`pulse.py` tells how its workers are.
"""

from .metrics import METRICS, Metric
from .signals import SIGNALS, Sign, heard, signal

__all__ = ["METRICS", "SIGNALS", "Metric", "Sign", "heard", "signal"]
