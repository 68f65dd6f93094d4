"""Webhook secrets as they lie in the database: see `privacy.vault`."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ConfigurationError
from ..privacy import vault

SMALLEST = vault.SMALLEST


class Vault(vault.Vault):
    """Seals and opens secrets of webhooks, and headers that go with them. `key` as there."""

    def __init__(self, key: str | bytes | Sequence[str | bytes]) -> None:
        super().__init__(key, "webhook secrets", "webhooks")

    def open(self, text: str) -> str:
        """What was sealed; ConfigurationError when none of the keys did it, or it was changed since."""
        try:
            return super().open(text)
        except vault.Unsealable:
            raise ConfigurationError("a stored webhook secret opens with none of the keys given") from None
