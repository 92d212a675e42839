import re

import pytest

from dicom_node.core.errors import PeerBusy, PeerRefused
from dicom_node.core.study import PatientSummary
from dicom_node.notify.oru import Parties, oru_r01, read_acknowledgement
from tests.builders.notices import ANALYSED_AT, notice

PARTIES = Parties(sending_application="CSPINE_AI", sending_facility="ER & ICU", receiving_application="RIS")
ID = notice().id


def segments(**changes) -> dict[str, list[list[str]]]:
    message = oru_r01(notice(**changes), PARTIES, now=ANALYSED_AT)
    assert message.endswith("\r")
    found: dict[str, list[list[str]]] = {}
    for line in message.rstrip("\r").split("\r"):
        fields = line.split("|")
        found.setdefault(fields[0], []).append(fields)
    return found


def test_the_header_says_who_speaks_and_which_message_this_is():
    (msh,) = segments()["MSH"]
    assert msh[1:12] == [
        "^~\\&",
        "CSPINE_AI",
        "ER \\T\\ ICU",
        "RIS",
        "",
        "20260301120031+0000",
        "",
        "ORU^R01^ORU_R01",
        ID,
        "P",
        "2.5.1",
    ]
    assert msh[17] == "UNICODE UTF-8"


def test_each_level_is_an_observation_with_percent_range_and_flag():
    rows = {row[4]: row for row in segments()["OBX"] if row[2] == "NM"}
    assert list(rows) == ["overall", "C1", "C2", "C3", "C4", "C5", "C6", "C7"]
    assert rows["C2"][3:9] == ["122157^Probability^DCM", "C2", "93.4", "%^Percent^UCUM", "<40.0", "A"]
    assert rows["C2"][11] == "P"
    assert rows["C1"][5:9] == ["5.0", "%^Percent^UCUM", "<40.0", "N"]
    assert rows["overall"][8] == "A"


def test_a_level_that_was_not_assessed_has_no_value_and_says_that_there_is_none():
    (row,) = [row for row in segments()["OBX"] if row[4] == "C7"]
    assert (row[5], row[8], row[11]) == ("", "", "X")


def test_it_says_that_it_is_no_diagnosis_and_which_study_it_is_about():
    texts = [row[5] for row in segments()["OBX"] if row[2] in ("TX", "ST")]
    assert texts == ["1.2.3", "AI result, not a diagnosis; trained on synthetic data only"]


def test_nothing_in_a_header_breaks_the_message():
    nasty = PatientSummary(patient_id="P|1\r^&~\\", patient_name="O\\'Neil^A|B", accession_number="A\n1")
    (pid,) = segments(patient=nasty)["PID"]
    assert pid[3] == "P\\F\\1 \\S\\\\T\\\\R\\\\E\\"
    assert pid[5] == "O\\E\\'Neil^A\\F\\B^^^^^L^A"


def test_a_name_in_several_scripts_is_told_in_each():
    patient = PatientSummary(patient_id="1", patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう")
    (pid,) = segments(patient=patient)["PID"]
    assert pid[5] == "Yamada^Tarou^^^^^L^A~山田^太郎^^^^^L^I~やまだ^たろう^^^^^L^P"


def test_a_prefix_and_a_suffix_change_places():
    """DICOM has family^given^middle^prefix^suffix, HL7 has the suffix before the prefix."""
    (pid,) = segments()["PID"]
    assert pid[5] == "Müller^Jörg^^^Dr.^^L^A"


def test_the_same_notice_is_the_same_message_apart_from_its_time():
    later = oru_r01(notice(), PARTIES, now=ANALYSED_AT.replace(hour=13))
    assert re.sub(r"\d{14}", "", later) == re.sub(r"\d{14}", "", oru_r01(notice(), PARTIES, now=ANALYSED_AT))


def ack(code: str, control_id: str = ID, error: str = "") -> str:
    text = f"MSH|^~\\&|RIS||CSPINE_AI||20260301||ACK^R01^ACK|1|P|2.5.1\rMSA|{code}|{control_id}|Jane Doe is unknown\r"
    return text + (f"ERR||PID^1|{error}^text^HL70357|E\r" if error else "")


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_an_acknowledgement_is_accepted(code):
    assert read_acknowledgement(ack(code), control_id=ID) == f"acknowledged with {code}"


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        (ack("AE"), PeerRefused, "answered AE: it found the message in error"),
        (ack("CE", error="207"), PeerRefused, r"answered CE \(error 207\)"),
        (ack("AR"), PeerBusy, "answered AR: it does not take the message now"),
        (ack("AA", control_id="other"), PeerBusy, "another message"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", PeerBusy, "no acknowledgement"),
        ("MSH|^~\\&|RIS\r", PeerBusy, "no acknowledgement"),
        ("", PeerBusy, "no acknowledgement"),
    ],
)
def test_every_other_answer_is_an_error_without_the_receivers_own_words(text, error, why):
    with pytest.raises(error, match=why) as caught:
        read_acknowledgement(text, control_id=ID)
    assert "Jane" not in str(caught.value)
