"""The ORU^R01 message (HL7 v2.5.1, chapter 7) about a positive result, and how to read its acknowledgement.

One OBX for the patient as a whole and for each level, with the probability in percent and an abnormal flag; a level
that was not assessed has status X and no value. Everything is preliminary (P): no radiologist has seen it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import hl7

from dicom_node.core.errors import PeerBusy, PeerRefused
from dicom_node.core.notice import Notice

_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "~": "\\R\\", "^": "\\S\\", "&": "\\T\\", "\r": " ", "\n": " "})
_PROCEDURE = ("24932-2", "CT Cervical spine", "LN")
_PROBABILITY = ("122157", "Probability", "DCM")
_COMMENT = ("121106", "Comment", "DCM")
_STUDY_UID = ("110180", "Study Instance UID", "DCM")
_PERCENT = ("%", "Percent", "UCUM")
_NAME_GROUPS = ("A", "I", "P")  # alphabetic, ideographic, phonetic: XPN-8, in DICOM's order (PS3.5 6.2.1.1)
_SOFTWARE = "cspine-node"


@dataclass(frozen=True, kw_only=True)
class Parties:
    """MSH-3 to MSH-6: who speaks to whom."""

    sending_application: str
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""


def oru_r01(notice: Notice, parties: Parties, *, now: datetime) -> str:
    """The message: segments that end in CR. `now` goes into MSH-7; the rest depends on the notice alone."""
    segments = [_msh(notice, parties, now), _pid(notice), _obr(notice)]
    segments += [_obx(number, notice, fields) for number, fields in enumerate(_observations(notice), start=1)]
    return str(hl7.Message("\r", segments)).rstrip("\r") + "\r"


def read_acknowledgement(text: str, *, control_id: str) -> str:
    """What an accepting acknowledgement says, in a sentence.

    Raises PeerRefused where the receiver found the message in error (AE, CE): it would be the same at the next
    attempt. Raises PeerBusy where it rejects it (AR, CR), as systems do that are not ready, and for any other answer.
    Only codes are repeated: the receiver's words may name the patient.
    """
    try:
        message = hl7.parse(text.replace("\n", "\r"))
        code, answered = str(message["MSA"][0][1]), str(message["MSA"][0][2])
    except (hl7.HL7Exception, KeyError, IndexError):
        raise PeerBusy("the HL7 listener answered something that is no acknowledgement") from None
    if answered != control_id:
        raise PeerBusy("the HL7 listener acknowledged another message")
    if code in ("AA", "CA"):
        return f"acknowledged with {code}"
    what = f"the HL7 listener answered {code if code.isalnum() else '?'}{_error_code(message)}"
    if code in ("AE", "CE"):
        raise PeerRefused(f"{what}: it found the message in error")
    raise PeerBusy(f"{what}: it does not take the message now")


def _error_code(message: hl7.Message) -> str:
    """ERR-3, a code of table 0357; its text is left where it is."""
    try:
        code = str(message["ERR"][0][3][0][0])
    except (KeyError, IndexError):
        return ""
    return f" (error {code})" if code.isalnum() and len(code) < 10 else ""


def _msh(notice: Notice, parties: Parties, now: datetime) -> hl7.Segment:
    names = (
        parties.sending_application,
        parties.sending_facility,
        parties.receiving_application,
        parties.receiving_facility,
    )
    fields = ["MSH", "|", "^~\\&", *(_text(name) for name in names), _time(now), "", "ORU^R01^ORU_R01", notice.id]
    fields += ["P", "2.5.1", "", "", "", "", "", "UNICODE UTF-8"]
    return _segment(fields)


def _pid(notice: Notice) -> hl7.Segment:
    return _segment(["PID", "1", "", _text(notice.patient.patient_id), "", _names(notice.patient.patient_name)])


def _obr(notice: Notice) -> hl7.Segment:
    fields = [""] * 26
    fields[0:5] = ["OBR", "1", "", _text(notice.patient.accession_number), _coded(_PROCEDURE)]
    fields[7] = notice.patient.study_date if notice.patient.study_date.isdigit() else ""
    fields[22] = _time(notice.analysed_at)
    fields[24] = "CT"
    fields[25] = "P"
    return _segment(fields)


def _observations(notice: Notice) -> Iterable[tuple[str, str, str, str, str, str, str, str]]:
    """OBX-2 to OBX-8 and OBX-11 of each observation."""
    rows = [("overall", notice.probability, notice.threshold, notice.is_positive)]
    rows += [(level.level, level.probability, level.threshold, level.is_positive) for level in notice.levels]
    for name, probability, threshold, is_positive in rows:
        if probability is None:
            yield "NM", _coded(_PROBABILITY), name, "", "", "", "", "X"
            continue
        normal = "" if threshold is None else f"<{_percent(threshold)}"
        flag = "A" if is_positive else "N"
        yield "NM", _coded(_PROBABILITY), name, _percent(probability), _coded(_PERCENT), normal, flag, "P"
    yield "ST", _coded(_STUDY_UID), "", notice.study_instance_uid, "", "", "", "P"
    yield "TX", _coded(_COMMENT), "", _text(notice.remark), "", "", "", "P"


def _obx(number: int, notice: Notice, fields: Sequence[str]) -> hl7.Segment:
    kind, code, sub_id, value, unit, normal, flag, status = fields
    row = ["OBX", str(number), kind, code, sub_id, value, unit, normal, flag, "", "", status, "", ""]
    return _segment([*row, _time(notice.analysed_at), "", "", "", f"{_text(notice.bundle)}^{_SOFTWARE}"])


def _segment(fields: Sequence[str]) -> hl7.Segment:
    return hl7.Segment("|", [hl7.Field("~", [field]) for field in fields])


def _names(person: str) -> str:
    """A person name (VR PN) as repetitions of XPN, one for each representation that is there."""
    groups = [group.split("^") for group in person.split("=")]
    return "~".join(
        _xpn(parts, code) for parts, code in zip(groups, _NAME_GROUPS, strict=False) if any(part for part in parts)
    )


def _xpn(parts: Sequence[str], representation: str) -> str:
    family, given, middle, prefix, suffix = [_text(part.strip()) for part in (*parts, "", "", "", "", "")][:5]
    return "^".join((family, given, middle, suffix, prefix, "", "L", representation))


def _coded(code: tuple[str, str, str]) -> str:
    return "^".join(_text(part) for part in code)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%S%z")


def _text(value: str) -> str:
    return value.translate(_ESCAPES)
