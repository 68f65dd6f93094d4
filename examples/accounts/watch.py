"""/watch: a page that starts a report and follows it with offpath's own JavaScript module. No CDN, no inline script.

Its links are relative, so it works behind a proxy that adds a prefix; open it under the application's public address
(`ACCOUNTS_BASE_URL`), where the links of operations lead: the module follows none to another origin.
"""

from importlib import resources

from fastapi import FastAPI, HTTPException
from fastapi.responses import Response

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
FILES = {
    "offpath.js": ("offpath.client", "offpath.js", "text/javascript"),
    "watch.js": ("examples.accounts", "pages/watch.js", "text/javascript"),
    "watch.css": ("examples.accounts", "pages/watch.css", "text/css"),
}


def install(api: FastAPI) -> None:
    contents = {
        name: (resources.files(package).joinpath(path).read_bytes(), kind)
        for name, (package, path, kind) in FILES.items()
    }
    page = resources.files("examples.accounts").joinpath("pages/watch.html").read_bytes()

    @api.get("/watch", include_in_schema=False)
    async def watch() -> Response:
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        return Response(page, media_type="text/html", headers=headers)

    @api.get("/static/{name}", include_in_schema=False)
    async def files(name: str) -> Response:
        if name not in contents:
            raise HTTPException(404)
        body, kind = contents[name]
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return Response(body, media_type=kind, headers=headers)
