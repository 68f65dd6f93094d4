"""Charts and graphs are pure: points and parts in, SVG out."""

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offpath.dashboard import graph, pages
from offpath.dashboard.charts import HEIGHT, WIDTH, Line, chart, path, scale
from offpath.dashboard.render import duration, number, relative
from tests.dashboard.payloads import corpus

SVG = "{http://www.w3.org/2000/svg}"


@given(st.floats(0.001, 1e9))
def test_an_axis_holds_the_highest_value_in_few_round_steps(top: float) -> None:
    step, end = scale(top)
    assert end >= top * (1 - 1e-9)
    assert 1 <= round(end / step) <= 5
    assert math.isclose(end / step, round(end / step))


@pytest.mark.parametrize(
    ("top", "step"), [(9.0, 5), (100.0, 60), (380.0, 120), (1200.0, 300), (7200.0, 1800), (200_000.0, 86_400)]
)
def test_an_axis_of_durations_has_steps_of_a_clock(top: float, step: float) -> None:
    assert scale(top, seconds=True)[0] == step


def test_a_line_breaks_where_nothing_was_measured() -> None:
    assert path([1, None, 1, 1], 1).count("M") == 2
    assert path([None, None], 1) == ""


def test_a_chart_is_said_in_words_and_has_no_inline_style() -> None:
    times = [f"2026-11-28T0{hour}:00:00Z" for hour in range(4)]
    text = chart("age", "Queue age", [Line("oldest", [1, 2, None, 4], 1), Line("none", [None] * 4, 2)], times, duration)
    tree = ET.fromstring(text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    assert tree.find(f"{SVG}title").text == "Queue age"  # type: ignore[union-attr]
    said = tree.find(f"{SVG}desc").text  # type: ignore[union-attr]
    assert said == "From 00:00 to 03:00 UTC. oldest: last 4 s, highest 4 s. none: nothing."
    assert not any("style" in one.attrib for one in tree.iter())
    for circle in tree.iter(f"{SVG}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= HEIGHT


def test_a_chart_of_nothing_says_so() -> None:
    assert "Nothing has been recorded yet." in chart("a", "t", [Line("x", [], 1)], [], number)


def document(edges: list[tuple[str, str]], names: list[str], own: str = "root") -> dict[str, object]:
    return {
        "id": own,
        "parts": [{"id": name, "kind": name, "status": "succeeded"} for name in names],
        "edges": [{"parent": a, "child": b, "policy": "cancel", "race": False} for a, b in edges],
    }


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60))
def test_every_part_stands_right_of_all_it_waits_for(pairs: list[tuple[int, int]]) -> None:
    names = [f"p{index}" for index in range(31)]
    edges = [(f"p{min(pair)}", f"p{max(pair)}") for pair in pairs if pair[0] != pair[1]]
    drawing = graph.draw(document(edges, names))
    assert len(drawing.nodes) == 31
    for edge in drawing.edges:
        assert edge.start.x < edge.end.x
    places = {(node.x, node.y) for node in drawing.nodes}
    assert len(places) == 31  # none on top of another
    assert all(node.x + graph.WIDE <= drawing.width and node.y + graph.HIGH <= drawing.height for node in drawing.nodes)


def test_a_circle_is_drawn_too() -> None:
    assert len(graph.draw(document([("a", "b"), ("b", "a")], ["a", "b"])).nodes) == 2


def test_parts_beyond_the_most_are_counted() -> None:
    drawing = graph.draw(document([], [f"p{index}" for index in range(250)]))
    assert (len(drawing.nodes), drawing.left_out) == (200, 50)


def test_a21_names_are_text_in_a_drawing() -> None:
    names = corpus()[:190]
    text = graph.svg(graph.draw(document([], names)), "", lambda id: f"jobs/{id}")
    clean = "".join(c for c in text if c >= " ")
    tree = ET.fromstring(clean.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    allowed = {"svg", "defs", "marker", "path", "a", "g", "title", "rect", "text"}
    assert {one.tag.removeprefix(SVG) for one in tree.iter()} <= allowed
    assert not any(name.startswith("on") for one in tree.iter() for name in one.attrib)


def test_values_in_words() -> None:
    assert [duration(one) for one in (0, 0.0123, 3.44, 300, 5400, 200_000, None)] == [
        "0 s", "12.3 ms", "3.44 s", "5 min", "1.5 h", "2.3 d", "–",
    ]  # fmt: skip
    assert [number(one) for one in (1234567, 4.0, 4.25, True, None)] == ["1\u202f234\u202f567", "4", "4.25", "–", "–"]
    assert relative("nonsense") == "–"


def test_a_chart_says_what_is_now_and_not_what_was_once() -> None:
    points = [{"at": f"2026-11-28T0{n // 60}:{n % 60:02}:00Z", "succeeded": 31, "failed": 0, "retried": 0,
               "oldest_ready": 366.0 if n < 20 else None, "ready": 2} for n in range(30)]  # fmt: skip
    points[-1]["succeeded"] = 3  # so far
    made = {one["name"]: one for one in pages.charts({"step": 60, "points": points})}
    assert made["throughput"]["last"] == [31, 0, 0], "a minute that is not over is no rate"
    assert made["age"]["last"] == [None], "the queue has been empty for ten minutes"
    assert "last none, highest 6.1 min" in made["age"]["svg"]
    assert made["depth"]["last"][0] == 2


def test_only_what_can_be_done_to_many_is_offered() -> None:
    assert list(pages.possible([("state", "failed")])) == ["retry", "delete"]
    assert list(pages.possible([("state", "ready"), ("queue", "a")])) == ["cancel"]
    assert list(pages.possible([("queue", "a")])) == ["retry", "cancel", "delete"]
    assert list(pages.possible([("outstanding", "true")])) == ["retry", "delete"]
    assert list(pages.possible([])) == []


def test_progress_that_follows_progress_is_one_line_of_a_log() -> None:
    log = [{"type": said, "sequence": n} for n, said in enumerate(["queued", *["progress"] * 90, "canceled"])]
    assert [(one["type"], one["sequence"], one["times"]) for one in pages.folded(log)] == [
        ("canceled", 91, 1), ("progress", 90, 90), ("queued", 0, 1),
    ]  # fmt: skip
