"""Values that are nobody's business: `Secret` parameters, the keys that seal them, and what is cut out of texts.

from offpath.privacy import Secret

@jobs.task
async def charge(card: Secret[str]) -> None:
    await bank.charge(card.reveal())

await charge.enqueue(card="4242 4242 4242 4242")
"""

from __future__ import annotations

from .known import LogFilter, scrub
from .secret import Secret
from .vault import Vault

__all__ = ["LogFilter", "Secret", "Vault", "scrub"]
