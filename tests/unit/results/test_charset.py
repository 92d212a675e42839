"""Our sentences in the character set of the study."""

import pytest
from pydicom.dataset import Dataset

from dicom_node.results.charset import fit_texts
from tests.unit.results.test_provenance import as_sent, taken_over

GERMAN = "frakturverdächtig, Größe"


def document(charset: str | list[str], *texts: str) -> Dataset:
    target = Dataset()
    if charset:
        target.SpecificCharacterSet = charset
    target.ContentSequence = []
    for text in texts:
        item = Dataset()
        item.TextValue = text
        target.ContentSequence.append(item)
    return target


def texts_of(target: Dataset) -> list[str]:
    return [item.TextValue for item in target.ContentSequence]


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192", "GB18030"])
def test_a_set_that_has_the_letters_is_left_as_it_is(charset):
    target = document(charset, GERMAN)
    fit_texts(target)
    assert texts_of(target) == [GERMAN]
    assert target.SpecificCharacterSet == charset


def test_latin_1_is_declared_where_nothing_was_and_all_is_ascii():
    target = document("", GERMAN)
    fit_texts(target)
    assert texts_of(target) == [GERMAN]
    assert target.SpecificCharacterSet == "ISO_IR 100"


def test_nothing_is_declared_for_sentences_in_ascii():
    target = document("", "no fracture found")
    fit_texts(target)
    assert "SpecificCharacterSet" not in target


def test_letters_that_the_set_does_not_have_are_written_out():
    target = document(["", "ISO 2022 IR 87"], GERMAN, "décelée, ñ, 山田, ä", "€ 5")
    fit_texts(target)
    assert texts_of(target) == ["frakturverdaechtig, Groesse", "decelee, n, 山田, ae", "? 5"]
    assert list(target.SpecificCharacterSet) == ["", "ISO 2022 IR 87"]


@pytest.mark.parametrize("charset", ["FOO", ["", "FOO"], ["ISO 2022 IR 6", "ISO 2022 IR 87"]])
def test_a_set_that_nobody_knows_is_trusted_with_ascii_alone(charset):
    target = document(charset, GERMAN)
    fit_texts(target)
    assert texts_of(target) == ["frakturverdaechtig, Groesse"]
    assert target.SpecificCharacterSet == charset


def test_an_undeclared_name_that_is_not_ascii_is_not_given_a_meaning(tmp_path):
    source = as_sent([("PatientName", "PN", b"M\xfcller^J ")], "1.2.840.10008.1.2.1")
    target = document("", GERMAN)
    target["PatientName"] = source.get_item("PatientName")
    fit_texts(target)
    assert "SpecificCharacterSet" not in target
    assert texts_of(target) == ["frakturverdaechtig, Groesse"]
    assert taken_over(target, tmp_path).get_item("PatientName").value == b"M\xfcller^J "
