"""Workspaces of tabs, bounded in number."""

import pytest

from backwalk.web import workspaces
from backwalk.web.security import Refusal
from backwalk.web.workspaces import Workspaces


@pytest.fixture
def three(monkeypatch):
    monkeypatch.setattr(workspaces, "MOST_WORKSPACES", 3)
    made = Workspaces()
    yield made
    made.close()


def test_the_least_recently_used_makes_room(three):
    first = [three.get(f"workspace-{k}") for k in range(3)]
    assert three.get("workspace-0") is first[0]
    three.get("workspace-3")  # workspace-1 is the oldest now
    assert three.get("workspace-0") is first[0]
    assert three.get("workspace-2") is first[2]
    assert three.get("workspace-1") is not first[1]
    assert not first[1].folder.exists()


@pytest.mark.parametrize("name", [None, "short", "a" * 65, "with space", "../../x", "a/b/c/d/e"])
def test_a_strange_name_is_refused(three, name):
    with pytest.raises(Refusal, match="8 to 64"):
        three.get(name)


def test_folders_are_removed_at_the_end():
    made = Workspaces()
    folder = made.get("workspace-0").folder
    assert folder.is_dir()
    made.close()
    assert not folder.exists()
