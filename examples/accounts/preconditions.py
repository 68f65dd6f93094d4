"""`If-Match` where it is optional: who does not send one lets the last write win."""

from typing import Annotated

from fastapi import Depends

from offpath.integrations.fastapi import Conditions, preconditions

Asked = Annotated[Conditions, Depends(preconditions(require_if_match=False))]
