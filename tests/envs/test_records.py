import json
import logging

import pyarrow
import pytest
from pyarrow import parquet

from envs.records import file_records, hub_records, read_file

ROW = b'{"problem": "How many %b apples?", "answer": "5"}\n'


@pytest.mark.parametrize("half", [rb"\ud83d", rb"\uDE00", b"\xed\xa0\xbd"])
def test_a_record_with_half_of_a_character_is_malformed(tmp_path, caplog, half):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROW % rb"\ud83d\ude00" + ROW % half + ROW % "😀😀".encode())
    with caplog.at_level(logging.WARNING):
        assert read_file(path, lambda record: record["problem"]) == ["How many 😀 apples?", "How many 😀😀 apples?"]
    assert "rows.jsonl: skipped 1 of 3 records: line 2: contains '\\ud" in caplog.text


def test_a_key_of_a_record_is_checked_like_its_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"tests": [{"\ud83d": 1}]}))
    ((_, record),) = file_records(path)
    assert record == "contains '\\ud83d', which is half of a character and cannot be encoded as UTF-8"


def test_a_parquet_file_or_data_set_whose_text_is_not_utf_8_is_named(tmp_path):
    text = pyarrow.array([b"How many \xed\xa0\xbd apples?"], pyarrow.binary()).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"problem": text}), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"train.parquet is not a parquet file, or is damaged \('utf-8' codec"):
        list(file_records(tmp_path / "train.parquet"))
    with pytest.raises(ValueError, match=r"dataset \S+ could not be loaded \('utf-8' codec"):
        list(hub_records(str(tmp_path), None, "train"))
