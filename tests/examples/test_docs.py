"""/docs by itself: a page of our own files only."""

import httpx2
from fastapi import FastAPI

from examples.accounts import docs_ui, webserver


async def test_docs_name_only_our_own_files() -> None:
    api = FastAPI(docs_url=None, redoc_url=None, title="<Pieces>")
    api.state.stranger = True  # the page alone, without what makes errors problems
    docs_ui.install(api)
    sock, url = webserver.listen(0)
    async with webserver.serving(api, sock), httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        page = (await http.get("/docs")).text
        assert "http:" not in page
        assert "https:" not in page
        for name, media_type in docs_ui.FILES.items():
            assert f'"/docs/files/{name}"' in page
            answer = await http.get(f"/docs/files/{name}")
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith(media_type)
        assert (await http.get("/docs/files/__init__.py")).status_code == 404
