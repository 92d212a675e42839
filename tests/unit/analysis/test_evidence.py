import pytest

from dicom_node.analysis.evidence import StageLog, gather, last_stage, safe_tail

LOG = """Reading /data/Doe^Jane/1.dcm
Traceback (most recent call last):
  File "/srv/node/inference/reading.py", line 128, in read_series
    raise ValueError("PatientName Doe^Jane")
ValueError: PatientName Doe^Jane, born 19700101
Fatal Python error: Segmentation fault

Current thread 0x00007f (most recent call first):
  File "/srv/node/inference/hounsfield.py", line 7 in decode
numpy._core._exceptions._ArrayMemoryError: Unable to allocate 20 GiB
DoeJaneError is not a class anybody raised: Doe^Jane
"""


def test_of_a_log_only_places_and_names_of_errors_are_kept():
    assert safe_tail(LOG) == (
        "reading.py:128 in read_series",
        "ValueError",
        "fatal: Segmentation fault",
        "hounsfield.py:7 in decode",
        "numpy._core._exceptions._ArrayMemoryError",
    )


def test_a_long_log_is_cut_at_its_beginning():
    lines = [f'  File "a.py", line {number}, in f' for number in range(100)]
    assert safe_tail("\n".join(lines))[-1] == "a.py:99 in f"
    assert len(safe_tail("\n".join(lines))) == 30


def test_each_stage_is_written_as_it_begins(tmp_path):
    stage = StageLog(tmp_path)
    assert last_stage(tmp_path) == ""
    stage("read", 0.1)
    stage("read", 0.9)
    stage("localise", 0.0)
    assert last_stage(tmp_path).startswith("its last stage was localise, begun after 0.")


@pytest.mark.parametrize("text", ["", "[]", '{"stage": "read"}', "not json"])
def test_a_stage_file_that_was_cut_tells_nothing(tmp_path, text):
    (tmp_path / "stage.json").write_text(text)
    assert last_stage(tmp_path) == ""


@pytest.mark.parametrize(
    ("status", "words"),
    [(-9, "ended by SIGKILL; "), (-200, "ended by signal 200; "), (1, "exit status 1; "), (None, "no stage")],
)
def test_evidence_in_words(tmp_path, status, words):
    said = gather(tmp_path, status=status, ran_s=12.34, peak_mb=1834).in_words()
    assert said.startswith(words)
    assert said.endswith("no stage was begun; it ran 12.3 s; its memory peaked at 1834 MB")


def test_a_disk_that_takes_no_evidence_costs_only_the_file(tmp_path):
    assert gather(tmp_path / "gone", status=1, ran_s=1.0, peak_mb=0).in_words().startswith("exit status 1")
