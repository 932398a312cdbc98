"""A repository of the Hub, signed without downloading it, and verified as the commit that it was."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attestkit import listing, payload_of, write_tuned
from hubkit import TOKEN
from modelkit import drifted, make_model, write_model

if TYPE_CHECKING:
    from deskkit import Desk, Done

pytest_plugins = ("deskfixtures",)

REPO = "acme/signed"
BRANCH = "hf://acme/signed"
BASE = make_model(1, layers=4, hidden=64, neurons=512)  # so large that its shards are not fetched whole for being small
DERIVED = drifted(BASE, cosine=0.9)


@dataclass(frozen=True, kw_only=True)
class Signing:
    """A model that passes, as a folder and as a repository, and a key."""

    desk: Desk
    commit: str
    files: dict[str, bytes]

    def attest(self, *arguments: str, target: str = REPO, code: int = 0) -> dict[str, Any]:
        """Sign, and return the predicate."""
        self.desk.hub.requests.clear()
        done = self.desk("attest", target, "-o", "a.json", "--key", "k.key", "-a", "base.sketch", *arguments)
        assert done.code == code, done
        predicate: dict[str, Any] = payload_of(Path("a.json").read_bytes())["predicate"]
        return predicate

    def verify(self, target: str = REPO, *arguments: str) -> Done:
        return self.desk("verify", "a.json", target, "--key", "k.pub", "-f", "json", *arguments)

    def digests(self) -> list[dict[str, str]]:
        """Return what was signed about each file."""
        found: list[list[dict[str, str]]] = []

        def look(value: Any) -> None:  # noqa: ANN401 (JSON)
            if isinstance(value, dict):
                if "resources" in value and isinstance(value["resources"], list):
                    found.append(value["resources"])
                for inner in value.values():
                    look(inner)
            elif isinstance(value, list):
                for inner in value:
                    look(inner)

        look(payload_of(Path("a.json").read_bytes()))
        return next(group for group in found if group and "digest_source" in group[0])


@pytest.fixture
def signing(desk: Desk) -> Signing:
    folder = write_tuned(desk.folder / "folder")
    write_model(DERIVED, folder, shards=2)
    files = listing(folder)
    write_model(BASE, desk.folder / "base")
    assert desk("sketch", "base", "-o", "base.sketch").code == 0
    assert desk("keygen", "-o", "k", "--no-passphrase").code == 0
    return Signing(desk=desk, commit=desk.hub.publish(REPO, files), files=files)


def test_weights_are_vouched_for_by_the_hub_and_the_rest_is_hashed(signing: Signing) -> None:
    predicate = signing.attest()
    assert predicate["verificationResult"] == "PASSED"
    assert predicate["resourceUri"] == f"{signing.desk.hub.endpoint}/{REPO}@{signing.commit}"
    sources = {entry["name"]: entry["digest_source"] for entry in signing.digests()}
    assert sources == {path: "hub" if path.endswith(".safetensors") else "computed" for path in signing.files}
    digests = {entry["name"]: entry["digest"] for entry in signing.digests()}
    assert digests == {path: hashlib.sha256(data).hexdigest() for path, data in signing.files.items()}
    for path, data in signing.files.items():
        if path.endswith(".safetensors"):
            read = signing.desk.read_of(data)
            assert 0 < sum(stop - start for start, stop in read) < len(data)
            assert (0, -1) not in read
    done = signing.verify()
    assert (done.code, done.err) == (0, "")
    assert (done.json["verified"], done.json["resource_checked"]) == (True, True)
    assert done.json["resource"] == predicate["resourceUri"]


def test_verifying_fetches_no_weights(signing: Signing) -> None:
    signing.attest()
    signing.desk.hub.requests.clear()
    assert signing.verify().code == 0
    assert signing.desk.hub.asked("cdn") == []
    assert {request.path.rpartition("/")[2] for request in signing.desk.hub.asked("hub", "/resolve/")} == {
        path for path in signing.files if not path.endswith(".safetensors")
    }


def test_the_root_is_that_of_the_same_files_in_a_folder(signing: Signing) -> None:
    signing.attest()
    root = signing.verify().json["root"]
    assert signing.desk("digest", "folder").out.splitlines()[-1] == f"{root}  root"
    assert signing.desk("digest", REPO).out.splitlines()[-1] == f"{root}  root"
    assert signing.verify("folder").code == 0  # a download of it; what it is called is the signer's word
    assert signing.verify("folder").json["resource_checked"] is False


def test_a_branch_that_moved_is_another_resource(signing: Signing) -> None:
    signing.attest()
    other = signing.desk.hub.publish(REPO, signing.files | {"README.md": b"---\nlicense: apache-2.0\n---\n# New\n"})
    done = signing.verify()
    assert (done.code, done.json["verified"]) == (1, False)
    assert done.json["code"] == "wrong-resource"
    assert signing.commit in done.json["reason"]
    assert other in done.json["reason"]
    assert signing.verify(f"{REPO}@{signing.commit}").code == 0


def test_a_new_commit_of_the_same_files_is_another_resource_too(signing: Signing) -> None:
    signing.attest()
    assert signing.desk.hub.publish(REPO, signing.files) != signing.commit
    assert signing.verify().json["code"] == "wrong-resource"


def test_the_branch_that_was_signed_is_recorded_as_its_commit(signing: Signing) -> None:
    for target in (f"{REPO}@main", BRANCH, f"{BRANCH}@{signing.commit}"):
        assert signing.attest(target=target)["resourceUri"].endswith(f"/{REPO}@{signing.commit}")


def test_another_resource_on_request(signing: Signing) -> None:
    resource = "https://models.example/signed@1"
    assert signing.attest("--resource", resource)["resourceUri"] == resource
    assert signing.verify().json["code"] == "wrong-resource"  # a repository is compared, whatever the signer calls it
    assert signing.verify(REPO, "--resource", resource).code == 0
    assert signing.verify("folder", "--resource", f"{resource}0").json["code"] == "wrong-resource"


def test_other_weights_under_the_same_commit_are_refused(signing: Signing) -> None:
    """A Hub that rewrites history says other digests."""
    signing.attest()
    write_model(drifted(DERIVED, cosine=0.99), signing.desk.folder / "rewritten", shards=2)
    changed = listing(signing.desk.folder / "rewritten")
    signing.desk.hub.repositories[REPO].commits[signing.commit] = signing.files | changed
    done = signing.verify()
    assert (done.code, done.json["code"]) == (1, "files-differ")
    assert done.json["changed"] == sorted(path for path in changed if path.endswith(".safetensors"))


def test_a_gated_repository_is_not_signed(signing: Signing) -> None:
    signing.desk.hub.gated.add(REPO)
    signing.desk.settings(token=TOKEN)
    said = signing.desk.fails("attest", REPO, "-o", "a.json", "--key", "k.key", "-a", "base.sketch")
    assert f"{REPO}: gated: accept its terms at {signing.desk.hub.endpoint}/{REPO} with the account" in said
    assert not Path("a.json").exists()


def test_no_token_is_signed(signing: Signing) -> None:
    signing.desk.settings(token=TOKEN)
    predicate = signing.attest()
    assert TOKEN not in json.dumps(predicate)
    assert signing.desk.hub.asked("hub")[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_an_attestation_is_not_written_for_a_file_that_cannot_be_had(signing: Signing) -> None:
    signing.desk.hub.twist = lambda request, answer: answer if "config.json" not in request.path else _gone(answer)
    said = signing.desk.fails("attest", REPO, "-o", "a.json", "--key", "k.key", "-a", "base.sketch")
    assert "config.json" in said
    assert not Path("a.json").exists()


def _gone(answer: Any) -> Any:  # noqa: ANN401 (an Answer)
    return type(answer)(status=404, headers={"X-Error-Code": "EntryNotFound"})
