"""`kind`: each broker in turn, with the server that the whole run shares; `own`: one to be killed."""

from secrets import token_hex

import pytest

from tests import brokers
from tests.brokers.kinds import KINDS, Kind


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    asked = KINDS[request.param]
    url: str = request.getfixturevalue(f"{asked.shared_with or asked.name}_url")
    return asked(url)


@pytest.fixture
def own(request: pytest.FixtureRequest, kind: Kind) -> brokers.Broker:
    """A server of the same kind that is this test's alone."""
    if not kind.keeps:
        pytest.skip("this stand-in keeps nothing")
    found: brokers.Broker = request.getfixturevalue(f"{kind.name}_server")
    return found


@pytest.fixture
def name(kind: Kind) -> str:
    """A topic or queue that nobody else uses."""
    return f"t-{token_hex(6)}{kind.suffix}"
