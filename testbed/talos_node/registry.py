"""A container registry over a folder, for reading only: `registry.py FOLDER ADDRESS PORT`.

It answers what containerd and Talos ask when they pull. Which registry a name belongs to plays no part: repositories
of different registries differ in the rest of their names. It runs by itself, so it imports the standard library only.
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry(BaseHTTPRequestHandler):
    """GET and HEAD of manifests and blobs."""

    folder: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers with headers and content."""
        self.wfile.write(self._head())

    def do_HEAD(self) -> None:
        """Answers with headers."""
        self._head()

    def _head(self) -> bytes:
        path = self.path.partition("?")[0]
        if path == "/v2/":
            return self._send(200, b"{}", "application/json")
        kind = "manifests" if "/manifests/" in path else "blobs"
        repository, _, rest = path.removeprefix("/v2/").rpartition(f"/{kind}/")
        references = json.loads((self.folder / "refs.json").read_text())
        digest = references.get(f"{repository}:{rest}", rest)
        blob = self.folder / "blobs" / digest.replace(":", "/")
        if not _DIGEST.fullmatch(digest) or not blob.is_file():
            return self._send(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}', "application/json")
        media = _MANIFEST if kind == "manifests" else "application/octet-stream"
        return self._send(200, blob.read_bytes(), media, digest)

    def _send(self, status: int, body: bytes, media: str, digest: str = "") -> bytes:
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        return body


def main() -> None:
    """Serves until it is ended."""
    Registry.folder = Path(sys.argv[1])
    ThreadingHTTPServer((sys.argv[2], int(sys.argv[3])), Registry).serve_forever()


if __name__ == "__main__":
    main()
