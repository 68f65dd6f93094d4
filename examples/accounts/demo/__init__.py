"""`python3 dev.py demo`: see `__main__.py`; the chapters are in `story.py`."""
