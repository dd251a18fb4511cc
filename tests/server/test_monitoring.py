"""The monitoring listener of a whole daemon: its address, its pages, and what is made of them."""

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from asrd.config import Monitoring
from asrd.errors import StartupError
from asrd.providers.registry import Registry
from asrd.server.monitoring import TcpAddress, address_of, monitored
from conftest import TINY_WHISPER
from support.audio import read_pcm, silent_pcm
from support.daemon import Daemon, command, environment, running_daemon
from support.exposition import Scrape, missing_from, series_of
from support.room import Room, run
from support.sights import sight_of
from support.waiting import wait_until

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "contrib" / "grafana" / "asrd.json").read_text(encoding="utf-8"))
OPERATIONS = (ROOT / "daemon" / "OPERATIONS.md").read_text(encoding="utf-8")
SPEECH = read_pcm(TINY_WHISPER / "samples" / "phrase_1.wav") + silent_pcm(0.6)
LISTEN = {"listen": "127.0.0.1:0"}


def address(daemon: Daemon) -> str:
    told = wait_until(lambda: daemon.logged("monitoring_listening"), "a monitoring listener")
    return str(told[0]["address"])


def get(address: str, path: str, **headers: str) -> tuple[int, str]:
    with closing(http.client.HTTPConnection(address, timeout=10)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


# ── addresses ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("listen", "meant"),
    [
        ("127.0.0.1:9464", TcpAddress("127.0.0.1", 9464)),
        ("[::1]:0", TcpAddress("::1", 0)),
        ("localhost:65535", TcpAddress("localhost", 65535)),
        ("unix:/run/asrd/metrics.sock", Path("/run/asrd/metrics.sock")),
    ],
)
def test_an_address_is_read(listen: str, meant: TcpAddress | Path) -> None:
    assert address_of(listen) == meant


@pytest.mark.parametrize(
    "listen",
    [
        *("", "9464", ":9464", "localhost", "localhost:", "localhost:http", "localhost:65536"),
        *("::1:9464", "127.0.0.1:-1", "127.0.0.1:٣", "unix:", "unix:metrics.sock", "[]:"),
    ],
)
def test_what_is_no_address_is_told_with_what_to_do(listen: str) -> None:
    with pytest.raises(StartupError, match=r"monitoring\.listen") as caught:
        address_of(listen)
    assert caught.value.exit_code == 78


def refusal(registry: Registry, **rule: Any) -> StartupError:
    """What a daemon that is to listen there says instead."""

    async def scenario() -> None:
        async with monitored(Monitoring(**rule), sight_of(Room(registry))):
            raise AssertionError("it listens")

    with pytest.raises(StartupError) as caught:
        run(scenario)
    return caught.value


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "8.8.8.8:9464"])
def test_what_other_machines_can_reach_is_refused(registry: Registry, listen: str) -> None:
    error = refusal(registry, listen=listen)
    assert (error.exit_code, "monitoring.expose = true" in str(error)) == (78, True)


def test_every_address_of_a_name_has_to_be_loopback(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(*_: Any, **__: Any) -> list[Any]:
        inet = socket.AF_INET, socket.SOCK_STREAM, 6, ""
        return [(*inet, ("127.0.0.1", 0)), (*inet, ("192.0.2.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert refusal(registry, listen="mixed.example:0").exit_code == 78


@pytest.mark.parametrize("host", ["a..b", "x" * 64, f"{'x' * 64}.example"])
def test_what_is_no_name_of_a_host_is_told(registry: Registry, host: str) -> None:
    error = refusal(registry, listen=f"{host}:1")
    assert (error.exit_code, "no name of a host" in str(error)) == (78, True)


def test_a_path_with_a_zero_in_it_is_told(registry: Registry, tmp_path: Path) -> None:
    error = refusal(registry, listen=f"unix:{tmp_path}/a\0b")
    assert (error.exit_code, "monitoring.listen" in str(error)) == (64, True)


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [(socket.EAI_AGAIN, 75), (socket.EAI_SYSTEM, 75), (socket.EAI_NONAME, 78)],
)
def test_a_name_without_an_address_may_have_one_in_a_moment(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, code: int, exit_code: int
) -> None:
    """While there is no network yet: then whoever started the daemon tries again."""

    def resolve(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(code, "it says")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    error = refusal(registry, listen="asr.example:1")
    assert (error.exit_code, "it says" in str(error)) == (exit_code, True)


def test_a_name_is_looked_up_beside_the_loop(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, may_answer = socket.getaddrinfo, threading.Event()

    def resolve(*args: Any, **more: Any) -> list[Any]:
        assert may_answer.wait(10)
        return real(*args, **more)

    async def scenario() -> None:
        asyncio.get_running_loop().call_soon(may_answer.set)
        async with monitored(Monitoring(listen="127.0.0.1:0"), sight_of(Room(registry))):
            pass

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    run(scenario)


def test_a_port_in_use_is_tried_again_by_whoever_started_the_daemon(registry: Registry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        error = refusal(registry, listen=taken)
    assert (error.exit_code, taken in str(error)) == (75, True)


def test_a_socket_in_use_names_the_setting(registry: Registry, tmp_path: Path) -> None:
    rule = Monitoring(listen=f"unix:{tmp_path}/d/s")

    async def scenario() -> None:
        async with monitored(rule, sight_of(Room(registry))):
            with pytest.raises(StartupError, match=r"monitoring\.listen") as caught:
                async with monitored(rule, sight_of(Room(registry))):
                    raise AssertionError
        assert caught.value.exit_code == 75

    run(scenario)


def test_exposed_it_answers_to_any_name(registry: Registry) -> None:
    """Whoever reaches it from elsewhere calls it by a name that only they know."""

    async def scenario(rule: Monitoring) -> int:
        with capture_logs() as logged:
            async with monitored(rule, sight_of(Room(registry))):
                port = logged[0]["address"].rsplit(":")[-1]
                where = f"127.0.0.1:{port}"
                status, _ = await asyncio.to_thread(get, where, "/live", Host="asr.example")
                return status

    async def both() -> None:
        assert await scenario(Monitoring(listen="0.0.0.0:0", expose=True)) == 200
        assert await scenario(Monitoring(listen="127.0.0.1:0")) == 421

    run(both)


# ── a daemon that has worked ──────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, str]]:
    """A daemon that has read a microphone and a file, with a stream still open; its address."""
    folder = tmp_path_factory.mktemp("worked")
    with running_daemon(folder, monitoring=LISTEN) as daemon, daemon.greet() as client:
        client.transcribe(1, SPEECH, source="mic")
        client.transcribe(2, SPEECH, source="file")
        client.open(3, source="system")
        yield daemon, address(daemon)


@pytest.fixture(scope="module")
def scraped(worked: tuple[Daemon, str]) -> Scrape:
    return Scrape(get(worked[1], "/metrics")[1])


def test_a_real_scrape_tells_of_the_work(scraped: Scrape) -> None:
    assert scraped.value("asrd_finals_total", source="mic") == 1
    assert scraped.value("asrd_finals_total", source="file") == 1
    assert scraped.value("asrd_streams", source="system", state="open") == 1
    assert scraped.value("asrd_finalisation_delay_seconds_count", source="mic") == 1
    assert scraped.value("asrd_received_seconds_total", source="mic") > 1
    assert scraped.value("asrd_connections_admitted_total") >= 2
    assert scraped.value("asrd_open_descriptors") > 10
    assert 0 < scraped.value("asrd_log_lines_lost_total") + 1 < 2
    for process in ("core", "voice_activity", "echo/echo"):
        assert scraped.value("asrd_resident_memory_bytes", process=process) > 10**7
        if process != "core":
            assert scraped.value("asrd_worker_state", process=process, state="ready") == 1


def test_the_pages_of_a_real_daemon(worked: tuple[Daemon, str]) -> None:
    daemon, where = worked
    assert get(where, "/live") == (200, "live\n")
    assert get(where, "/ready") == (200, "ready\n")
    assert get(where, "/nothing")[0] == 404
    assert get(where, "/live", Host="rebound.example")[0] == 421
    status, health = get(where, "/health")
    told = subprocess.run(
        [*command(None)[:3], "asrd", "health", "--json", "--socket", str(daemon.path)],
        env=environment(),
        capture_output=True,
        check=True,
    )
    assert status == 200
    assert json.loads(health).keys() == json.loads(told.stdout).keys()
    assert not daemon.strays


def test_the_loop_s_lag_is_looked_at(worked: tuple[Daemon, str]) -> None:
    def look() -> bool:
        seen = Scrape(get(worked[1], "/metrics")[1])
        return seen.value("asrd_loop_lag_seconds_count") > 0

    wait_until(look, "a look of the loop's")


# ── what is made of it ────────────────────────────────────────────────────────────────────────


def panels() -> list[dict[str, Any]]:
    return [each for panel in DASHBOARD["panels"] for each in (panel, *panel.get("panels", []))]


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", [])]


def alerts() -> list[str]:
    return re.findall(r"^ +expr: (.+)$", OPERATIONS, re.MULTILINE)


def test_every_query_of_the_dashboard_finds_its_metrics_and_labels(scraped: Scrape) -> None:
    assert len(queries()) > 30
    for query in queries():
        assert [*series_of(query)], query
        assert not missing_from(scraped, query), query


def test_every_alert_finds_its_metrics_and_labels(scraped: Scrape) -> None:
    """But the one that goes by what Prometheus itself says of each target: a daemon that is down
    tells nothing, and while others tell something, nothing of theirs is absent."""
    down, *others = alerts()
    assert down == 'up{job="asrd"} == 0 or absent(up{job="asrd"})'
    assert "job_name: asrd\n" in OPERATIONS
    assert len(others) > 10
    for alert in others:
        assert [*series_of(alert)], alert
        assert not missing_from(scraped, alert), alert


def test_a_query_of_what_is_not_there_is_found_out(scraped: Scrape) -> None:
    """Else the two tests above could not fail."""
    assert missing_from(scraped, "rate(asrd_nothing_total[5m])") == ["asrd_nothing_total"]
    assert missing_from(scraped, 'sum by (instance) (asrd_streams{kind="final"})')
    assert missing_from(scraped, "sum by (provider, instance) (asrd_streams)")
    assert not missing_from(scraped, 'sum by (source) (asrd_streams{state!="open"})')


def test_legends_name_labels_that_their_queries_leave() -> None:
    for panel in panels():
        for target in panel.get("targets", []):
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = {
                label.strip()
                for group in re.findall(r"by \(([^)]*)\)", target["expr"])
                for label in group.split(",")
            }
            assert named <= kept, (panel["title"], target["expr"])


def test_the_dashboard_is_one_that_grafana_draws() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        refs = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(refs)) == len(refs)
    variables = {each["name"]: each["type"] for each in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query"}


# ── its end, and other ways ───────────────────────────────────────────────────────────────────


def test_on_a_unix_socket_it_is_for_its_own_user_and_drains_in_sight(tmp_path: Path) -> None:
    path = tmp_path / "m" / "s"
    monitoring = {"listen": f"unix:{path}"}
    with (
        running_daemon(tmp_path, monitoring=monitoring, limits={"drain_timeout_s": 2.0}) as daemon,
        daemon.greet() as client,
    ):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        client.open(1, partials=False)
        client.speak(1, SPEECH)
        os.kill(daemon.worker("echo/echo"), signal.SIGSTOP)
        assert ask(path, "/ready").startswith("HTTP/1.1 200")
        client.speak(1, SPEECH)
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: daemon.logged("draining"), "the signal to be heard")
        wait_until(lambda: ask(path, "/ready").startswith("HTTP/1.1 503"), "it to be told")
        assert ask(path, "/live").startswith("HTTP/1.1 200")
        assert daemon.process.wait(20) == 0
        assert not path.exists()
        assert not daemon.strays


def ask(path: Path, page: str) -> str:
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(path))
        channel.sendall(f"GET {page} HTTP/1.1\r\nHost: anything\r\n\r\n".encode())
        return b"".join(iter(lambda: channel.recv(2**16), b"")).decode()


def test_a_daemon_on_stdio_is_monitored_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        daemon = subprocess.Popen(
            command(None, monitoring=LISTEN),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    try:
        found = wait_until(
            lambda: re.search(r'"address": "([^"]+)"', log.read_text()), "the listener"
        )
        assert get(found[1], "/live") == (200, "live\n")
        assert daemon.stdin is not None
        daemon.stdin.close()
        assert daemon.wait(20) == 0
    finally:
        daemon.kill()
        daemon.wait()


def test_a_daemon_that_may_not_listen_there_does_not_start(tmp_path: Path) -> None:
    refused = subprocess.run(
        command(tmp_path / "s", monitoring={"listen": "0.0.0.0:0"}),
        env=environment(),
        capture_output=True,
        timeout=20,
    )
    assert refused.returncode == 78
    assert b"monitoring.expose" in refused.stderr
    assert not (tmp_path / "s").exists()
