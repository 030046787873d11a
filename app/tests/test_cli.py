"""The command line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from conftest import PASSWORD, add_user, add_word, all_words, log_in
from flask import Flask
from sqlalchemy import delete, event
from wordbook.account.forms import LONGEST_PASSWORD
from wordbook.extensions import db
from wordbook.forms import clean
from wordbook.models import Word
from wordbook.samples import SAMPLES

HEAD = "english,chinese,english_example,chinese_example\n"


def run(app: Flask, *arguments: str, status: int = 0, **options) -> str:
    result = app.test_cli_runner().invoke(args=arguments, **options)
    assert result.exit_code == status, result.output
    return result.output


def test_the_first_admin_is_created(app: Flask) -> None:
    out = run(app, "create-admin", "Boss@example.com", input="a long one\na long one\n")
    assert "boss@example.com is an admin" in out
    assert "a long one" not in out
    client = log_in(app, "boss@example.com", "a long one")
    assert client.get(f"/words/{add_word(app)}/edit").status_code == 200


def test_an_admins_password_can_come_from_the_environment(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_PASSWORD", "short")
    assert "shorter than" in run(app, "create-admin", "boss@example.com", status=1)
    monkeypatch.setenv("ADMIN_PASSWORD", "from the environment")
    run(app, "create-admin", "boss@example.com")
    log_in(app, "boss@example.com", "from the environment")
    run(app, "create-admin", "no address", status=2)
    run(app, "create-admin", "用户@example.com", status=2)


def test_a_password_that_the_form_would_refuse_is_refused(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_PASSWORD", "x" * (LONGEST_PASSWORD + 1))
    assert "longer than 200" in run(app, "create-admin", "boss@example.com", status=1)


def test_a_confirmed_account_becomes_an_admin_and_keeps_its_password(app: Flask) -> None:
    add_user(app, "anna@example.com")
    assert "with the password it had" in run(app, "create-admin", "anna@example.com")
    assert log_in(app, "anna@example.com").get(f"/words/{add_word(app)}/edit").status_code == 200


def test_an_unconfirmed_account_with_an_admins_address_gets_no_rights(app: Flask) -> None:
    add_user(app, "boss@example.com", confirmed=False)
    stranger = log_in(app, "boss@example.com", remember="y")
    out = run(app, "create-admin", "boss@example.com", input="the operator's\nthe operator's\n")
    assert "with a new password" in out
    number = add_word(app)
    assert stranger.get(f"/words/{number}/edit").status_code == 302, "sessions end with the password"
    answer = app.test_client().post("/account/login", data={"email": "boss@example.com", "password": PASSWORD})
    assert "Wrong address or password" in answer.text
    operator = log_in(app, "boss@example.com", "the operator's")
    assert operator.get(f"/words/{number}/edit").status_code == 200


def test_seed_fills_an_empty_database_only(app: Flask) -> None:
    run(app, "seed")
    assert len(all_words(app)) == len(SAMPLES)
    assert "There are words already" in run(app, "seed")
    assert len(all_words(app)) == len(SAMPLES)


def test_an_export_can_be_imported_again(app: Flask, tmp_path: Path) -> None:
    file = str(tmp_path / "words.csv")
    add_word(app, 'a "quoted", word', "茶\u3000叶", english_example="=1+1")
    run(app, "words", "export", file)
    assert Path(file).read_bytes().startswith(b"\xef\xbb\xbfenglish,")
    with app.app_context():
        db.session.delete(all_words(app)[0])
        db.session.commit()
    add_user(app, "anna@example.com")
    assert "1 words added, 0 were" in run(app, "words", "import", file, "--owner", "anna@example.com")
    (word,) = all_words(app)
    assert (word.english, word.chinese, word.english_example) == ('a "quoted", word', "茶 叶", "=1+1")
    assert word.owner_id
    assert "0 words added, 1 were there already" in run(app, "words", "import", file)


def test_an_export_can_go_to_the_terminal(app: Flask) -> None:
    add_word(app)
    result = app.test_cli_runner().invoke(args=["words", "export"])
    rows = list(csv.reader(result.stdout.lstrip("\ufeff").splitlines()))
    assert rows == [["english", "chinese", "english_example", "chinese_example"], ["tea", "茶", "", ""]]
    assert "1 words" in result.stderr


def test_an_export_that_fails_leaves_the_file_as_it_was(app: Flask, tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "words.csv"
    file.write_text("the only copy", encoding="utf-8")
    monkeypatch.setattr(Word, "search", lambda: 1 / 0)
    assert isinstance(app.test_cli_runner().invoke(args=["words", "export", str(file)]).exception, ZeroDivisionError)
    assert file.read_text(encoding="utf-8") == "the only copy"
    assert list(tmp_path.iterdir()) == [file]


FORMULAS = ["=1+1", "+1", "-1", "@x", "'=1", "''+", "\uff1d1", "\t2", "\r3"]


def test_no_cell_is_a_formula_in_excel_and_each_text_reads_back(app: Flask, tmp_path: Path) -> None:
    file = tmp_path / "words.csv"
    for text in [*FORMULAS, "'tis", "a=b"]:
        add_word(app, text, "字")
    run(app, "words", "export", str(file))
    with file.open(encoding="utf-8-sig", newline="") as lines:
        cells = {row["english"] for row in csv.DictReader(lines)}
    assert cells == {"'" + text for text in FORMULAS} | {"'tis", "a=b"}
    before = sorted(clean(word.english) for word in all_words(app))
    with app.app_context():
        db.session.execute(delete(Word))
        db.session.commit()
    run(app, "words", "import", str(file))
    assert sorted(word.english for word in all_words(app)) == before


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_import_accepts_files_with_and_without_a_byte_order_mark(app: Flask, tmp_path: Path, start: str) -> None:
    file = tmp_path / "words.csv"
    file.write_text(f"{start}chinese,english\n茶,tea\n", encoding="utf-8")
    run(app, "words", "import", str(file))
    assert [word.english for word in all_words(app)] == ["tea"]


def test_bad_rows_are_named_and_nothing_is_imported(app: Flask, tmp_path: Path) -> None:
    file = tmp_path / "words.csv"
    rows = ["tea,茶,,", ",风,,", "wind,,,", f"{'x' * 101},字,,", "a,b,c,d,e", "book,书,,"]
    file.write_text(HEAD + "\n".join(rows), encoding="utf-8")
    out = run(app, "words", "import", str(file), status=1)
    assert "line 3: english is empty" in out
    assert "line 4: chinese is empty" in out
    assert "line 5: english is longer than 100 characters" in out
    assert "line 6: more cells than columns" in out
    assert "line 2" not in out and "line 7" not in out
    assert all_words(app) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "must name the columns"),
        (b"a,b\n1,2\n", "must name the columns"),
        ("english,chinese\ntea,茶\n".encode("gbk"), "not UTF-8"),
        ('english,chinese\ntea,茶\n"wind,风\nbook,书\n'.encode(), "line 3: unexpected end of data"),
        ('english,chinese\n"tea,茶\n'.encode() + b"wind\n" * 30_000, "line 2: field larger than"),
        ('english,chinese\n"a "good" tea",茶\n'.encode(), "line 2: ',' expected after '\"'"),
        (b'"english,chinese\n', "line 1: unexpected end of data"),
    ],
)
def test_a_missing_or_invalid_file_is_reported(app: Flask, tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "words.csv"
    file.write_bytes(content)
    assert reason in run(app, "words", "import", str(file), status=1)


def test_a_missing_owner_is_reported(app: Flask, tmp_path: Path) -> None:
    file = tmp_path / "words.csv"
    file.write_text(HEAD + "tea,茶,,", encoding="utf-8")
    assert "no account nobody@example.com" in run(
        app, "words", "import", str(file), "--owner", "nobody@example.com", status=1
    )
    assert all_words(app) == []


@pytest.fixture
def listen_for_a_while():
    listeners = []

    def listen(*listener) -> None:
        listeners.append(listener)
        event.listen(db.session, *listener)

    yield listen
    for listener in listeners:
        event.remove(db.session, *listener)


def test_a_long_import_is_one_transaction(app: Flask, tmp_path: Path, listen_for_a_while) -> None:
    file = tmp_path / "words.csv"
    file.write_text(HEAD + "".join(f"word{number},字,,\n" for number in range(2000)), encoding="utf-8")
    waiting, ends = [], []
    listen_for_a_while("before_flush", lambda session, *_: waiting.append(len(session.new)))
    listen_for_a_while("before_commit", lambda session: ends.append(len(waiting)))
    assert "2000 words added" in run(app, "words", "import", str(file))
    assert waiting == [500] * 4, "the bar shows the writing, not only the reading"
    assert ends == [4]
    assert len(all_words(app)) == 2000


def test_the_tests_can_be_run_by_a_command(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("subprocess.call", lambda command, **_: calls.append(command) or 3)
    run(app, "test", "-k", "cli", status=3)
    assert calls[0][1:] == ["-m", "pytest", "-k", "cli"]
