"""What is served of the browser SDK: small, pinned, whole, and the same under every address."""

import gzip
import re
from base64 import b64encode
from hashlib import sha256, sha384
from pathlib import Path

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from identity.sdk import FOLDER, PRESENT, SdkRelease, read_scripts, release, sdk_handlers, strip, takes_gzip

GZIPPED_BYTES_MAX = 4096


def client(folder: Path = FOLDER) -> TestClient[Litestar]:
    return TestClient(Litestar(sdk_handlers(folder), openapi_config=None))


def test_it_is_small():
    assert len(PRESENT.gzipped) <= GZIPPED_BYTES_MAX
    assert gzip.decompress(PRESENT.gzipped) == PRESENT.body


def test_what_is_served_is_the_source_without_comments_and_indentation():
    source = (FOLDER / "sdk.js").read_text("utf-8")

    kept = [line.strip() for line in source.splitlines()]

    assert PRESENT.body.decode().splitlines() == [line for line in kept if line and not line.startswith("//")]
    assert [line for line in kept if re.search(r"\S\s*//\s", line)] == [], "a comment needs a line of its own"
    assert source.count("/*") == 0
    assert all(line.count("`") % 2 == 0 for line in kept), "a text of several lines would lose its indentation"
    assert strip(PRESENT.body.decode()) == PRESENT.body


def test_the_release_tells_the_pinned_path_and_the_integrity_of_the_present_script():
    with client() as asked:
        told = msgspec.json.decode(asked.get("/sdk.json").content, type=SdkRelease)
        present, pinned = asked.get(told.script), asked.get(told.pinned)

    assert told == release()
    assert pinned.content == present.content == PRESENT.body
    assert told.pinned == f"/sdk/{sha256(pinned.content).hexdigest()[:16]}.js"
    assert told.integrity == "sha384-" + b64encode(sha384(pinned.content).digest()).decode()
    assert told.gzipped_bytes == len(PRESENT.gzipped)


def test_the_pinned_script_stays_for_good_and_the_present_one_is_asked_for_again_soon():
    with client() as asked:
        present, pinned = asked.get("/sdk.js"), asked.get(PRESENT.pinned_path)

    assert present.headers["cache-control"] == "public, max-age=300"
    assert pinned.headers["cache-control"] == "public, max-age=31536000, immutable"
    for answer in (present, pinned):
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_who_has_it_is_told_so_in_every_encoding(encoding: str):
    with client() as asked:
        first = asked.get("/sdk.js", headers={"accept-encoding": encoding})
        headers = {"accept-encoding": encoding, "if-none-match": f'"other", W/{first.headers["etag"]}'}
        second = asked.get("/sdk.js", headers=headers)
        other = asked.get("/sdk.js", headers={**headers, "accept-encoding": "br" if encoding == "gzip" else "gzip"})

    assert first.headers.get("content-encoding") == ("gzip" if encoding == "gzip" else None)
    assert first.content == PRESENT.body
    assert (second.status_code, second.content, second.headers["etag"]) == (304, b"", first.headers["etag"])
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("gzip, deflate, br", True), ("br;q=1.0, GZIP;q=0.1", True), ("gzip;q=1", True), ("", False), ("br", False),
        ("gzip;q=0", False), ("gzip; q=0.0", False), ("xgzip", False),
    ],
)  # fmt: skip
def test_gzip_is_sent_to_who_takes_it(header: str, taken: bool):
    assert takes_gzip(header) is taken


def test_a_former_script_stays_at_its_pinned_path_while_its_file_is_kept(tmp_path: Path):
    (tmp_path / "sdk.js").write_bytes(b"present();\n")
    (tmp_path / "former.js").write_bytes(b"former();\n")

    scripts = read_scripts(tmp_path)
    with client(tmp_path) as asked:
        answers = [asked.get(f"/sdk/{digest}.js").content for digest in scripts]

    assert sorted(answers) == [b"former();\n", b"present();\n"]


def test_the_types_name_what_the_script_offers():
    with client() as asked:
        types = asked.get("/sdk.d.ts")

    assert types.headers["content-type"] == "text/plain; charset=utf-8"
    source = (FOLDER / "sdk.js").read_text("utf-8")
    for word in ("clWidget", "clSdk", "clRe", "record", "consent", "createClWidget", "onClWidgetScriptLoad"):
        assert word in types.text
        assert word in source
    fields = re.findall(r"\b(\w+): \"\w+\"", source.partition("FIELDS = {")[2].partition("};")[0])
    assert fields == re.findall(
        r"^  (\w+)\??:", types.text.partition("ClIdentityParams {")[2].partition("\n}")[0], re.MULTILINE
    )
