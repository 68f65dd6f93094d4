"""What is shipped ready names only what there is, and Prometheus can read it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from offpath import metrics
from offpath.observe import METRICS
from tests import debian
from tests.servers import Unavailable

RULES = yaml.safe_load(metrics.rules())
PANELS = [panel for panel in json.loads(metrics.grafana())["panels"] if panel["type"] != "row"]
EXPRESSIONS = [
    *((rule["alert"], rule["expr"]) for group in RULES["groups"] for rule in group["rules"]),
    *((panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]),
]
SERIES = {
    name + suffix: metric.labels
    for name, metric in METRICS.items()
    for suffix in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
}


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS, ids=[title for title, _ in EXPRESSIONS])
def test_every_metric_and_label_is_in_the_contract(title: str, expression: str) -> None:
    names = set(re.findall(r"\boffpath_\w+", expression))
    assert names
    assert names <= set(SERIES), title
    allowed = {"job", "instance", "le"}.union(*(SERIES[name] for name in names))
    used = set(re.findall(r"(\w+)=~?\"|(\w+)!=\"", expression))
    labels = {a or b for a, b in used}
    for group in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
        labels |= {label.strip() for label in group.split(",")}
    assert labels <= allowed, title


def test_every_state_that_is_asked_for_is_one_that_is_told() -> None:
    for title, expression in EXPRESSIONS:
        for value in re.findall(r'(?:outcome|state)!?=~?"([^"$]*)"', expression):
            for word in value.split("|"):
                assert any(re.search(rf"\b{word}\b", metric.meaning) for metric in METRICS.values()), title


def test_the_rules_are_those_that_were_promised() -> None:
    alerts = {rule["alert"] for group in RULES["groups"] for rule in group["rules"]}
    assert alerts >= {
        "OffpathStoreDown", "OffpathNoWorker", "OffpathLeaseLate", "OffpathQueueOld", "OffpathBacklog",
        "OffpathDeadLetters", "OffpathErrors", "OffpathScheduleMissed", "OffpathEndpointDisabled",
        "OffpathTransportDown",
    }  # fmt: skip
    for group in RULES["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("info", "warning", "critical")
            assert rule["annotations"].keys() == {"summary", "description"}


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    seen: set[tuple[int, int]] = set()
    for panel in PANELS:
        at: dict[str, Any] = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & seen, panel["title"]
        seen |= cells
        assert at["x"] + at["w"] <= 24
    ids = [panel["id"] for panel in json.loads(metrics.grafana())["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.fixture(scope="module")
def promtool(request: pytest.FixtureRequest) -> Path:
    from tests.conftest import missing

    found = debian.program("prometheus", "promtool")
    if isinstance(found, Unavailable):
        missing(request.config, "promtool", str(found))
    return found


def test_promtool_reads_the_rules_and_each_expression_of_the_dashboard(promtool: Path, tmp_path: Path) -> None:
    shipped = tmp_path / "rules.yml"
    shipped.write_text(metrics.rules())
    asked = {"groups": [{"name": "panels", "rules": []}]}
    for n, (_, expression) in enumerate(EXPRESSIONS):
        for variable, value in (("$__rate_interval", "5m"), ("$__range", "1h"), ("$job", ".*"), ("$queue", ".*")):
            expression = expression.replace(variable, value)
        asked["groups"][0]["rules"].append({"record": f"panel:{n}", "expr": expression})  # type: ignore[attr-defined]
    panels = tmp_path / "panels.yml"
    panels.write_text(yaml.safe_dump(asked))
    done = subprocess.run(
        [promtool, "check", "rules", shipped, panels], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout + done.stderr


def test_promtool_finds_nothing_to_say_against_the_page(promtool: Path, lite: Any, tally: Any) -> None:
    _, body = metrics.Metrics(lite).page()
    done = subprocess.run(
        [promtool, "check", "metrics"], input=body.decode(), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_rings_when_it_should(promtool: Path, tmp_path: Path) -> None:
    """Prometheus' own test of rules: a late schedule and an old queue ring, one that is paused does not."""
    (tmp_path / "rules.yml").write_text(metrics.rules())
    series = {
        'offpath_schedules{state="late",job="a"}': "1x10",
        'offpath_queue_oldest_seconds{queue="mail",instance="a"}': "400x10",
        'offpath_queue_oldest_seconds{queue="rests",instance="a"}': "400x10",
        'offpath_queue_paused{queue="mail",instance="a"}': "0x10",
        'offpath_queue_paused{queue="rests",instance="a"}': "1x10",
        'offpath_store_up{instance="a"}': "1x10",
        'offpath_workers{state="alive",instance="a"}': "0x10",
        'offpath_webhook_endpoints_disabled_total{instance="a"}': "0 0 0 1x7",
    }
    told = [f"{name}" for name in ("OffpathScheduleLate", "OffpathQueueOld", "OffpathNoWorker")]
    labels = {"OffpathQueueOld": {"queue": "mail"}}
    rules = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
    tests = []
    for name in (*told, "OffpathStoreDown"):
        expected = []
        if name in told:
            notes = dict(rules[name]["annotations"])
            said = {label: value.replace("{{ $labels.queue }}", "mail") for label, value in notes.items()}
            said = {label: value.replace("{{ $value | humanizeDuration }}", "6m 40s") for label, value in said.items()}
            expected = [{"exp_labels": {**rules[name]["labels"], **labels.get(name, {})}, "exp_annotations": said}]
        tests.append({"eval_time": "8m", "alertname": name, "exp_alerts": expected})
    given = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "alert_rule_test": tests,
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(given))
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
