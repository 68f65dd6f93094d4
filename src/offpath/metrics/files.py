"""What is shipped ready: a dashboard for Grafana, and rules for Prometheus."""

from importlib.resources import files


def grafana() -> str:
    """A dashboard as JSON: import it, and choose a Prometheus data source."""
    return (files("offpath.metrics") / "grafana.json").read_text("utf-8")


def rules() -> str:
    """Alerting rules as YAML, for `rule_files`."""
    return (files("offpath.metrics") / "rules.yml").read_text("utf-8")
