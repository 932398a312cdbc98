"""The sha256 of every file of a source, and the value digest of every tensor in it, from one read.

Files are hashed side by side, the largest first. What lies on this machine and is large is mapped, by a process for
each core: mapping saves a copy of every byte, and a file that is truncated meanwhile ends that process and not the
audit. Everything else is read by ranges.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from auditor.digests import worker
from auditor.errors import Changed, FileError, Unavailable
from auditor.sources import FileInfo, Range, Unread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from auditor.digests.values import TensorLayout
    from auditor.sources import OnDisk, Source

    Progress = Callable[[int, int], None]

SMALL = 8 * 1024 * 1024
"""Bytes up to which a file is read into memory: hashing it takes less time than starting a process does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigests:
    """What came of hashing.

    Attributes
    ----------
    files : tuple of FileInfo
        All files asked for that could be hashed, sorted by path, each with its digest.
    tensors : mapping of (file, tensor name) to str
        Value digests of the tensors that were asked for.
    unread : tuple of Unread
        Files that could not be hashed.
    bytes_read : int
        Bytes that were read for it.
    """

    files: tuple[FileInfo, ...]
    tensors: Mapping[tuple[str, str], str] = field(default_factory=dict)
    unread: tuple[Unread, ...] = ()
    bytes_read: int = 0


def digest_files(
    source: Source,
    paths: Collection[str] | None = None,
    *,
    tensors: Mapping[str, tuple[TensorLayout, ...]] | None = None,
    recompute: bool = False,
    processes: int | None = None,
    progress: Progress | None = None,
) -> FileDigests:
    """Hash files of a source.

    A digest that the source already vouches for (the Hub's) is taken over, unless the file's tensors are wanted too.

    Parameters
    ----------
    source : Source
    paths : collection of str, optional
        Files to hash; all where left out.
    tensors : mapping of path to tuple of TensorLayout, optional
        Tensors whose value digests are wanted. Every one lies within its file.
    recompute : bool
        Hash also what the source vouches for.
    processes : int, optional
        Files hashed side by side; one for each core that this process may use where left out.
    progress : callable, optional
        Called with bytes hashed and bytes in all, from any thread.
    """
    layouts = tensors or {}
    wanted = [info for info in source.files() if paths is None or info.path in paths]

    def is_known(info: FileInfo) -> bool:
        return info.sha256 is not None and not layouts.get(info.path) and not recompute

    known = [info for info in wanted if is_known(info)]
    jobs = [
        _Job(
            info=info,
            disk=source.on_disk(info.path) if info.size > SMALL else None,
            tensors=layouts.get(info.path, ()),
        )
        for info in sorted(wanted, key=lambda info: (-info.size, info.path))
        if not is_known(info)
    ]
    run = _Run(source, jobs, progress)
    run.all(processes or _cores())
    return FileDigests(
        files=tuple(sorted([*known, *run.files], key=lambda info: info.path)),
        tensors=run.tensors,
        unread=tuple(sorted(run.unread, key=lambda unread: unread.path)),
        bytes_read=sum(info.size for info in run.files),
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


class Hashing:
    """Digests in the making: the files are hashed by processes of their own while the caller goes on.

    Parameters
    ----------
    source : Source
    ignore : collection of str
        Files that are not hashed.
    processes, progress
        See `digest_files`.
    """

    def __init__(
        self,
        source: Source,
        *,
        ignore: Collection[str] = (),
        processes: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.source = source
        self.started = False
        self._ignore = ignore
        self._processes = processes
        self._progress = progress
        self._thread: threading.Thread | None = None
        self._result: FileDigests | BaseException = FileDigests(files=())

    def start(self, tensors: Mapping[str, tuple[TensorLayout, ...]] | None = None) -> None:
        """Begin, unless it was begun; `tensors` as for `digest_files`."""
        if not self.started:
            self.started = True
            self._thread = threading.Thread(target=self._run, args=(tensors,), daemon=True)
            self._thread.start()

    def result(self) -> FileDigests:
        """Wait for what was begun; nothing where nothing was."""
        if self._thread is not None:
            self._thread.join()
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result

    def _run(self, tensors: Mapping[str, tuple[TensorLayout, ...]] | None) -> None:
        try:
            paths = {info.path for info in self.source.files()}.difference(self._ignore)
            self._result = digest_files(
                self.source, paths, tensors=tensors, processes=self._processes, progress=self._progress
            )
        except BaseException as error:  # noqa: BLE001 (nothing is hidden: whoever asks for the result gets it)
            self._result = error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A file to hash; `disk` where it is to be mapped."""

    info: FileInfo
    disk: OnDisk | None
    tensors: tuple[TensorLayout, ...]


class _Run:
    """One pass over all jobs: threads take them from a queue, and each thread has a process for those it maps."""

    def __init__(self, source: Source, jobs: Sequence[_Job], progress: Progress | None) -> None:
        self.files: list[FileInfo] = []
        self.tensors: dict[tuple[str, str], str] = {}
        self.unread: list[Unread] = []
        self._source = source
        self._queue: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        for job in jobs:
            self._queue.put(job)
        self._count = len(jobs)
        self._with_tensors = any(job.tensors for job in jobs)
        self._total = sum(job.info.size for job in jobs)
        self._done = 0
        self._progress = progress
        self._lock = threading.Lock()
        self._crash: BaseException | None = None

    def all(self, processes: int) -> None:
        threads = [threading.Thread(target=self._take_all, daemon=True) for _ in range(min(processes, self._count))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._crash is not None:
            raise self._crash

    def _take_all(self) -> None:
        mapper = _Mapper(with_tensors=self._with_tensors)
        try:
            while self._crash is None:
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    return
                self._take(job, mapper)
        except BaseException as error:  # noqa: BLE001 (nothing is hidden: the caller's thread raises it)
            self._crash = error
        finally:
            mapper.close()

    def _take(self, job: _Job, mapper: _Mapper) -> None:
        last = 0

        def report(at: int) -> None:
            nonlocal last
            self._report(at - last)
            last = at

        try:
            digest, values = mapper.digest(job, job.disk, report) if job.disk else self._read(job, report)
        except FileError as error:
            with self._lock:
                self.unread.append(Unread.from_error(error))
        else:
            with self._lock:
                self.files.append(replace(job.info, sha256=digest, digest_source="computed"))
                self.tensors.update({(job.info.path, name): value for name, value in values.items()})
        report(job.info.size)

    def _read(self, job: _Job, report: Callable[[int], None]) -> tuple[str, dict[str, str]]:
        """Hash a file that is small, or does not lie on this machine."""
        size = job.info.size
        if not job.tensors:
            return _sha256_by_ranges(self._source, job.info, report), {}
        (data,) = self._source.read(job.info.path, [Range(0, size)])
        return worker.digest_view(memoryview(data), [asdict(layout) for layout in job.tensors], report=report)

    def _report(self, more: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._done += more
                self._progress(self._done, self._total)


def _sha256_by_ranges(source: Source, info: FileInfo, report: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    for start in range(0, info.size, SMALL):
        stop = min(start + SMALL, info.size)
        digest.update(source.read(info.path, [Range(start, stop)])[0])
        report(stop)
    return digest.hexdigest()


class _Mapper:
    """A process that maps files and hashes them, started when it is first needed and again after it died."""

    def __init__(self, *, with_tensors: bool) -> None:
        # Never from the current folder, which may be the target (-P). Without tensors the standard library is all it
        # needs (-I -S), and it is there in some 15 ms.
        self._command = [sys.executable, *(["-P"] if with_tensors else ["-I", "-S"]), str(Path(worker.__file__))]
        self._process: subprocess.Popen[str] | None = None

    def digest(self, job: _Job, disk: OnDisk, report: Callable[[int], None]) -> tuple[str, dict[str, str]]:
        """Hash one file.

        Raises
        ------
        Changed
            It is not the file that was listed, or shrank while it was hashed.
        Unavailable
            It cannot be read, or the process was ended.
        """
        path = job.info.path
        question = {
            "path": disk.path,
            "identity": disk.identity,
            "tensors": [asdict(layout) for layout in job.tensors],
        }
        process = self._started()
        stdin, stdout = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
        with contextlib.suppress(BrokenPipeError):  # it died: there will be no answer
            stdin.write(json.dumps(question) + "\n")
            stdin.flush()
        for line in stdout:
            if not line.endswith("\n"):  # it died while it answered
                break
            answer = json.loads(line)
            if "at" in answer:
                report(answer["at"])
            elif answer.get("error") == "changed":
                raise Changed(file=path, field="file")
            elif "error" in answer:
                raise Unavailable(file=path, field="file", problem=answer["problem"])
            else:
                return answer["sha256"], answer["tensors"]
        raise self._died(process, path)

    def _died(self, process: subprocess.Popen[str], path: str) -> FileError:
        code = process.wait()
        self.close()
        if code == -signal.SIGBUS:  # the file ended before its mapping
            return Changed(file=path, field="file", problem="truncated while it was hashed")
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return Unavailable(file=path, field="file", problem=f"the process that hashed it {ended}")

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 (our own interpreter and script)
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
        return self._process

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    cast("IO[str]", pipe).close()
            process.wait()
