"""Orders: a row with its items, and the job that confirms it."""

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ..auth import CurrentUser
from ..database import insert
from ..models import Order, OrderItem, Product
from ..operations import OneSession, operations
from ..problems import documented
from ..schemas import OrderOut, OrderPost
from ..tasks import send_confirmation

router = APIRouter(tags=["orders"], responses=documented(400, 401, 422, 500))
once = APIRouter(route_class=operations.once)


@once.post("/api/orders", status_code=201)
async def create_order(body: OrderPost, viewer: CurrentUser, session: OneSession) -> OrderOut:
    """The order and its confirmation job are committed together, and with them the answer to its Idempotency-Key: sent
    again, it is no second order. A product nobody has ordered yet is a new one."""
    names = {item.product for item in body.items}
    products = await _known(session, names)
    if new := [{"name": name} for name in sorted(names - products.keys())]:
        # Another order may bring one of them at this moment. Whoever is second waits and takes the first one's row;
        # in the order of their names, so that two of them never wait for each other.
        await session.execute(insert(Product).values(new).on_conflict_do_nothing())
        products = await _known(session, names)
    items = [OrderItem(product=products[item.product], quantity=item.quantity) for item in body.items]
    order = Order(user_id=viewer.id, items=items)
    session.add(order)
    await session.flush()
    await send_confirmation.using(tx=session).enqueue(order_id=order.id)
    return OrderOut(id=order.id, user_id=viewer.id, items=body.items)


async def _known(session: AsyncSession, names: set[str]) -> dict[str, Product]:
    return {product.name: product for product in await session.scalars(select(Product).where(Product.name.in_(names)))}


router.include_router(once)
