"""Records on disk: in order, durable before they are acknowledged, and damage costs only what it hits."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_obs.errors import QueueFullError, StorageUnavailableError
from otel_obs.pipeline.segment import Record, framed, records_in
from otel_obs.pipeline.spool import Spool
from tests.folders import files

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

MARKER = b"\x01\x02marker"
ROOT = Path(__file__).resolve().parents[3]


def record(name: str, size: int = 20) -> Record:
    return Record({"name": name}, name.encode() * size)


def names(spool: Spool) -> list[str]:
    found = []
    while (stored := spool.oldest()) is not None:
        found.append(str(stored[1].header["name"]))
        spool.done(stored[0])
    return found


def segments(folder: Path) -> list[Path]:
    return files(folder, "*.spool")


def killed(work: Callable[[], object]) -> None:
    """Do *work* in a forked process that is killed then."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def leave_behind(folder: Path, *appends: list[Record]) -> Path:
    """Write in a process that is killed, and return its (only) segment."""

    def write() -> None:
        spool = Spool(folder)
        for records in appends:
            spool.append(records)

    killed(write)
    return segments(folder)[-1]


@given(
    st.lists(
        st.builds(Record, st.dictionaries(st.text(), st.none() | st.integers() | st.text()), st.binary()), max_size=5
    )
)
def test_what_is_framed_is_read_again(records: list[Record]) -> None:
    data = b"".join(framed(each, MARKER) for each in records)

    assert [found.record for found in records_in(data, MARKER)] == records


def test_a_changed_byte_costs_its_record_only() -> None:
    frames = [framed(record(name, 3), MARKER) for name in ("one", "two", "three")]
    data = b"".join(frames)
    ends = [len(frames[0]), len(frames[0]) + len(frames[1]), len(data)]

    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        hit = next(number for number, end in enumerate(ends) if at < end)
        left = [found.record.header["name"] for found in records_in(changed, MARKER) if found.record is not None]
        assert left == [name for number, name in enumerate(("one", "two", "three")) if number != hit]


def test_a_file_that_ends_anywhere_keeps_the_records_before() -> None:
    frames = [framed(record(name, 3), MARKER) for name in ("one", "two")]
    data = b"".join(frames)

    for end in range(len(frames[0]), len(data)):
        found = list(records_in(data[:end], MARKER))
        assert [each.record.header["name"] for each in found if each.record is not None] == ["one"]
        assert all(each.torn for each in found if each.record is None)


def test_bytes_inserted_between_records_cost_nothing() -> None:
    data = framed(record("one"), MARKER) + b"\0" * 100 + framed(record("two"), MARKER)

    found = list(records_in(data, MARKER))

    assert [each.record and each.record.header["name"] for each in found] == ["one", None, "two"]
    assert not found[1].torn


def test_a_record_inside_of_a_body_is_not_believed() -> None:
    forged = framed(record("forged"), b"guessed.")
    data = framed(Record({"name": "real"}, forged * 3), MARKER)

    torn = data[:-1]

    assert [found.record for found in records_in(torn, MARKER)] == [None]


def test_records_come_out_in_the_order_in_which_they_went_in(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=200)
    for number in range(20):
        spool.append([record(f"{number:02}")])
    assert len(segments(tmp_path)) > 1

    assert names(spool) == [f"{number:02}" for number in range(20)]
    assert segments(tmp_path) == []
    assert spool.size_bytes == 0


def test_the_oldest_stays_until_it_is_done_with(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([record("one"), record("two")])

    assert spool.oldest() == spool.oldest()


def test_records_can_be_added_while_others_are_read(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([record("one"), record("two")])
    stored = spool.oldest()
    assert stored is not None

    spool.append([record("three")])
    spool.done(stored[0])

    assert names(spool) == ["two", "three"]


def test_records_keep_their_order_when_the_clock_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, segment_bytes=1)
    now = time.time_ns()
    for number in range(5):
        monkeypatch.setattr(time, "time_ns", lambda number=number: now - number * 3_600_000_000_000)
        spool.append([record(str(number))])

    assert names(spool) == ["0", "1", "2", "3", "4"]


def test_peeking_takes_nothing_and_passes_over_what_is_done_with(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    tickets = spool.append([record(str(number)) for number in range(5)])
    spool.done(tickets[1])

    seen = spool.peek(3, 10**6)
    again = spool.peek(10, 1)

    assert [found for _, found in seen] == [record("0"), record("2"), record("3")]
    assert [found for _, found in again] == [record("0")]
    for ticket, _ in seen:
        spool.done(ticket)
    assert [found for _, found in spool.peek(10, 10**6)] == [record("4")]


def test_a_record_done_with_out_of_turn_is_passed_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    tickets = spool.append([record("one"), record("two"), record("three")])

    spool.done(tickets[1])

    assert names(spool) == ["one", "three"]


def test_a_spool_that_is_full_refuses_until_there_is_room(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=300)
    spool.append([record("one", 50)])

    with pytest.raises(QueueFullError):
        spool.append([record("two", 50)])

    assert names(spool) == ["one"]
    spool.append([record("three", 50)])
    assert names(spool) == ["three"]


def test_a_process_that_was_killed_leaves_its_records_to_the_next(tmp_path: Path) -> None:
    leave_behind(tmp_path, [record("one")], [record("two")])
    spool = Spool(tmp_path)

    assert spool.adopt() == 1

    assert names(spool) == ["one", "two"]
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_left_is_older_than_what_is_written_now(tmp_path: Path) -> None:
    leave_behind(tmp_path, [record("old")])
    spool = Spool(tmp_path)
    spool.append([record("new")])

    spool.adopt()

    assert names(spool) == ["old", "new"]


def test_what_a_dead_process_left_is_older_also_when_the_clock_went_back_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 3_600_000_000_000)
    leave_behind(tmp_path, [record("old")])
    monkeypatch.setattr(time, "time_ns", lambda: now)
    spool = Spool(tmp_path)
    spool.adopt()

    spool.append([record("new")])

    assert names(spool) == ["old", "new"]


def test_a_living_process_keeps_its_folder(tmp_path: Path) -> None:
    owner, other = Spool(tmp_path), Spool(tmp_path)
    owner.append([record("one")])

    assert other.adopt() == 0
    owner.close()
    assert other.adopt() == 1


def test_a_successor_goes_on_where_the_dead_process_was(tmp_path: Path) -> None:
    def begin() -> None:
        spool = Spool(tmp_path)
        spool.append([record("one"), record("two"), record("three")])
        stored = spool.oldest()
        assert stored is not None
        spool.done(stored[0])

    killed(begin)
    spool = Spool(tmp_path)
    spool.adopt()

    assert names(spool) == ["two", "three"]


@pytest.mark.parametrize("damage", [b"", b"\xff" * 12, b"short"], ids=["empty", "noise", "short"])
def test_without_a_readable_position_all_is_read_again(tmp_path: Path, damage: bytes) -> None:
    segment = leave_behind(tmp_path, [record("one"), record("two")])
    segment.with_suffix(".at").write_bytes(damage)
    spool = Spool(tmp_path)
    spool.adopt()

    assert names(spool) == ["one", "two"]


def test_a_torn_end_is_dropped_and_needs_no_hand(tmp_path: Path) -> None:
    segment = leave_behind(tmp_path, [record("one")], [record("two")])
    os.truncate(segment, segment.stat().st_size - 1)
    spool = Spool(tmp_path)
    spool.adopt()

    assert names(spool) == ["one"]
    assert (spool.counts.torn, spool.counts.corrupt) == (1, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_segment_is_read_and_kept_to_be_looked_at(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    segment = leave_behind(tmp_path, [record("one")], [record("two")], [record("three")])
    data = segment.read_bytes()
    at = data.index(b"twotwo")
    segment.write_bytes(data[:at] + b"X" + data[at + 1 :])
    spool = Spool(tmp_path)
    spool.adopt()

    assert names(spool) == ["one", "three"]
    assert spool.counts.corrupt == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".corrupt"]
    assert "damaged" in caplog.text


def test_a_child_after_a_fork_neither_reads_nor_locks_what_is_its_parents(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([record("parent's")])
    reading, writing = os.pipe()

    def use() -> None:
        empty = spool.oldest() is None and spool.adopt() == 0
        spool.append([record("child's")])
        os.write(writing, b"empty" if empty else b"not empty")

    killed(use)

    assert os.read(reading, 20) == b"empty"
    assert spool.adopt() == 1
    assert names(spool) == ["parent's", "child's"]


def test_a_lock_does_not_outlive_its_process_in_a_child(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    grandchild, ready = os.pipe()

    def have_a_child() -> None:
        spool = Spool(tmp_path)
        spool.append([record("one")])
        if os.fork() == 0:
            os.close(writing)
            os.write(ready, b".")
            os.read(reading, 1)
            os._exit(0)
        os.read(grandchild, 1)

    killed(have_a_child)
    successor = Spool(tmp_path)

    adopted = successor.adopt()

    os.close(writing)
    assert adopted == 1


def test_a_full_disk_refuses_and_leaves_no_part_of_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    spool.append([record("one")])
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 30:
            return write(descriptor, data[:30])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageUnavailableError, match="No space left"):
            spool.append([record("two")])
    spool.append([record("three")])

    assert len(segments(tmp_path)) == 1
    assert names(spool) == ["one", "three"]
    assert spool.counts.corrupt == 0


def test_a_segment_whose_fsync_failed_is_not_written_to_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    spool.append([record("one")])

    def failing(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(StorageUnavailableError, match="Input/output error"):
            spool.append([record("two")])
    spool.append([record("three")])

    assert len(segments(tmp_path)) == 2
    assert [name for name in names(spool) if name != "two"] == ["one", "three"]


def test_a_folder_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", segment_bytes=1)
    spool.append([record("one")])
    for path in sorted((tmp_path / "spool").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

    with pytest.raises(StorageUnavailableError):
        spool.append([record("two")])
    spool.append([record("three")])

    assert names(spool) == ["three"]


def test_a_place_where_no_folder_can_be_made_is_an_error_that_may_pass(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageUnavailableError) as raised:
        Spool(tmp_path / "file" / "spool").append([record("one")])

    assert raised.value.retryable


def test_nobody_else_can_read_what_is_on_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append([record("one")])

    assert {path.stat().st_mode & 0o077 for path in [tmp_path / "spool", *(tmp_path / "spool").rglob("*")]} == {0}


def test_threads_append_at_the_same_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=2000)

    def append(thread: int) -> None:
        for number in range(25):
            spool.append([record(f"{thread}/{number:02}")])

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = names(spool)
    assert sorted(found) == sorted(f"{thread}/{number:02}" for thread in range(4) for number in range(25))
    for number in range(4):
        mine = [name for name in found if name.startswith(f"{number}/")]
        assert mine == sorted(mine)


WRITER = """
import sys
from pathlib import Path
from otel_obs.pipeline.segment import Record
from otel_obs.pipeline.spool import Spool
spool = Spool(Path(sys.argv[1]), segment_bytes=2000)
for number in range(100_000):
    spool.append([Record({"name": str(number)}, b"x" * 100)])
    print(number, flush=True)
"""


def test_whatever_was_acknowledged_is_there_after_kill_9(tmp_path: Path) -> None:
    for turn in range(5):
        folder = tmp_path / str(turn)
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert writer.stdout is not None
        for _ in range(1 + 17 * turn):
            writer.stdout.readline()
        writer.kill()
        acknowledged = 1 + turn * 17 + len(writer.stdout.read().splitlines())
        writer.wait()
        writer.stdout.close()
        spool = Spool(folder)
        spool.adopt()

        found = names(spool)

        assert found == [str(number) for number in range(len(found))]
        assert len(found) >= acknowledged
        assert spool.counts.corrupt == 0
