"""The application's own tables. offpath keeps its tables in the same database, which is what makes
"the row and the job stand or fall together" possible; this module knows nothing about them.
"""

from datetime import UTC, datetime
from typing import ClassVar

from sqlalchemy import JSON, DateTime, ForeignKey, Identity, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from .database import Id


def now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {int: Id, datetime: DateTime(timezone=True)}


class User(Base):
    """`version` counts the changes; the ETag is made from it."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Identity(start=1001), primary_key=True)  # those below are for seed.py
    tenant: Mapped[str] = mapped_column(String(100))
    username: Mapped[str] = mapped_column(String(100))
    email: Mapped[str] = mapped_column(String(254))
    phone_number: Mapped[str | None] = mapped_column(String(40))
    version: Mapped[int] = mapped_column(default=1)


class Organization(Base):
    """`tenant`: whose users are its members. `version` counts the changes, as a user's does."""

    __tablename__ = "organizations"

    id: Mapped[int] = mapped_column(Identity(start=1001), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(100), unique=True)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(String(100))
    allow_custom_sso: Mapped[bool] = mapped_column(default=True)
    version: Mapped[int] = mapped_column(default=1)


class UserCache(Base):
    """What GET /users/{id} answers, ready-made. No row: read the user itself."""

    __tablename__ = "user_cache"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    body: Mapped[dict[str, object]] = mapped_column(JSON)
    refreshed_at: Mapped[datetime] = mapped_column(default=now)


class Device(Base):
    """Where a push message goes. Read by the job, not by the request: the newest token is the one that counts."""

    __tablename__ = "devices"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    token: Mapped[str] = mapped_column(String(200))


class UserUpdate(Base):
    """What `update_user` has done: the first link behind `PUT /users/{id}` with `Prefer: respond-async`.

    A job runs again when its worker dies. This row is written together with the user's own, so a second attempt sees
    that the update has been done, and what there is to tell of it.
    """

    __tablename__ = "user_updates"

    job: Mapped[str] = mapped_column(String(36), primary_key=True)
    notice: Mapped[dict[str, object] | None] = mapped_column(JSON)


class SyncItem(Base):
    """A user whose cached answer is to be made anew, off the path. Pending until `completed_at` is set; `error` is what
    the last of `retries` failures said."""

    __tablename__ = "sync_items"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int]
    completed_at: Mapped[datetime | None] = mapped_column("completedAt", default=None)
    error: Mapped[str | None] = mapped_column(String(500), default=None)
    retries: Mapped[int] = mapped_column(default=0)


class Product(Base):
    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    user: Mapped[User] = relationship()
    items: Mapped[list["OrderItem"]] = relationship(order_by="OrderItem.id")


class OrderItem(Base):
    __tablename__ = "order_items"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"))
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    quantity: Mapped[int]
    product: Mapped[Product] = relationship()
