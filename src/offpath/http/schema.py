"""The Operation as a pydantic model: for OpenAPI documents and typed clients. Nothing is rendered through it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

Status = Literal["queued", "running", "canceling", "succeeded", "failed", "canceled"]


class Progress(BaseModel):
    model_config = ConfigDict(extra="allow")

    percent: int | None = Field(None, ge=0, le=100, description="100 only once it has ended")
    current: float | None = None
    total: float | None = None
    unit: str | None = None
    message: str | None = None


class Links(BaseModel):
    self: str
    result: str
    events: str
    cancel: str


class InvalidPart(BaseModel):
    """One thing that is wrong with a request, and where."""

    model_config = ConfigDict(extra="allow")

    detail: str
    pointer: str | None = Field(None, description="into the body: a JSON Pointer as a URI fragment")


class ProblemDocument(BaseModel):
    """RFC 9457. The body of every answer of 400 and above; and why an operation has no result: then `status` is what a
    synchronous call would have answered."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="an absolute URI, or about:blank for a plain status code")
    title: str
    status: int = Field(ge=100, le=599)
    detail: str | None = None
    instance: str | None = None
    errors: list[InvalidPart] | None = None
    attempts: int | None = Field(None, description="of an operation that failed")


class Operation(BaseModel, Generic[T]):
    """Work that was accepted. New members and new non-terminal states may appear; new terminal states may not."""

    model_config = ConfigDict(extra="allow")

    id: str
    kind: str
    status: Status
    done: bool = Field(description="true exactly when `status` is succeeded, failed or canceled")
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="when it will be forgotten")
    attempt: int
    max_attempts: int
    progress: Progress | None = None
    metadata: dict[str, Any]
    retry_of: str | None = Field(None, description="the finished operation that this one runs again")
    links: Links
    result: T | None = Field(None, description="of a succeeded operation, when it is small; always at `links.result`")
    error: ProblemDocument | None = Field(None, description="of a failed or canceled operation")


class OperationPage(BaseModel):
    items: list[Operation[Any]]
    next_cursor: str | None = Field(None, description="absent on the last page")


class AnnouncedOperation(Operation[T], Generic[T]):
    """An operation in the body of a webhook."""

    sequence: int = Field(description="rises with each event of this operation: deliveries may overtake each other")


class OperationEvent(BaseModel, Generic[T]):
    """The body of a webhook (Standard Webhooks 1.0.0, payload structure)."""

    type: Literal["operation.succeeded", "operation.failed", "operation.canceled"]
    timestamp: datetime = Field(description="when it happened; `webhook-timestamp` is when this attempt was sent")
    data: AnnouncedOperation[T]
