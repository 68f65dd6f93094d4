"""What travels over HTTP: the bodies of requests and answers."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StrictBool
from pydantic.alias_generators import to_camel

from offpath.http.conditional import strong

from .decisions import is_mailbox
from .exports import Format


def one_line(text: str) -> str:
    """Text that a reader sees as it is: no line breaks, nothing invisible, nothing that turns its direction round."""
    if not text.isprintable() or not text.strip():
        raise ValueError("must be one line of printable text")
    return text


def address(text: str) -> str:
    """One mailbox, and nothing that a mail program would read as two, as a name or as a comment."""
    if not is_mailbox(text):
        raise ValueError("must be an e-mail address")
    return text


# These end up in e-mails.
Line = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(one_line)]
Address = Annotated[str, Field(max_length=254), AfterValidator(address)]
Whole = Annotated[int, Field(strict=True)]  # 2, and neither true nor "2" nor 2.0
Phone = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[0-9+() ./-]+$")]


def example(**members: Any) -> ConfigDict:
    """What "Try it out" in /docs begins with."""
    return ConfigDict(json_schema_extra={"examples": [members]})


def closed(**members: Any) -> ConfigDict:
    """The same for a body whose unknown members are refused."""
    return ConfigDict(json_schema_extra={"examples": [members]}, extra="forbid")


class Body(BaseModel):
    """snake_case in Python, camelCase on the wire and in stored arguments and results."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True, from_attributes=True
    )


class UserPut(Body):
    model_config = example(username="alice", email="alice@acme.example", phoneNumber="+1 555 0101")

    username: Line
    email: Address
    phone_number: Phone | None


class UserPost(Body):
    model_config = example(username="dora", email="dora@example.org")

    username: Line
    email: Address
    phone_number: Phone | None = None


class UserPatch(Body):
    """What is absent stays. `userId` absent: the caller. `phoneNumber: null` removes it.

    A member that we do not know is refused: a misspelled `userId` would mean the caller.
    """

    model_config = closed(phoneNumber="+1 555 0199")

    user_id: Whole | Annotated[str, Field(max_length=100)] | None = None
    username: Line | None = None
    phone_number: Phone | None = None

    def wanted(self) -> dict[str, Any]:
        """The fields that were sent."""
        fields = self.model_dump(include={"username", "phone_number"}, exclude_unset=True, by_alias=False)
        if fields.get("username", "") is None:
            del fields["username"]  # nobody is without a name: null means the same as absent
        return fields


class UserOut(Body):
    id: int
    username: str
    email: str
    phone_number: str | None
    version: int

    @property
    def etag(self) -> str:
        return strong(self.version)


class UserPatched(Body):
    message: str
    data: UserOut


class OrganizationDoc(BaseModel):
    """What GET answers is what PATCH patches."""

    model_config = ConfigDict(
        alias_generator=lambda name: name.replace("_", "-"), validate_by_name=True, serialize_by_alias=True,
        from_attributes=True, extra="forbid",
    )  # fmt: skip

    id: int
    name: Line
    allow_custom_sso: StrictBool
    version: int

    @property
    def etag(self) -> str:
        return strong(self.version)


class Item(Body):
    product: Line
    quantity: Annotated[Whole, Field(ge=1, le=10_000)]


class OrderPost(Body):
    model_config = example(items=[{"product": "lamp", "quantity": 2}])

    items: Annotated[list[Item], Field(min_length=1, max_length=100)]


class OrderOut(Body):
    id: int
    user_id: int
    items: list[Item]


class ReportPost(BaseModel):
    """A report of `rows` units of work, each `delay_ms` long; `fail_at` breaks it at that row, in every attempt."""

    model_config = closed(title="Sales", rows=100, delay_ms=50)

    title: Line
    rows: Annotated[Whole, Field(ge=1, le=10_000)]
    delay_ms: Annotated[Whole, Field(ge=0, le=1_000)] = 0
    fail_at: Annotated[Whole, Field(ge=1)] | None = None


class Report(BaseModel):
    title: str
    rows: int
    url: str


class ExportPost(Body):
    """`data`: what to export; absent: the caller's orders. `webhookUrl` is told when the file is there."""

    model_config = closed(format="csv")

    format: Format
    webhook_url: Annotated[str, Field(max_length=2048)] | None = None
    data: Annotated[list[dict[str, JsonValue]], Field(max_length=10_000)] | None = None


class Export(BaseModel):
    format: Format
    rows: int
    url: str
