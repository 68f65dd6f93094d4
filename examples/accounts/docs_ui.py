"""/docs without a network: Swagger UI's files come from the wheel `fastapi-swagger`, not from a CDN."""

from importlib import resources

from fastapi import FastAPI, HTTPException, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response

FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}

PARAMETERS = {
    "tryItOutEnabled": True,
    "persistAuthorization": True,
    "displayRequestDuration": True,
    "validatorUrl": None,  # or the page would ask validator.swagger.io about our document
}


def install(api: FastAPI) -> None:
    """Serve the page and its files. The application is created with `docs_url=None`, so that only this page exists."""
    folder = resources.files("fastapi_swagger") / "resources"
    contents = {name: (folder / name).read_bytes() for name in FILES}

    @api.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "").rstrip("/")  # behind a proxy that adds a prefix
        return get_swagger_ui_html(
            openapi_url=f"{root}{api.openapi_url}",
            title=f"{api.title}: try it",
            swagger_js_url=f"{root}/docs/files/swagger-ui-bundle.js",
            swagger_css_url=f"{root}/docs/files/swagger-ui.css",
            swagger_favicon_url=f"{root}/docs/files/favicon-32x32.png",
            swagger_ui_parameters=PARAMETERS,
        )

    @api.get("/docs/files/{name}", include_in_schema=False)
    async def files(name: str) -> Response:
        if name not in FILES:
            raise HTTPException(404)
        return Response(contents[name], media_type=FILES[name], headers={"Cache-Control": "max-age=86400"})
