"""Requests that are not answered: a status, a sentence, and the field that is wrong."""

from __future__ import annotations

from typing import Any

from backwalk.errors import BackwalkError

OUR_MISTAKE = "The server made a mistake; its log has the details."


class Refusal(Exception):
    """A request that cannot be answered."""

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.field = status, message, field

    def record(self) -> dict[str, Any]:
        """Return the answer as JSON values."""
        return {"error": {"message": self.message, "field": self.field}}


def refusal_of(error: Exception) -> Refusal | None:
    """Return the refusal that an exception stands for; None for a mistake of ours."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, BackwalkError):
        return Refusal(400, str(error))
    if isinstance(error, MemoryError):
        return Refusal(413, "This takes more memory than there is: ask for fewer rows.")
    return None
