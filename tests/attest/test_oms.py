"""`model.sig`: Model Signing accepts ours, and we read its own, and nothing that contradicts itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import model_signing
import pytest
from omskit import OURS, their_manifest

from auditor.attest import keys
from auditor.attest.bundle import parse_bundle, sign_with_key, verify_with_key
from auditor.attest.errors import BadStatement, VerificationError, WrongPredicate
from auditor.attest.manifest import Differences, Manifest, compare, hash_target
from auditor.attest.oms import PREDICATE_TYPE, oms_statement, parse_oms_statement
from auditor.sources import LocalSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = keys.generate("p256")
FILES = {
    "model.safetensors": b"weights", "a.b": b"1", "a/b": b"2", "a-b": b"3", "sub/deep/é \n": b"4",
    ".gitattributes": b"lfs", "sub/.gitignore": b"5", "empty": b"",
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "model"


@pytest.fixture
def public(tmp_path: Path) -> Path:
    path = tmp_path / "key.pub"
    path.write_bytes(keys.public_pem(KEY.public_key()))
    return path


def sign(model: Path, signature: Path, *, ignore: tuple[str, ...] = ()) -> Manifest:
    """Write a `model.sig` with our code."""
    hashed = hash_target(LocalSource(model), ignore=ignore)
    assert hashed.unread == ()
    payload = oms_statement(hashed.manifest, name=model.name, single_file=model.is_file())
    signature.write_bytes(sign_with_key(KEY, payload))
    return hashed.manifest


def they_verify(model: Path, signature: Path, public: Path, *, links: bool = False) -> None:
    verifying = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
    if links:  # Model Signing must be told so on verifying too, whoever signed
        verifying.set_hashing_config(model_signing.hashing.Config().set_allow_symlinks(links))
    verifying.verify(model, signature)


def we_read(signature: Path) -> Manifest:
    bundle = parse_bundle(signature.read_bytes(), file="model.sig")
    return parse_oms_statement(verify_with_key(bundle, KEY.public_key()), file="model.sig")


# --- Model Signing accepts ours -------------------------------------------------------------------------


def test_model_signing_accepts_a_folder_with_its_signature_in_it(model: Path, public: Path) -> None:
    sign(model, model / "model.sig")
    they_verify(model, model / "model.sig", public)


def test_model_signing_accepts_a_signature_beside_a_single_file(tmp_path: Path, public: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    sign(path, tmp_path / "gguf.sig")
    they_verify(path, tmp_path / "gguf.sig", public)


def test_model_signing_accepts_one_that_leaves_a_file_out(model: Path, tmp_path: Path, public: Path) -> None:
    (model / "attestation.json").write_bytes(b"{}")
    signed = sign(model, tmp_path / "sig", ignore=("attestation.json",))
    assert "attestation.json" not in {resource.name for resource in signed.resources}
    they_verify(model, tmp_path / "sig", public)
    (model / "attestation.json").write_bytes(b"{ }")
    they_verify(model, tmp_path / "sig", public)


def test_model_signing_accepts_one_with_links(model: Path, tmp_path: Path, public: Path) -> None:
    (model / "link").symlink_to("sub/deep/é \n")
    assert sign(model, tmp_path / "sig").follows_links
    they_verify(model, tmp_path / "sig", public, links=True)


def test_model_signing_accepts_notes_of_a_download(model: Path, tmp_path: Path, public: Path) -> None:
    (model / ".cache" / "huggingface").mkdir(parents=True)
    (model / ".cache" / "huggingface" / "note").write_text("not ours")
    sign(model, tmp_path / "sig")
    they_verify(model, tmp_path / "sig", public)


def changed(model: Path) -> None:
    (model / "a.b").write_bytes(b"x")


def added(model: Path) -> None:
    (model / "more").write_bytes(b"x")


def missing(model: Path) -> None:
    (model / "a.b").unlink()


def renamed(model: Path) -> None:
    (model / "empty").rename(model / "emptz")


@pytest.mark.parametrize("act", [changed, added, missing, renamed], ids=lambda act: act.__name__)
def test_model_signing_refuses_another_model(
    model: Path, tmp_path: Path, public: Path, act: Callable[[Path], None]
) -> None:
    sign(model, tmp_path / "sig")
    act(model)
    with pytest.raises(ValueError, match="Signature mismatch"):
        they_verify(model, tmp_path / "sig", public)


# --- we read theirs -------------------------------------------------------------------------------------


def they_sign(model: Path, signature: Path, secret: Path, *, links: bool = False) -> None:
    secret.write_bytes(keys.private_pem(KEY, None))
    config = model_signing.hashing.Config().set_allow_symlinks(links)
    config = config.set_ignored_paths(paths=[model / name for name in OURS])
    signing = model_signing.signing.Config().use_elliptic_key_signer(private_key=secret)
    signing.set_hashing_config(config).sign(model, signature)


@pytest.mark.parametrize("links", [False, True])
def test_we_read_what_model_signing_writes(model: Path, tmp_path: Path, *, links: bool) -> None:
    if links:
        (model / "link").symlink_to("empty")
    they_sign(model, model / "model.sig", tmp_path / "secret", links=links)
    signed = we_read(model / "model.sig")
    files, root = their_manifest(model, links=links)
    assert {resource.name: resource.sha256 for resource in signed.resources} == files
    assert (signed.root, signed.follows_links) == (root, links)
    assert {"model.sig", ".git", ".github"} <= set(signed.ignored)
    found = hash_target(LocalSource(model), ignore=signed.ignored).manifest
    assert compare(signed, found) == Differences()
    changed(model)
    found = hash_target(LocalSource(model), ignore=signed.ignored).manifest
    assert compare(signed, found) == Differences(changed=("a.b",))


def test_what_we_write_is_what_we_read(model: Path, tmp_path: Path) -> None:
    written = sign(model, tmp_path / "sig", ignore=("a.b",))
    assert we_read(tmp_path / "sig") == written


def test_a_single_file_has_no_name(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    written = sign(path, tmp_path / "sig")
    assert [resource.name for resource in we_read(tmp_path / "sig").resources] == ["."]
    assert we_read(tmp_path / "sig").root == written.root


# --- what is not one ------------------------------------------------------------------------------------


def good() -> dict[str, Any]:
    resources = [
        {"name": name, "algorithm": "sha256", "digest": digest * 32} for name, digest in (("a", "01"), ("b", "ef"))
    ]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": "model",
                "digest": {"sha256": "d779aad6e9305440c40aae4daba59cdd85e64a05317483d8838e6bcc1a7d4c1b"},
            }
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": ["x"]},
            "resources": resources,
        },
    }


def read(document: object) -> Manifest:
    return parse_oms_statement(json.dumps(document).encode(), file="model.sig")


def edited(*path: str | int, to: object = None, drop: bool = False) -> dict[str, Any]:
    """Return the good statement with one thing set or taken out."""
    document: Any = good()
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    if drop:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return dict(document)


def test_the_good_one_is_read() -> None:
    manifest = read(good())
    assert [(resource.name, resource.sha256) for resource in manifest.resources] == [("a", "01" * 32), ("b", "ef" * 32)]
    assert (manifest.ignored, manifest.follows_links) == (("x",), False)
    assert read(edited("predicate", "serialization", "ignore_paths", drop=True)).ignored == ()
    assert read(edited("predicate", "serialization", "allow_symlinks", to=True)).follows_links


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (edited("_type", to="https://in-toto.io/Statement/v0.1"), "not a signature of OpenSSF"),
        (edited("predicateType", to="https://model_signing/Digests/v0.1"), "not a signature of OpenSSF"),
        (edited("predicateType", drop=True), "not a signature of OpenSSF"),
        (edited("predicate", "serialization", "method", to="shards"), "serialization shards, sha256"),
        (edited("predicate", "serialization", "hash_type", to="blake2b"), "serialization files, blake2b"),
        (edited("predicate", "serialization", "method", to="x" * 999), "serialization xxxxxxxxxxxxxxxxxxxx, sha256"),
    ],
)
def test_another_statement_or_serialization(document: object, says: str) -> None:
    with pytest.raises(WrongPredicate, match=f"^model.sig: .*{says}"):
        read(document)


RESOURCE = ("predicate", "resources", 0)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "text",
        edited("subject", drop=True),
        edited("subject", to=[]),
        edited("subject", to=good()["subject"] * 2),
        edited("subject", to={}),
        edited("subject", 0, "digest", drop=True),
        edited("subject", 0, "digest", to="46e7"),
        edited("predicate", drop=True),
        edited("predicate", to=[]),
        edited("predicate", "serialization", drop=True),
        edited("predicate", "serialization", to="files"),
        edited("predicate", "serialization", "allow_symlinks", drop=True),
        edited("predicate", "serialization", "ignore_paths", to="abc"),
        edited("predicate", "serialization", "ignore_paths", to=[1]),
        edited("predicate", "serialization", "ignore_paths", to=None),
        edited("predicate", "resources", drop=True),
        edited("predicate", "resources", to={"a": 1}),
        edited("predicate", "resources", to=None),
        edited(*RESOURCE, to="a"),
        edited(*RESOURCE, "name", drop=True),
        edited(*RESOURCE, "name", to=7),
        edited(*RESOURCE, "name", to="b"),
        edited(*RESOURCE, "algorithm", to="sha512"),
        edited(*RESOURCE, "algorithm", drop=True),
        edited(*RESOURCE, "digest", drop=True),
        edited(*RESOURCE, "digest", to=None),
        edited(*RESOURCE, "digest", to="01" * 31),
        edited(*RESOURCE, "digest", to="01" * 33),
        edited(*RESOURCE, "digest", to="0g" * 32),
        edited(*RESOURCE, "digest", to="01 " * 32),
        edited(*RESOURCE, "digest", to="01" * 32 + "\n"),
        edited("predicate", "resources", 1, "digest", to="EF" * 32),
    ],
)
def test_malformed(document: object) -> None:
    with pytest.raises(BadStatement, match=r"^model\.sig: malformed statement"):
        read(document)


@pytest.mark.parametrize(
    "document",
    [
        edited("subject", 0, "digest", "sha256", to="ab" * 32),
        edited("subject", 0, "digest", "sha256", to=good()["subject"][0]["digest"]["sha256"].upper()),
        edited("subject", 0, "digest", "sha256", to=None),
        edited("predicate", "resources", to=good()["predicate"]["resources"][::-1]),
        edited("predicate", "resources", to=[]),
        edited(*RESOURCE, "digest", to="02" * 32),
    ],
    ids=["another root", "in capitals", "none", "another order", "no files", "another file"],
)
def test_a_root_that_is_not_that_of_the_files(document: object) -> None:
    with pytest.raises(BadStatement, match="do not add up to the digest of its subject"):
        read(document)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"{", b'{"_type": 1, "_type": 2}', b"[" * 10_000, b'{"_type": NaN}', b"1" * 10_000],
    ids=["nothing", "no text", "half", "a key twice", "deep", "NaN", "a long number"],
)
def test_no_strict_json(payload: bytes) -> None:
    with pytest.raises(BadStatement):
        parse_oms_statement(payload, file="model.sig")


def test_every_refusal_is_a_failed_verification() -> None:
    assert issubclass(BadStatement, VerificationError)
    assert issubclass(WrongPredicate, VerificationError)
