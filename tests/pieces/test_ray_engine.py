"""The Ray engine without Ray: what it refuses, what it hands on, and what it makes of the answers."""

import json
import socket
import sys

import pytest

from backwalk.errors import IncompatibleArguments, InvalidInput, ModelFileError
from backwalk.pieces import ray_engine
from backwalk.pieces.processor import versions
from backwalk.pieces.ray_engine import driver_environment, make_on_host, run_on_ray
from backwalk.pieces.worker import entry_of


@pytest.fixture
def ray_found(monkeypatch):
    monkeypatch.setattr(ray_engine.importlib.util, "find_spec", lambda name: name)


@pytest.fixture
def driver(monkeypatch, ray_found):
    """Put a script in the place of the process that talks to Ray."""

    def put(script):
        monkeypatch.setattr(ray_engine, "_DRIVER", (sys.executable, "-c", script))

    return put


def test_a_missing_ray_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(ray_engine.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InvalidInput, match=r"backwalk\[ray\]"):
        run_on_ray("rows", [(0, 2048)], 1, print)


def test_addresses_of_the_ray_client_are_refused(ray_found):
    with pytest.raises(IncompatibleArguments, match="ray://head:10001"):
        run_on_ray("rows", [(0, 2048)], 1, print, address="ray://head:10001")


def test_ray_on_one_machine_has_a_token_of_its_own_and_no_settings_of_others():
    others = {"PATH": "/bin", "RAY_ADDRESS": "elsewhere:6379", "RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "known"}
    found, again = (driver_environment(others, None) for _ in range(2))
    assert found["PATH"] == "/bin"
    assert "RAY_ADDRESS" not in found
    assert (found["RAY_AUTH_MODE"], found["RAY_USAGE_STATS_ENABLED"]) == ("token", "0")
    assert len({"known", found["RAY_AUTH_TOKEN"], again["RAY_AUTH_TOKEN"]}) == 3
    assert len(found["RAY_AUTH_TOKEN"]) >= 32


def test_a_cluster_needs_its_token_unless_the_user_says_otherwise():
    assert driver_environment({}, "head:6379")["RAY_AUTH_MODE"] == "token"
    own = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": "/token"}
    assert driver_environment(own, "head:6379") == {**own, "RAY_USAGE_STATS_ENABLED": "0"}


def test_the_folder_and_the_pieces_travel_as_text(driver, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    driver(f"import sys; open({str(tmp_path / 'asked')!r}, 'w').write(sys.stdin.readline())")
    with pytest.raises(InvalidInput, match="2 parts"):
        run_on_ray("rows", [(0, 2048), (2048, 4096)], 5, print, address="head:6379")
    asked = json.loads((tmp_path / "asked").read_text())
    assert asked["folder"] == str(tmp_path / "rows")
    assert (asked["pieces"], asked["workers"], asked["address"]) == ([[0, 2048], [2048, 4096]], 2, "head:6379")


def test_an_error_of_a_worker_is_raised_and_ray_ended(driver, tmp_path):
    answer = json.dumps({"error": "ModelFileError", "message": "moons has changed."})
    driver(f"import sys; print({answer!r}, flush=True); sys.stdin.read(); open({str(tmp_path / 'end')!r}, 'w').close()")
    with pytest.raises(ModelFileError, match="moons has changed"):
        run_on_ray(str(tmp_path), [(0, 2048)], 1, print)
    assert (tmp_path / "end").exists()


def test_a_ray_that_ends_early_is_told_with_its_status(driver, tmp_path):
    driver("import sys; print('no head', 'in sight', sep='\\n', file=sys.stderr); sys.exit(7)")
    with pytest.raises(InvalidInput, match=r"status 7 .*\(in sight\)"):
        run_on_ray(str(tmp_path), [(0, 2048)], 1, print)


def test_a_worker_with_other_versions_makes_nothing(tmp_path, own_setting):
    with pytest.raises(InvalidInput, match=rf"{socket.gethostname()}.*torch 1\.2\.3.*has"):
        entry_of(make_on_host(str(tmp_path), 0, 2048, {**versions(), "torch": "1.2.3"}))


def test_a_host_without_the_folder_is_named(tmp_path, own_setting):
    with pytest.raises(InvalidInput, match=socket.gethostname()):
        entry_of(make_on_host(str(tmp_path / "rows"), 0, 2048, versions()))
