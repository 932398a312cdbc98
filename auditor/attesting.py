"""From an audit to a signed attestation, and from an attestation back to the files: where `attest` meets the disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.attest import (
    VERIFIER_ID,
    Expected,
    Input,
    audit_policy,
    check_files,
    check_statement,
    hash_target,
    make_manifest,
    make_statement,
    oms_statement,
    open_attestation,
    parse_bundle,
    passed,
    resource_uri,
)
from auditor.attest.errors import Unattestable, VerificationError
from auditor.attest.manifest import IGNORED_PATHS, follows_links, is_ignored
from auditor.attest.oms import parse_oms_statement
from auditor.audit import Audit, Digests, Options, audit
from auditor.compliance import load_policies
from auditor.digests.files import Hashing
from auditor.errors import UsageError
from auditor.limits import LIMITS
from auditor.sources import LocalSource, open_source
from auditor.writing import inside, write_whole

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import timedelta

    from auditor.attest import AuditPolicy, Signer, Statement, Voucher
    from auditor.attest.manifest import Manifest
    from auditor.digests.files import Progress
    from auditor.sources import Source, Unread


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """What was signed.

    Attributes
    ----------
    audit : Audit
    passed : bool
        What the statement says came of it.
    root : str
        Digest of all files, in hex.
    files : int
        How many.
    signer : str
        Whose word it is, for people.
    """

    audit: Audit
    passed: bool
    root: str
    files: int
    signer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """An attestation that holds.

    Attributes
    ----------
    statement : Statement
    signer : str
        Whose word it is, for people.
    resource_checked : bool
        The resource was compared with one that the caller knows.
    """

    statement: Statement
    signer: str
    resource_checked: bool


def attest(  # noqa: PLR0913 (what is signed, by whom, and where it goes)
    target: str,
    options: Options,
    *,
    signer: Signer,
    output: Path,
    oms: Path | None = None,
    resource: str | None = None,
    verifier: str = VERIFIER_ID,
    inputs: Sequence[Input] = (),
    hashing: Hashing | None = None,
) -> Attested:
    """Audit a target, hash all its files, sign what was found, and write it. One read of every byte.

    An audit that did not pass is signed as such. Nothing is written unless everything was signed and verified.

    Parameters
    ----------
    target : str
        Folder, file or repository.
    options : Options
        Of the audit; the licence part and the digests of all files are always on.
    signer : Signer
    output : Path
        Attestation to write.
    oms : Path, optional
        Also write a `model.sig` of OpenSSF Model Signing.
    resource : str, optional
        URI of what is audited; see `resource_uri` where left out.
    verifier : str
        URI of who verifies.
    inputs : sequence of Input
        See `verify_model_signature`.
    hashing : Hashing, optional
        Of the target without our own files, see `inside`; perhaps under way.

    Raises
    ------
    TargetError, UsageError, BadReference
        When the audit cannot begin, or the result cannot be written.
    Unattestable
        When a file cannot be hashed, or an entry of the target is no file that can be vouched for.
    SigningError
        When it cannot be signed.
    """
    digests: Digests = "tensors" if options.digests == "tensors" else "files"
    options = replace(options, licence=True, digests=digests)
    written = tuple(path for path in (output, oms) if path is not None)
    _check_free(target, written)
    ignore = inside(target, written)
    done = audit(target, options, hashing=hashing or Hashing(open_source(target), ignore=ignore))
    single = Path(target).is_file()
    always = () if single else IGNORED_PATHS
    _check_all_hashed(target, done.source, done.digests.unread, {*always, *ignore})
    paths = {info.path for info in done.digests.files}
    manifest = make_manifest(
        done.report.target.files, always=always, ignore=ignore, follows_links=follows_links(done.source, paths)
    )
    name = target_name(target)
    payload = make_statement(
        done.report,
        name=name,
        manifest=manifest,
        policy=policy_of(options),
        references=done.reference_digests,
        statements=done.statements,
        inputs=inputs,
        resource=resource,
        verifier=verifier,
        called=_called(done, options),
        now=datetime.now(tz=UTC),
    )
    bundles = {output: signer.sign(payload)}
    if oms is not None:
        bundles[oms] = signer.sign(oms_statement(manifest, name=name, single_file=single))
    _write_all(bundles)
    return Attested(
        audit=done,
        passed=passed(done.report),
        root=manifest.root,
        files=len(manifest.resources),
        signer=signer.describe(bundles[output]),
    )


def verify(
    attestation: Path,
    target: str,
    *,
    voucher: Voucher,
    policy_sha256: str,
    verifier: str = VERIFIER_ID,
    resource: str | None = None,
    max_age: timedelta | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Verify an attestation of a target: signature, statement, every file, verdict.

    Parameters
    ----------
    attestation : Path
    target : str
        Folder, file or repository.
    voucher : Voucher
        Whose signature is believed.
    policy_sha256 : str
        Digest of the policy that the audit must have been made under; see `policy_of`.
    verifier : str
        URI of who must have verified.
    resource : str, optional
        URI of what must have been audited. The repository and commit where the target is one of the Hub.
    max_age : timedelta, optional
    progress : callable, optional
        See `digest_files`.

    Raises
    ------
    TargetError, UsageError
        When the target cannot be opened, or the attestation not be read.
    VerificationError
        When it does not hold.
    """
    file = str(attestation)
    statement = open_attestation(read_capped(attestation, LIMITS.attestation_bytes + 1), file=file, voucher=voucher)
    source = open_source(target)
    if resource is None and source.kind != "local":
        resource = resource_uri(source, target_name(target))
    expected = Expected(policy_sha256=policy_sha256, verifier=verifier, resource=resource, max_age=max_age)
    check_statement(statement, expected, file=file, now=datetime.now(tz=UTC))
    own = inside(target, (attestation,))
    found = hash_target(source, always=statement.manifest.ignored, ignore=own, progress=progress)
    check_files(statement, found.manifest, unread=found.unread)
    return Verified(statement=statement, signer=voucher.describe(), resource_checked=resource is not None)


def verify_model_signature(model: Path, voucher: Voucher, *, progress: Progress | None = None) -> Input:
    """Verify the `model.sig` beside a base model, and every file of the model, as evidence that goes into an audit.

    Parameters
    ----------
    model : Path
        Folder with a `model.sig`.
    voucher : Voucher
        Whose signature is believed.
    progress : callable, optional
        See `digest_files`.

    Raises
    ------
    TargetError, UsageError, VerificationError
    """
    path = model / "model.sig"
    data = read_capped(path, LIMITS.attestation_bytes + 1)
    signed = parse_oms_statement(voucher.verify(parse_bundle(data, file=str(path))), file=str(path))
    found = hash_target(LocalSource(model), always=signed.ignored, ignore=("model.sig",), progress=progress)
    check_files(_Claim(signed), found.manifest, unread=found.unread)
    return Input(
        uri=f"{resource_uri(LocalSource(model), model.resolve().name)}#model.sig",
        sha256=hashlib.sha256(data).hexdigest(),
        signer=voucher.describe(),
        subject=signed.root,
    )


def policy_of(options: Options) -> AuditPolicy:
    """Describe what an audit with these options is held against."""
    return audit_policy(
        load_policies(options.policies), profile=options.profile, strict=options.strict, fail_on=options.fail_on
    )


def target_name(target: str) -> str:
    """Return what a target is called: the last part of its path, or its repository id."""
    return Path(target).resolve().name if Path(target).exists() else target.partition("@")[0].removeprefix("hf://")


def read_capped(path: Path, limit: int) -> bytes:
    """Read at most `limit` bytes of a file of the user's.

    Raises
    ------
    UsageError
    """
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class _Claim:
    """What `check_files` needs of a statement, for one that has no verdict."""

    manifest: Manifest
    passed: bool = True

    @property
    def root(self) -> str:
        return self.manifest.root


def _check_all_hashed(target: str, source: Source, unhashed: Iterable[Unread], ignored: Collection[str]) -> None:
    for unread in (*source.refused(), *unhashed):
        if not is_ignored(unread.path, ignored):
            raise Unattestable(f"{target}: {unread.path}: {unread.reason}: it cannot be vouched for")


def _check_free(target: str, paths: Sequence[Path]) -> None:
    """Refuse to write over the model, or one signature over the other."""
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError(f"{paths[0]}: two signatures in one file: give --oms another name")
    model = Path(target).resolve()
    for path in paths:
        of_model = any(place.is_relative_to(model) for place in (path.resolve(), path.parent.resolve() / path.name))
        if of_model and path.is_file() and not _is_signature(path):
            raise UsageError(f"{path}: a file of the model that is no signature: it is not overwritten")


def _is_signature(path: Path) -> bool:
    try:
        parse_bundle(read_capped(path, LIMITS.attestation_bytes + 1), file=str(path))
    except VerificationError:
        return path.name == "model.sig"
    return True


def _write_all(bundles: Mapping[Path, bytes]) -> None:
    """Write every file or none."""
    try:
        before = {path: path.read_bytes() if path.is_file() else None for path in bundles}
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read: {error.strerror}") from error
    written: list[Path] = []
    try:
        for path, bundle in bundles.items():
            write_whole(path, bundle)
            written.append(path)
    except UsageError:
        for path in written:
            old = before[path]
            path.unlink() if old is None else write_whole(path, old)
        raise


def _called(done: Audit, options: Options) -> dict[str, str]:
    """Return the paths on this machine that a report may name, and what to call them elsewhere."""
    paths = [
        path for path in (*options.against, options.base, options.config) if path is not None and Path(path).exists()
    ]
    names = {path: Path(path).resolve().name for path in paths}
    for name in done.reference_digests:  # of several models in one folder: "PATH:FILE"
        path, _, file = name.partition(":")
        if path in names and file:
            names[name] = f"{names[path]}:{file}"
    return names
