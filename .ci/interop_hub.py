"""Exchanges weights with Python's huggingface_hub through its cache, from a hub of the script's own.

    cargo build -p regraft-cli
    python .ci/interop_hub.py REGRAFT WEIGHTS     needs huggingface_hub

WEIGHTS is a model file of EfficientNet-Lite0. Regraft downloads it into a cache, where `try_to_load_from_cache` must find it; then
`hf_hub_download` downloads it into another one, where Regraft must find it offline. With and without symbolic links.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "someone/net.a1"
CONFIG = {"architecture": "tf_efficientnet_lite0", "pretrained_cfg": {"input_size": [3, 224, 224], "crop_pct": 0.875}}


def etag(content, is_large):
    return hashlib.sha256(content).hexdigest() if is_large else hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def hub(files):
    """A server of the repository; large files are answered with a redirect, as by the real hub."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rsplit("/", 1)[1]
            if self.path.startswith("/large/"):
                return self.answer(200, {}, files[name])
            if name not in files:
                return self.answer(404, {"X-Repo-Commit": COMMIT, "X-Error-Code": "EntryNotFound"}, b"")
            content, is_large = files[name], not name.endswith(".json")
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag(content, is_large)}"'}
            if not is_large:
                return self.answer(200, headers, content)
            headers |= {"X-Linked-Etag": headers.pop("ETag"), "X-Linked-Size": str(len(content))}
            self.answer(302, headers | {"Location": f"http://localhost:{self.server.server_port}/large/{name}"}, b"")

        do_HEAD = do_GET

        def answer(self, status, headers, content):
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def python(code, environment):
    return subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True).stdout.strip()


def main():
    regraft, weights = sys.argv[1], Path(sys.argv[2]).read_bytes()
    address = hub({"model.safetensors": weights, "config.json": json.dumps(CONFIG).encode()})
    command = [regraft, "inspect", f"hub:{REPOSITORY}", "--json"]
    for links in ("0", "1"):
        with tempfile.TemporaryDirectory() as folder:
            base = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_DISABLE_SYMLINKS": links, "NO_PROXY": "127.0.0.1,localhost"}
            base.pop("HF_HUB_OFFLINE", None)
            ours, theirs = ({**base, "HF_HOME": f"{folder}/{name}"} for name in ("ours", "theirs"))
            subprocess.run(command, env=ours, check=True, capture_output=True)
            for name, content in (("model.safetensors", weights), ("config.json", json.dumps(CONFIG).encode())):
                call = f"import huggingface_hub as h; print(h.try_to_load_from_cache('{REPOSITORY}', '{name}'))"
                found = Path(python(call, ours))
                assert found.read_bytes() == content, found
                # Nor does it download anything again.
                call = f"import huggingface_hub as h; print(h.hf_hub_download('{REPOSITORY}', '{name}', local_files_only=True))"
                assert python(call, ours) == str(found)
                python(f"import huggingface_hub as h; h.hf_hub_download('{REPOSITORY}', '{name}')", theirs)
            done = subprocess.run(command, env=theirs | {"HF_HUB_OFFLINE": "1"}, check=True, capture_output=True, text=True)
            assert json.loads(done.stdout)["architecture"] == "efficientnet_lite0"
            how = "without" if links == "1" else "with"
            print(f"huggingface_hub: each finds the other's files, {how} symbolic links")


if __name__ == "__main__":
    main()
