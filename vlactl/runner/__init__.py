"""Running a plan.

``loop`` says what happens when, ``frontier`` which stages can start, ``attempts`` is one try at one (its work folder,
heartbeat and history), ``retries`` what is tried again, ``terms`` the settings and the result.
"""

from vlactl.runner.loop import Sweep, run
from vlactl.runner.terms import Failure, RunResult, RunSettings

__all__ = ["Failure", "RunResult", "RunSettings", "Sweep", "run"]
