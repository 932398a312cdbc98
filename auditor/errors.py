"""The tree of everything that can go wrong, one type for each broken invariant.

Only `auditor.cli` and the places that turn a refusal into an entry of `coverage.unread` catch these. Every
error names the file, the field, what was found and what was allowed, so that a message needs no traceback.
Text taken from a model (names, paths) stands in the attributes as it was read; it is escaped where shown.
"""

from __future__ import annotations

from typing import ClassVar


class AuditError(Exception):
    """Base of all errors that the auditor raises on purpose.

    Attributes
    ----------
    code : str
        Stable reason code in kebab case, the same in every output format.
    names_code : bool
        The command line shows the code before the message.
    """

    code: ClassVar[str] = "audit-error"
    names_code: ClassVar[bool] = False


class UsageError(AuditError):
    """A command was given something that it cannot work with: an option, a name, an output path."""

    code = "usage"


class ConfigError(UsageError):
    """The user's own settings break a rule: nothing is audited under settings that were only half understood.

    Parameters
    ----------
    file : str
        Name of the file, as the user knows it.
    problem : str
        What is wrong, as a phrase.
    entry : str, optional
        The table in it: "[[waiver]] 2", counted from 1.
    key : str, optional
        The key in the table.
    value : object, optional
        What stands there. None where nothing does.
    """

    code = "config"

    def __init__(
        self, *, file: str, problem: str, entry: str | None = None, key: str | None = None, value: object = None
    ) -> None:
        self.file = file
        self.entry = entry
        self.key = key
        self.problem = problem
        self.value = value
        where = ": ".join(part for part in (file, entry, key) if part)
        found = f" (found {_toml(value)})" if value is not None else ""
        super().__init__(f"{where}: {problem}{found}")


class TargetError(AuditError):
    """The target as a whole cannot be audited: it is missing, empty, or of no kind we know."""

    code = "target"


class BadReference(AuditError):
    """A reference is unknown, damaged, or does not fit the use made of it."""

    code = "reference"


class FileError(AuditError):
    """A file of the target breaks a rule of its format or of safe reading.

    Parameters
    ----------
    file : str
        Path of the file inside the target, POSIX separators.
    field : str
        The part of the file that breaks the rule, in the format's own words ("header length").
    problem : str, optional
        What is wrong with it, as a phrase. The class docstring is used where it is left out.
    actual, limit : object, optional
        What was found, and what would have been allowed.
    """

    code = "file"

    def __init__(
        self,
        *,
        file: str,
        field: str,
        problem: str | None = None,
        actual: object = None,
        limit: object = None,
    ) -> None:
        self.file = file
        self.field = field
        self.problem = problem if problem is not None else _first_line(type(self))
        self.actual = actual
        self.limit = limit
        super().__init__(f"{file}: {self.reason}")

    @property
    def reason(self) -> str:
        """The message without the file name. Holds text of the model as it was read: escape it to show it."""
        text = f"{self.field}: {self.problem}"
        if self.actual is not None:
            text += f" (found {_brief(self.actual)}"
            text += f", allowed {_brief(self.limit)})" if self.limit is not None else ")"
        elif self.limit is not None:
            text += f" (allowed {_brief(self.limit)})"
        return text


class Truncated(FileError):
    """The file ends before it."""

    code = "truncated"


class LimitExceeded(FileError):
    """Over the limit."""

    code = "limit-exceeded"


class NotText(FileError):
    """Not valid UTF-8."""

    code = "not-text"


class BadJson(FileError):
    """Not strict JSON."""

    code = "bad-json"


class WrongType(FileError):
    """Of the wrong type."""

    code = "wrong-type"


class DuplicateName(FileError):
    """The same name twice."""

    code = "duplicate-name"


class BadName(FileError):
    """Not a usable name."""

    code = "bad-name"


class BadShape(FileError):
    """Not a usable shape."""

    code = "bad-shape"


class UnknownDtype(FileError):
    """Not a data type of this format."""

    code = "unknown-dtype"


class UnsupportedDtype(FileError):
    """A data type whose values are not decoded yet."""

    code = "unsupported-dtype"


class BadOffset(FileError):
    """Not a usable offset."""

    code = "bad-offset"


class Overlap(FileError):
    """Shares bytes with another tensor."""

    code = "overlap"


class Hole(FileError):
    """Bytes that belong to no tensor."""

    code = "hole"


class SizeMismatch(FileError):
    """Size and shape disagree."""

    code = "size-mismatch"


class BadMagic(FileError):
    """Not a file of this format."""

    code = "bad-magic"


class UnsupportedVersion(FileError):
    """A version of the format that is not read."""

    code = "unsupported-version"


class UnsupportedFormat(FileError):
    """A format that is recognised but not read by this version."""

    code = "unsupported-format"


class BadPickle(FileError):
    """Not a pickle that a loader could read."""

    code = "bad-pickle"


class ExecutablePickle(FileError):
    """A pickle that calls code; nothing was called."""

    code = "executable-pickle"


class AmbiguousArchive(FileError):
    """An archive that different readers read differently."""

    code = "ambiguous-archive"


class NotContiguous(FileError):
    """A tensor whose elements do not lie one after another."""

    code = "not-contiguous"


class QuantMismatch(FileError):
    """The tensors of a quantised matrix, or what the checkpoint says of them, disagree."""

    code = "quant-mismatch"


class UnsafePath(FileError):
    """A path that leaves the target."""

    code = "unsafe-path"


class OverBudget(FileError):
    """Reading it would exceed what the user allows to be read."""

    code = "over-budget"


class NotRegularFile(FileError):
    """Neither a regular file nor a folder."""

    code = "not-regular-file"


class MissingShard(FileError):
    """A file that the index names is absent."""

    code = "missing-shard"


class IndexMismatch(FileError):
    """Index and shards disagree."""

    code = "index-mismatch"


class Changed(FileError):
    """The file changed while it was read."""

    code = "changed"


class Unavailable(FileError):
    """The operating system refused to read it."""

    code = "unavailable"


class MissingField(FileError):
    """Required but absent."""

    code = "missing-field"


class BadAlignment(FileError):
    """Not a usable alignment."""

    code = "bad-alignment"


class RangeIgnored(FileError):
    """The server does not answer with the bytes that were asked for."""

    code = "range-ignored"


class ServerMismatch(FileError):
    """The server contradicts what it said of it before."""

    code = "server-mismatch"


class Undelivered(FileError):
    """The server did not deliver it."""

    code = "undelivered"


class HubError(TargetError):
    """A repository of the Hub cannot be audited."""

    code = "hub"


class BadRepoId(HubError):
    """No name that a repository or revision can have. Nothing was asked of any server."""

    code = "hub-repo-id"


class GatedRepo(HubError):
    """The repository is given only to those who accepted its terms."""

    code = "hub-gated"


class MissingRepo(HubError):
    """There is no such repository, or none that the token in use may see: the Hub does not tell these apart."""

    code = "hub-missing"


class RenamedRepo(HubError):
    """The repository has another name now. The audit does not go on under a name that nobody typed.

    Parameters
    ----------
    message : str
    new_name : str
        The name that the server gives.
    """

    code = "hub-renamed"

    def __init__(self, message: str, *, new_name: str) -> None:
        self.new_name = new_name
        super().__init__(message)


class MissingRevision(HubError):
    """The repository has no such branch, tag or commit."""

    code = "hub-revision"


class EmptyRepo(HubError):
    """The repository holds no files."""

    code = "hub-empty"


class HubOffline(HubError):
    """Offline mode is on, and the local cache does not hold what is needed."""

    code = "hub-offline"


class HubUnreachable(HubError):
    """The server cannot be reached, or gives no usable answer."""

    code = "hub-unreachable"


class HubMismatch(HubError):
    """The server contradicts itself about the repository, or answers for another one."""

    code = "hub-mismatch"


class MlflowError(TargetError):
    """A version in MLflow's model registry cannot be audited, or not be marked."""

    code = "mlflow"


class BadModelUri(MlflowError):
    """No name that a version of a registered model can have. Nothing was asked of any server."""

    code = "mlflow-uri"


class MissingModelVersion(MlflowError):
    """The registry has no such model, version or alias."""

    code = "mlflow-missing"


class MlflowDenied(MlflowError):
    """The server does not let us: no credentials, wrong ones, or a right that they lack."""

    code = "mlflow-denied"


class MlflowUnreachable(MlflowError):
    """The server cannot be reached, or gives no usable answer."""

    code = "mlflow-unreachable"


class MlflowMismatch(MlflowError):
    """The server contradicts itself about a version, or answers for another one."""

    code = "mlflow-mismatch"


class ArtifactsElsewhere(MlflowError):
    """The files of a version lie where the server does not list or deliver them."""

    code = "mlflow-artifacts"


class VersionChanged(MlflowError):
    """The version is not what it was when the audit began."""

    code = "mlflow-changed"


class RegistryNotWritten(MlflowError):
    """Not every tag and alias was written."""

    code = "mlflow-write"


class StoreError(AuditError):
    """The store of a sweep cannot be used; what it holds stays as it is."""

    code = "store"


class StoreMissing(StoreError):
    """There is no such store."""

    code = "store-missing"


class StoreNewer(StoreError):
    """A newer version of this tool made the store."""

    code = "store-newer"


class StoreInUse(StoreError):
    """Another sweep is writing the store, or took it over."""

    code = "store-in-use"


class StoreUnwritable(StoreError):
    """The store cannot be written: the disk is full, or does not let us."""

    code = "store-unwritable"


class StoreConflict(StoreError):
    """Two stores disagree about the same revision of a target."""

    code = "store-conflict"


class HostDown(AuditError):
    """A sweep gave up waiting for a host; what was not audited yet stays queued."""

    code = "host-down"


class WorkerDied(AuditError):
    """The process that audited a target was ended."""

    code = "worker-died"


class EngineDown(AuditError):
    """A sweep was stopped because workers ended whatever they were given; what was not audited yet stays queued."""

    code = "engine-down"


class WorkerTimeout(AuditError):
    """The audit of a target took longer than it may, and was ended."""

    code = "worker-timeout"


class MissingExtra(UsageError):
    """An optional part of this package is needed, and not installed."""

    code = "missing-extra"


class OciError(TargetError):
    """An artifact in an OCI registry cannot be audited."""

    code = "oci"


class BadOciName(OciError):
    """No name that an artifact in a registry can have. Nothing was asked of any server."""

    code = "oci-name"


class MissingArtifact(OciError):
    """The registry has no such repository, tag or digest, or none that we may see."""

    code = "oci-missing"


class OciDenied(OciError):
    """The registry does not let us: no credentials, wrong ones, or ones that cannot be used."""

    code = "oci-denied"


class OciUnreachable(OciError):
    """The registry cannot be reached, or gives no usable answer."""

    code = "oci-unreachable"


class OciMismatch(OciError):
    """What the registry sends is not what its digest names."""

    code = "oci-mismatch"


class BadManifest(OciError):
    """A manifest that breaks the rules of its format."""

    code = "oci-manifest"


class AmbiguousIndex(OciError):
    """An index of several artifacts: which of them is meant the user must say."""

    code = "oci-index"


class NoModelLayers(OciError):
    """An artifact that holds no model, as far as its media types say."""

    code = "oci-no-model"


class BucketError(TargetError):
    """What lies in a bucket of an object store cannot be audited."""

    code = "bucket"


class BadBucketName(BucketError):
    """No name that a bucket, or a prefix in one, can have. Nothing was asked of any server."""

    code = "bucket-name"


class MissingObjects(BucketError):
    """There is no such bucket, or nothing under that prefix."""

    code = "bucket-missing"


class BucketDenied(BucketError):
    """The store does not let us: no credentials, wrong ones, or a right that they lack."""

    code = "bucket-denied"


class BucketUnreachable(BucketError):
    """The store cannot be reached, or gives no usable answer."""

    code = "bucket-unreachable"


def _first_line(cls: type[FileError]) -> str:
    line = (cls.__doc__ or cls.code).splitlines()[0].rstrip(".")
    return line[:1].lower() + line[1:]


def _toml(value: object) -> str:
    """Show a value as the user wrote it, without walking into what may be nested deeply."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, bool):
        return str(value).lower()
    return _brief(value if isinstance(value, int) else repr(value) if isinstance(value, str) else str(value))


def _brief(value: object, *, width: int = 120) -> str:
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"  # CPython refuses str() of a very long one
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."
