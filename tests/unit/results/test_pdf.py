"""The report on paper: always made, always the same bytes. What it shows is read back in the integration tests."""

import re

import pytest

from dicom_node.results.encapsulated_pdf import encapsulate
from dicom_node.results.facts import name_groups, shown_facts
from dicom_node.results.identity import ObjectIdentity
from dicom_node.results.pdf import Sheet, write_pdf
from dicom_node.results.wording import Maker, narrate
from dicom_node.results.words import LANGUAGES, Words
from tests.builders.result_json import document
from tests.builders.views import drawings

FACTS = (("Patient", "Doe^Jane"), ("Patient ID", "ID-1"), ("Born", "19610203"), ("Accession number", ""))


def sheet(*, language: str = "en", facts=FACTS, pictures=(), changes=(), **more) -> Sheet:
    narrative = narrate(
        document(**more),
        Words(language=language),
        maker=Maker(software="cspine-node 1.0", bundle="cspine 0.1"),
        changes=changes,
    )
    return Sheet(narrative=narrative, facts=facts, pictures=pictures, made_on="20260102")


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b", pdf))


def test_the_same_report_is_the_same_bytes(tmp_path):
    pictures = drawings(tmp_path, "sagittal", "coronal", "key_C2", "key_C5", "key_C6")
    assert write_pdf(sheet(pictures=pictures)) == write_pdf(sheet(pictures=pictures))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_and_verdict_fits_on_paper(tmp_path, language):
    pictures = drawings(tmp_path, "sagittal", "key_C2")
    for more in ({"suspicious": ("C2",)}, {}, {"unseen": ("C6", "C7")}, {"overall": True}):
        pdf = write_pdf(sheet(language=language, pictures=pictures, changes=("Ä " * 60,), **more))
        assert pdf.startswith(b"%PDF-")
        assert f"/Lang ({language})".encode() in pdf
        assert 1 <= pages_of(pdf) <= 3


def test_without_pictures_the_sentences_stand_alone():
    assert pages_of(write_pdf(sheet(suspicious=("C2",)))) == 1


@pytest.mark.parametrize(
    "name",
    [
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "山田^太郎",
        "Kim^Gil-dong=김^길동",
        "",
        "<b>&Doe^",
        "^" * 5,
        "O'Neil" * 200,
    ],
)
def test_no_name_keeps_the_report_from_being_made(name):
    pdf = write_pdf(sheet(facts=(("Patient", name), ("Patient ID", "日本-7"))))
    assert pages_of(pdf) >= 1


def test_a_picture_that_cannot_be_read_is_an_error_of_its_own(tmp_path):
    broken = tmp_path / "sagittal.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(OSError, match="sagittal"):
        write_pdf(sheet(pictures=[broken]))


def test_names_and_dates_are_shown_as_people_write_them():
    facts = (("Patient", "Yamada^Tarou=山田^太郎"), ("Born", "19610203"), ("Sex", ""))
    assert shown_facts(facts, Words(language="de")) == [
        ("Patient", "Yamada, Tarou / 山田, 太郎"),
        ("Geburtsdatum", "03.02.1961"),
    ]
    assert name_groups("Doe^Jane^^Dr") == ["Doe, Jane, Dr"]
    assert name_groups("") == []


@pytest.mark.parametrize("pdf", [b"%PDF-even", b"%PDF-odd"])
def test_the_object_holds_the_file_padded_to_an_even_length_with_its_true_one(pdf):
    identity = ObjectIdentity(
        series_instance_uid="2.25.1",
        sop_instance_uid="2.25.2",
        series_number=9000,
        instance_number=1,
        dimension_organization_uid="2.25.3",
        tracking={},
    )
    made = encapsulate(pdf, "Title", [("2.25.4", "1.2.840.10008.5.1.4.1.1.2", "2.25.5")], identity)
    assert made.EncapsulatedDocument[: made.EncapsulatedDocumentLength] == pdf
    assert len(made.EncapsulatedDocument) % 2 == 0
    assert made.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert made.SourceInstanceSequence[0].ReferencedSOPInstanceUID == "2.25.5"
