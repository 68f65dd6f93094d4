"""What a task's arguments were before: a deploy changes them while jobs with the old ones still wait."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ..core.checks import shown
from ..errors import ArgumentError, ConfigurationError

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Stored arguments of one version, plain JSON → those of the next."""

Decode = Callable[[str], dict[str, Any]]


class History:
    """The upcasters of one task, each from one version to the next."""

    def __init__(self, task: str, version: int) -> None:
        self._task = task
        self._version = version
        self._steps: dict[int, Upcaster] = {}

    def upcast(self, version: object) -> Callable[[Upcaster], Upcaster]:
        if not isinstance(version, int) or not 1 <= version < self._version:
            raise ConfigurationError(
                f"task {self._task} is version {self._version}: an upcaster is from a version before it, not "
                f"{shown(version)}"
            )
        if version in self._steps:
            raise ConfigurationError(f"task {self._task} has an upcaster from version {version} already")
        number = version

        def register(step: Upcaster) -> Upcaster:
            self._steps[number] = step
            return step

        return register

    def known(self) -> list[int]:
        known = [self._version]
        while known[-1] - 1 in self._steps:
            known.append(known[-1] - 1)
        return known

    def decoder(self, version: int, decode: Decode) -> Decode:
        """`decode`, after the steps that lead from `version` to today's. ArgumentError when one of them fails."""
        if version == self._version:
            return decode
        steps = [(number, self._steps[number]) for number in range(version, self._version)]

        def upcast(args: str) -> dict[str, Any]:
            values = json.loads(args)
            for number, step in steps:
                try:
                    values = step(values)
                except Exception as error:
                    reason = f"cannot be brought from version {number} to {number + 1}: {error!r}"
                    raise ArgumentError("", reason) from error
            return decode(json.dumps(values))

        return upcast
