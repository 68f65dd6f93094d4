"""How an application and its workers are: pages for Prometheus, `/livez` and `/readyz`, and ready files for Grafana and
for alerts.

    app.mount("/metrics", operations.metrics)     # or Metrics(jobs, token=…), anywhere
    app.mount("/health", operations.health)       # /health/livez, /health/readyz
    offpath worker --port 9464                    # /metrics, /livez, /readyz of a worker

Every figure is in `offpath.observe.METRICS`.
"""

from .files import grafana, rules
from .web import Health, Metrics

__all__ = ["Health", "Metrics", "grafana", "rules"]
