"""The guide to the command line shows what the commands print, and its page the JSON Schema."""

import guide
import json_schema


def test_guide_shows_what_the_commands_print(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", guide.WIDTH)
    text = guide.GUIDE.read_text()
    assert guide.written_again(text) == text


def test_page_of_json_is_written_from_the_schema():
    assert json_schema.PAGE.read_text() == json_schema.page()
