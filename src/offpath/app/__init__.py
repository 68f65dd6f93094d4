"""Composition root and facade. `facade.py` is what users hold, `desk.py` turns calls into jobs, `places.py` knows the
stores."""

from .facade import Offpath
from .lifespan import Lifespan

__all__ = ["Lifespan", "Offpath"]
