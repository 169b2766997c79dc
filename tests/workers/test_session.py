from pathlib import Path

from workers.session import shared_folder


def test_runs_do_not_share_a_folder(tmp_path):
    assert shared_folder(Path("one")) != shared_folder(Path("other"))
    assert shared_folder(Path("one")) != shared_folder(tmp_path / "one")
