"""The admin HTTP API: every job, queue, schedule, worker and endpoint, whoever they belong to.

    operations = Operations(jobs, caller=current_user, admin=Admin())

    facade      what an application configures            table       a row, and what it takes to pass
    routes      all the rows                              schemas     what the OpenAPI document says
    reading     what clients sent                         documents   a job as JSON
    jobs        one job and lists of them                 following   its events, its flow
    doing       what is done to one job, and to many      log         the audit log
    overview    all of it in one look, and charts         queues      queues, and limits
    schedules   when they run, and run now                workers     who works
    endpoints   webhooks, whoever they belong to          health      alerts, and the doctor

Framework-neutral, as `offpath.http` is: rows for the table of its routes.
"""

from .facade import Admin

__all__ = ["Admin"]
