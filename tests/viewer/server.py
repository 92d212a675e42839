"""OHIF and a PACS's DICOMweb on one origin, so that a browser needs no cross-origin rule; on loopback alone."""

from __future__ import annotations

import http.client
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DICOMWEB = "/dicom-web"
# Cross-origin isolation gives the viewer's workers shared memory.
ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
PASSED_ON = ("Accept", "Host")  # the PACS writes the addresses of bulk data with the Host it was asked by
TIMEOUT_S = 120


def app_config() -> dict[str, Any]:
    """OHIF's settings: segmentations open without a question, and nothing dims the page."""
    return {
        "routerBasename": None,
        "extensions": [],
        "modes": [],
        "showStudyList": False,
        "showLoadingIndicator": True,
        "showCPUFallbackMessage": False,
        "disableConfirmationPrompts": True,
        "investigationalUseDialog": {"option": "never"},
        "maxNumberOfWebWorkers": 2,
        "defaultDataSourceName": "pacs",
        "dataSources": [
            {
                "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
                "sourceName": "pacs",
                "configuration": {
                    "friendlyName": "the PACS under test",
                    "name": "pacs",
                    "qidoRoot": DICOMWEB,
                    "wadoRoot": DICOMWEB,
                    "wadoUriRoot": DICOMWEB,
                    "qidoSupportsIncludeField": False,
                    "imageRendering": "wadors",
                    "thumbnailRendering": "wadors",
                    "enableStudyLazyLoad": True,
                    "supportsFuzzyMatching": False,
                    "supportsWildcard": True,
                    "omitQuotationForMultipartRequest": True,
                    "bulkDataURI": {"enabled": True},
                },
            }
        ],
    }


class ViewerServer:
    """Serves `dist` and, below /dicom-web, the PACS at `pacs_url`, until closed."""

    def __init__(self, dist: Path, pacs_url: str) -> None:
        handler = type("Handler", (_Handler,), {"dist": dist, "pacs": urlsplit(pacs_url).netloc})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="viewer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    dist: Path
    pacs: str

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, directory=str(self.dist))

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith(DICOMWEB):
            self._ask_pacs()
        elif path == "/app-config.js":
            self._answer(200, "text/javascript", f"window.config = {json.dumps(app_config())};".encode())
        else:
            # A page of the viewer is no file: its address is read by the script in index.html.
            if not (self.dist / path.lstrip("/")).is_file():
                self.path = "/index.html"
            super().do_GET()

    def end_headers(self) -> None:
        for name, value in ISOLATION.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """The test says what went wrong."""

    def _ask_pacs(self) -> None:
        pacs = http.client.HTTPConnection(self.pacs, timeout=TIMEOUT_S)
        try:
            pacs.request("GET", self.path, headers={name: self.headers[name] for name in PASSED_ON})
            answer = pacs.getresponse()
            self._answer(answer.status, answer.getheader("Content-Type", "application/octet-stream"), answer.read())
        finally:
            pacs.close()

    def _answer(self, status: int, content_type: str, content: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the browser no longer wants it
