"""`backwalk course` writes notebooks."""

from backwalk.course import LESSONS


def test_the_lessons_are_written_and_never_over_others(run, tmp_path):
    folder = tmp_path / "lessons"
    status, out, err = run("course", folder)
    assert (status, out) == (0, "")
    assert {path.stem for path in folder.glob("*.ipynb")} == set(LESSONS)
    assert all(name in err for name in LESSONS)
    (folder / f"{LESSONS[0]}.ipynb").write_text("mine")
    assert run("course", folder)[0] == 1
    assert (folder / f"{LESSONS[0]}.ipynb").read_text() == "mine"
    assert run("course", folder, "--force")[0] == 0
