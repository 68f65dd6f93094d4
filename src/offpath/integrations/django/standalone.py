"""For whoever comes without `manage.py`: `offpath --app offpath.integrations.django.standalone:jobs jobs list`, with
DJANGO_SETTINGS_MODULE in the environment. Importing this sets Django up, as a `wsgi.py` does."""

from __future__ import annotations

import django

from .project import jobs as _jobs

django.setup()
jobs = _jobs()
