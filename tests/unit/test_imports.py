"""What a file of customers says, and what is wrong with it; no server is needed."""

import codecs
from pathlib import Path

import pytest

from identity.events.identity import Assertion, Sender
from identity.exports import cell, export_line
from identity.imports.columns import (
    Columns,
    Fault,
    ImportRefused,
    Line,
    Reader,
    find_target,
    quoted,
    read_columns,
)
from identity.imports.command import read_mapping
from identity.imports.files import LINE_CHARACTERS_MAX, Source, Wishes, open_source, read_lines
from identity.imports.rejects import Rejects
from identity.refusals import Refusal
from profiles.profile import HeldField
from profiles.remarks import Kind, Reading, Reason

SENDER = Sender(workspace_id=1, source="import", actor="cli", operation_id="o")
NOW = 1_780_000_000_000
BEFORE = 1_700_000_000_000


def reader_of(columns: Columns) -> Reader:
    return Reader(columns, SENDER, NOW)


def look(path: Path, **wishes: object) -> Source:
    return open_source(path, path.name, Wishes(**wishes), reader_of)  # type: ignore[arg-type]


def file_of(tmp_path: Path, content: str | bytes, name: str = "members.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def said(path: Path, **wishes: object) -> list[Assertion]:
    source = look(path, **wishes)
    reader = reader_of(source.columns)
    return [event for line, _ in read_lines(source, reader) for event in reader.read(line.cells, NOW)]


def values(event: Assertion) -> dict[str, object]:
    return {reading.field: reading.value for reading in event.readings}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("email", "display_email"), ("display_email", "display_email"), ("Display Email", "display_email"),
        ("phone", "display_mobile"), ("birthday", "birth"), ("firstName", "first_name"), ("First Name", "first_name"),
        ("customerId", "customer_id"), ("Customer ID", "customer_id"), ("userId", "customer_id"),
        ("occurred_at", "occurred_at"), ("custom.points", "custom.points"),
        ("postal_address.city", "postal_address.city"),
        ("custom.no good", None), ("Mobile No", None), ("", None), ("x" * 200, None),
    ],
)  # fmt: skip
def test_a_column_says_itself_what_it_is_or_nobody_knows(name: str, target: str | None):
    assert find_target(name) == target


def test_a_mapping_tells_what_a_column_is():
    columns = read_columns(["No", "Mobile No"], {"No": "customer_id", "Mobile No": "phone"})

    assert columns == Columns(("No", "Mobile No"), ("customer_id", "display_mobile"))


@pytest.mark.parametrize(
    ("names", "mapping", "told"),
    [
        (["customer_id", "email", "email"], {}, "of the same name: 'email'"),
        (["customer_id", "phone", "display_mobile"], {}, "all display_mobile: 'phone', 'display_mobile'"),
        (["customer_id", "hat size"], {}, "'hat size'"),
        (["email"], {}, "No column tells the customer id"),
        (["customer_id"], {"hat": "phone"}, "which the file does not have"),
        (["customer_id", "hat"], {"hat": "fone"}, "Did you mean display_mobile?"),
        ([f"custom.c{n}" for n in range(501)], {}, "500 are the most"),
    ],
)
def test_columns_that_cannot_be_are_told_of(names: list[str], mapping: dict[str, str], told: str):
    with pytest.raises(ImportRefused) as refused:
        read_columns(names, mapping)

    assert told in str(refused.value)


def test_unknown_columns_are_passed_over_only_if_asked():
    columns = read_columns(["customer_id", "hat"], {}, ignores_unknown=True)

    assert columns.targets == ("customer_id", None)


@pytest.mark.parametrize("pair", ["phone", "=phone", "Mobile="])
def test_a_mapping_without_both_sides_is_refused(pair: str):
    with pytest.raises(ImportRefused, match="--map wants COLUMN=FIELD"):
        read_mapping([pair])


CHINESE = "customer_id,name,address\n42,王小明,臺北市信義區市府路一號\n"


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (CHINESE.encode(), "utf-8"),
        (CHINESE.encode("utf-8-sig"), "utf-8-sig"),
        (CHINESE.replace(",", ";").encode("utf-8-sig"), "utf-8-sig"),
        (CHINESE.replace(",", "\t").encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + CHINESE.encode("utf-16-be"), "utf-16"),
        (CHINESE.encode("utf-16-le"), "utf-16-le"),
        (CHINESE.encode("cp950"), "cp950"),
        (("sep=;\r\n" + CHINESE.replace(",", ";").replace("\n", "\r\n")).encode("utf-8-sig"), "utf-8-sig"),
    ],
)
def test_a_file_from_excel_is_read_whatever_its_encoding_and_delimiter(tmp_path: Path, content: bytes, encoding: str):
    path = file_of(tmp_path, content)

    (event,) = said(path)

    assert look(path).encoding == encoding
    assert (event.customer, values(event)) == ("42", {"display_name": "王小明", "address": "臺北市信義區市府路一號"})


def test_a_western_encoding_is_not_taken_for_big5_but_asked_for(tmp_path: Path):
    path = file_of(tmp_path, "customer_id,name\n1,Zoé Müller\n2,José Núñez\n".encode("latin-1"))

    with pytest.raises(ImportRefused, match="--encoding windows-1252"):
        look(path)

    assert values(said(path, encoding="windows-1252")[0]) == {"display_name": "Zoé Müller"}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("members.csv", b"", "is empty"),
        ("members.csv", b" \n \n", "is empty"),
        ("members.csv", b"customer_id,name\n", "has a header and no lines"),
        ("members.csv", b"PK\x03\x04whatever", "an Excel workbook"),
        ("members.csv", b"\x1f\x8b\x08zipped", "gzip"),
        ("members.csv", b'{"customer_id":"1"}\n', "looks like JSON"),
        ("members.ndjson", b"customer_id,name\n1,Ana\n", "its first line is no JSON object"),
        ("members.json", b'[{"customer_id":"1"}]', "one JSON list"),
        ("members.csv", b"customer_id,name,email\n1,Ana,a@b.example\n2,Be", "Line 3, the last one, is cut off"),
        ("members.csv", b'customer_id,name\n1,"Ana', "never closed"),
        ("members.csv", b'customer_id,name\n1,"Ana"x\n', "a quote stands where none may be"),
        ("members.ndjson", b'{"customer_id":"1"}\n{"customer_id":"2","na', "Line 2, the last one, is cut off"),
        ("members.csv", b"customer_id,name\n1,A\x00na\n", "no text: it holds zero bytes"),
        ("members.csv", b"customer_id,name\n" + b"1,Ana\n" * 20_000 + b"2,B\x00ob\n", "Line 20002 holds zero bytes"),
        ("members.csv", b"customer_id,name\n1," + b"x" * LINE_CHARACTERS_MAX + b"\n", "Line 2 is longer than"),
        ("members.csv", b"customer_id,customer_id\n1,2\n", "of the same name"),
        ("members.csv", "customer_id,name\n1,王\n".encode() + b"1,\xff\xfe\xfa\n", "--encoding"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_as_a_whole_with_what_to_do(tmp_path: Path, name: str, content: bytes, told: str):
    with pytest.raises(ImportRefused) as refused:
        look(file_of(tmp_path, content, name))

    assert told in str(refused.value)


def test_an_encoding_that_nobody_knows_is_refused(tmp_path: Path):
    with pytest.raises(ImportRefused, match="No encoding is called klingon"):
        look(file_of(tmp_path, CHINESE), encoding="klingon")


def test_a_line_without_a_usable_customer_id_is_refused_and_the_others_are_read(tmp_path: Path):
    events = said(file_of(tmp_path, "customer_id,name\n,Ana\nnull,Bo\n7,Cy,surplus\n8,Di\n"))

    assert [event.customer for event in events] == [
        Refusal.MISSING_CUSTOMER_ID, Refusal.BLOCKED_CUSTOMER_ID, Refusal.INVALID_EVENT, "8",
    ]  # fmt: skip


def test_an_empty_cell_says_nothing_and_empty_cells_at_the_end_are_no_fault(tmp_path: Path):
    (event,) = said(file_of(tmp_path, "customer_id,name,email\n1,,a@b.example,,\n\n,,\n"))

    assert values(event) == {"display_email": "a@b.example"}


def test_lists_and_custom_fields_are_read_from_cells(tmp_path: Path):
    (event,) = said(
        file_of(
            tmp_path,
            "customer_id,interests,activities,custom.points,custom.vip,custom.zip,custom.tags\n"
            '1,tea; hats,"[""run""]",42,true,007,"[""a"",1]"\n',
        )
    )

    assert values(event) == {
        "interests": ["tea", "hats"], "activities": ["run"], "custom.points": 42, "custom.vip": True,
        "custom.zip": "007", "custom.tags": ["a", 1],
    }  # fmt: skip


def test_a_time_of_its_own_is_the_time_of_the_event_and_one_that_is_none_is_a_fault(tmp_path: Path):
    path = file_of(tmp_path, f"customer_id,name,occurred_at\n1,Ana,{BEFORE}\n2,Bo,yesterday\n3,Cy,\n")

    events = said(path)

    assert [event.occurred_at for event in events] == [BEFORE, NOW, NOW]
    assert events[1].readings[0] == Reading("occurred_at", Kind.FAULT, reason=Reason.NOT_A_TIME, raw="yesterday")


def test_a_line_tells_its_faults_by_the_names_of_the_file(tmp_path: Path):
    source = look(
        file_of(tmp_path, "customer_id,Mobile No,birthday\n1,0912345678,1.2.90\n"), mapping={"Mobile No": "phone"}
    )
    reader = reader_of(source.columns)
    ((line, _),) = read_lines(source, reader)

    faults = reader.faults(reader.read(line.cells, NOW))

    assert faults == (Fault("Mobile No", Reason.NO_COUNTRY_CODE), Fault("birthday", Reason.NOT_A_DATE))


def test_json_lines_may_be_flat_or_nested_and_unknown_members_are_refused(tmp_path: Path):
    path = file_of(
        tmp_path,
        '{"customer_id":1,"email":"a@b.example"}\n{"customer_id":"2","fields":{"display_name":"Bo"},'
        '"custom":{"points":7},"postal_address":{"city":"Taipei"}}\nnot json\n',
        "members.ndjson",
    )
    events = said(path)

    assert [(event.customer, values(event)) for event in events] == [
        ("1", {"display_email": "a@b.example"}),
        ("2", {"custom.points": 7, "postal_address.city": "Taipei", "display_name": "Bo"}),
        (Refusal.INVALID_EVENT, {}),
    ]
    with pytest.raises(ImportRefused, match="'hat'"):
        look(file_of(tmp_path, '{"customer_id":"1"}\n{"customer_id":"2","hat":7}\n', "more.ndjson"))


def test_an_exported_line_says_each_field_at_its_own_time_and_what_was_removed(tmp_path: Path):
    held = {
        "display_name": HeldField("Ana", BEFORE, 1),
        "display_email": HeldField("a@b.example", BEFORE + 1000, 2),
        "gender": HeldField(None, BEFORE + 2000, 3),
    }
    events = said(file_of(tmp_path, export_line("42", held), "all.ndjson"))

    assert [(event.occurred_at, event.readings) for event in events] == [
        (BEFORE, (Reading("display_name", Kind.VALUE, "Ana"),)),
        (BEFORE + 1000, (Reading("display_email", Kind.VALUE, "a@b.example"),)),
        (BEFORE + 2000, (Reading("gender", Kind.REMOVAL),)),
    ]


@pytest.mark.parametrize(
    "value", ["=1+1", "+886912345678", "-5", "@sum", "\tx", "'=x", "''+1", "＝1", "plain", "it's", "'q'"]
)
def test_a_cell_that_a_spreadsheet_would_run_is_quoted_and_read_back(tmp_path: Path, value: str):
    written = cell(value)

    assert not written.startswith(("=", "+", "-", "@", "\t", "＝"))
    assert values(said(file_of(tmp_path, f"customer_id,name\n1,{written}\n"))[0]) == {"display_name": value.strip()}
    assert quoted(value) == written


def test_a_customer_who_comes_again_is_marked_so_and_nobody_else_is(tmp_path: Path):
    path = file_of(tmp_path, "customer_id,name\n" + "".join(f"{n},A\n" for n in range(5000)) + "17,B\n17,C\n")
    source = look(path)

    lines = [line for line, _ in read_lines(source, reader_of(source.columns))]

    assert (source.lines, "17" in source.repeated) == (5002, True)
    assert [line.number for line in lines if line.is_repeated] == [5002, 5003]
    assert lines[17].is_awaited


def test_a_rejects_file_has_the_form_of_its_source_and_can_be_read_again(tmp_path: Path):
    source = look(file_of(tmp_path, "customer_id;name;phone\n1;王;0912\n2;=x;1\n".encode("utf-8-sig")))
    with Rejects(tmp_path / "rejects.csv", source) as rejects:
        rejects.write(Line(2, ["1", "王", "0912"]), [Fault("phone", "no_country_code"), Fault("", "why")])
        rejects.write(Line(3, ["2", "=x"]), [Fault("", "invalid_event")])

    text = (tmp_path / "rejects.csv").read_text("utf-8-sig")
    assert text.splitlines() == [
        "customer_id;name;phone;import_errors",
        '1;王;0912;"phone: no_country_code; why"',
        "2;'=x;;invalid_event",
    ]
    again = said(tmp_path / "rejects.csv")
    assert [(event.customer, values(event)) for event in again] == [
        ("1", {"display_name": "王", "display_mobile": None}),
        ("2", {"display_name": "=x"}),
    ]


def test_without_rejects_there_is_no_file_and_an_old_one_goes(tmp_path: Path):
    source = look(file_of(tmp_path, CHINESE))
    file_of(tmp_path, "of last time", "rejects.csv")

    with Rejects(tmp_path / "rejects.csv", source) as rejects:
        assert rejects.count == 0

    assert not (tmp_path / "rejects.csv").exists()
