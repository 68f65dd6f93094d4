"""docs/how-to/django.md: its snippets, in the files they name."""

import re
from pathlib import Path

from tests.integrations.django.project import Project

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "django.md"
PYTHON = re.compile(r"^```python\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_page(empty: Project) -> None:
    (empty.folder / "shop" / "tasks.py").unlink()
    settings = (empty.folder / "site_settings.py").read_text()
    apps = '"django_tasks", "shop"'
    assert f'{apps}, "offpath.integrations.django"]' in settings
    (empty.folder / "settings.py").write_text(
        settings.replace(f'{apps}, "offpath.integrations.django"]', f"{apps}]").partition("OFFPATH = ")[0]
    )
    for name, text in PYTHON.findall(PAGE.read_text("utf-8")):
        if name == "settings.py" and "IMMEDIATE" in text and empty.address.startswith("postgres"):
            continue
        with open(empty.folder / name, "a") as file:
            file.write(f"\n{text}")
    (empty.folder / "settings.py").rename(empty.folder / "site_settings.py")
    settings = (empty.folder / "site_settings.py").read_text()
    assert settings.count("offpath.integrations.django") == 2
    assert "no issues" in empty.manage("check")
    empty.migrate()
    id = empty.run(
        """
        import asyncio
        from asgiref.sync import sync_to_async
        from shop.services import place_order, remind
        place_order(1)
        asyncio.run(sync_to_async(place_order)(2))
        remind(3)
        tasks.book.enqueue_sync(order=4)
        say(tasks.thank.enqueue(1).id)
        """
    )
    empty.work()
    texts = empty.run("say(sorted(note.text for note in Note.objects.all()))")
    assert texts == [
        "order 1",
        "order 1 confirmed",
        "order 2",
        "order 2 confirmed",
        "order 4 booked",
        "thanks for order 1",
    ]
    assert empty.run(f"say(tasks.thank.get_result({id!r}).return_value)") == {"thanked": 1}
    where = {"NAME": str(empty.folder / "test.sqlite3")} if not empty.address.startswith("postgres") else {}
    empty.settings(f"DATABASES['default']['TEST'] = {where!r}")
    assert "OK" in empty.manage("test", "shop")
