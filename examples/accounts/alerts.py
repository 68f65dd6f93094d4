"""What somebody is woken for. Every worker watches. The log, the dashboard and `offpath alerts list` show how
each stands.

A service of yours would name a task to be told (`tell=`), which rings.
"""

from datetime import timedelta

from .tasks import jobs

jobs.alert("order confirmations fail", dead_letters=10, within=timedelta(hours=1), task="send_confirmation")
jobs.alert("jobs wait too long", age=timedelta(minutes=10))
jobs.alert("a schedule is late", schedule_late=5)
jobs.alert("a webhook endpoint is off", endpoints_disabled=0)
