"""The guide to the command line shows what the commands print."""

import guide


def test_guide_shows_what_the_commands_print(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", guide.WIDTH)
    text = guide.GUIDE.read_text()
    assert guide.written_again(text) == text
