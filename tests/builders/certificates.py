"""Certificates for a test, made by openssl in its own folder; nothing of them is kept."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.peers import require

_KEYS = {"rsa": ["-newkey", "rsa:2048"], "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]}


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """PEM files: the certificate, and its key without a passphrase."""

    certificate: Path
    key: Path

    @property
    def sha256(self) -> str:
        """The fingerprint that pins it."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.certificate.read_text())).hexdigest()


class Authority:
    """Signs certificates. `file` is what those who trust it are given."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._own = self._made(name, "ec", ["-addext", "basicConstraints=critical,CA:TRUE"])
        self.file = self._own.certificate

    def issue(self, name: str, *, key: str = "rsa", names: str = "IP:127.0.0.1,DNS:localhost") -> Certificate:
        """A certificate for `names` (as in subjectAltName), signed by this authority."""
        signing = ["-CA", str(self._own.certificate), "-CAkey", str(self._own.key)]
        extensions = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", f"subjectAltName={names}"]
        return self._made(name, key, [*extensions, *signing])

    def _made(self, name: str, key: str, more: list[str]) -> Certificate:
        made = Certificate(certificate=self._folder / f"{name}.crt", key=self._folder / f"{name}.key")
        openssl = require("openssl", "openssl")
        command = [openssl, "req", "-x509", *_KEYS[key], "-nodes", "-days", "2", "-subj", f"/CN={name}", *more]
        files = ["-keyout", str(made.key), "-out", str(made.certificate)]
        subprocess.run([*command, *files], check=True, capture_output=True, timeout=60)
        return made
