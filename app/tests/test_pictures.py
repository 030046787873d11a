"""Uploaded pictures."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from urllib.parse import unquote

import pytest
from conftest import add_word, all_words, image, log_in
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image, ImageFile, ImageOps
from sqlalchemy import delete
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart
from wordbook.extensions import db
from wordbook.models import Word
from wordbook.words import pictures

TEA = {"english": "tea", "chinese": "茶"}


def upload(client: FlaskClient, content: bytes, name: str, path: str = "/words/add", **more: str) -> TestResponse:
    return client.post(path, data=TEA | more | {"picture": (io.BytesIO(content), name)})


def files(app: Flask) -> list[Path]:
    return sorted(app.config["MEDIA_FOLDER"].glob("**/*"))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("PNG", "tea.png"), ("PNG", "TEA.PNG"), ("JPEG", "tea.jpg"), ("JPEG", "tea.JpEg"), ("GIF", "tea.gif")],
)
def test_a_picture_is_stored_and_shown(app: Flask, anna: FlaskClient, kind: str, name: str) -> None:
    assert upload(anna, image(kind), name).status_code == 302
    (word,) = all_words(app)
    with anna.get(f"/media/{word.picture}") as answer:
        assert answer.status_code == 200
        assert answer.content_type == f"image/{kind.lower()}"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert Image.open(io.BytesIO(answer.data)).size == (4, 3)
    assert f'src="/media/{word.picture}"' in anna.get(f"/words/{word.id}").text


def test_pictures_are_writable_by_the_owner_and_readable_by_the_web_servers_group(
    app: Flask, anna: FlaskClient
) -> None:
    before = os.umask(0o077)
    try:
        upload(anna, image(), "tea.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE(files(app)[0].stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("茶杯 照片.png", "-茶杯_照片.png"),
        ("../../etc/passwd.png", "-passwd.png"),
        ("..\\..\\boot.png", "-boot.png"),
        ("a/b\x00c;d&e.png", "-b_c_d_e.png"),
        ("....png", "-picture.png"),
        ("<img>.php.png", "-img_php.png"),
        ("茶" * 300 + ".png", "-" + "茶" * 26 + ".png"),
    ],
)
def test_names_are_made_safe_and_keep_their_chinese(app: Flask, anna: FlaskClient, given: str, kept: str) -> None:
    assert upload(anna, image(), given).status_code == 302
    (file,) = files(app)
    assert file.parent == app.config["MEDIA_FOLDER"]
    assert file.name[16:] == kept
    with anna.get(f"/media/{file.name}") as answer:
        assert answer.status_code == 200


def test_two_pictures_of_one_name_are_kept(app: Flask, anna: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(anna, image(), "tea.png")
    upload(anna, image(), "tea.png")
    assert len(files(app)) == 2
    with app.app_context(), pytest.raises(FileExistsError):
        pictures.store(pictures.Picture(files(app)[0].name, b"another's"))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "empty.png"),
        (b"#!/bin/sh\nrm -rf /\n", "script.jpg"),
        (b"<?php system($_GET[0]); ?>", "page.php"),
        (image(), "page.php"),
        (image(), "page.svg"),
        (image(), "png"),
        (image("PNG"), "other.jpg"),
        (image("BMP"), "other.png"),
        (image()[:40], "broken.png"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "broken.jpg"),
    ],
)
def test_a_file_that_is_not_a_picture_is_refused(app: Flask, anna: FlaskClient, content: bytes, name: str) -> None:
    assert upload(anna, content, name).status_code == 422
    assert all_words(app) == []
    assert files(app) == []


def test_a_decompression_bomb_is_not_unpacked(app: Flask, anna: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = io.BytesIO()
    Image.new("1", (4001, 3250)).save(bomb, "PNG")
    assert len(bomb.getvalue()) < 10_000
    unpacked = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: unpacked.append(image.size))
    answer = upload(anna, bomb.getvalue(), "bomb.png")
    assert answer.status_code == 422
    assert "more than 13 million pixels" in answer.text
    assert unpacked == []


def test_metadata_of_a_picture_is_removed(app: Flask, anna: FlaskClient) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    upload(anna, image("JPEG", exif=exif, comment=b"by Anna") + b"<script>alert(1)</script>", "photo.jpg")
    kept = files(app)[0].read_bytes()
    assert b"taken at home" not in kept
    assert b"by Anna" not in kept
    assert b"<script>" not in kept


def test_large_pictures_are_made_smaller_and_then_turned(app: Flask, anna: FlaskClient, monkeypatch) -> None:
    turn, turned = ImageOps.exif_transpose, []
    monkeypatch.setattr(ImageOps, "exif_transpose", lambda image: turned.append(image.size) or turn(image))
    exif = Image.Exif()
    exif[0x0112] = 6  # a phone held upright
    upload(anna, image("JPEG", (3200, 100), exif=exif), "wide.jpg")
    assert turned == [(1600, 50)]
    with Image.open(files(app)[0]) as kept:
        assert kept.size == (50, 1600)


def test_a_damaged_picture_is_refused(app: Flask, anna: FlaskClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "tea"
    whole = image("JPEG", exif=exif)
    assert upload(anna, whole, "whole.jpg").status_code == 302
    damaged = whole.replace(
        b"\x01\x0e\x00\x02", b"\x01\x00\x00\x02"
    )  # The tag of the description becomes that of the width.
    assert damaged != whole
    assert upload(anna, damaged, "damaged.jpg").status_code == 422


def test_the_limit_is_exact(make, anna_id: int) -> None:
    app = make(MAX_CONTENT_LENGTH=20_000)
    anna = log_in(app, "anna@example.com")

    def send(padding: int) -> TestResponse:
        fields = TEA | {"picture": FileStorage(io.BytesIO(image() + bytes(padding)), "tea.png")}
        boundary, body = encode_multipart(fields, "boundary")
        return anna.post("/words/add", data=body, content_type=f"multipart/form-data; boundary={boundary}")

    fitting = 20_000 - int(send(0).request.headers["Content-Length"])
    answer = send(fitting)
    assert (answer.status_code, answer.request.headers["Content-Length"]) == (302, "20000")
    answer = send(fitting + 1)
    assert answer.status_code == 413
    assert "文件太大了" in answer.text
    assert len(all_words(app)) == len(files(app)) == 2


def test_the_limit_comes_from_the_environment(make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make().config["MAX_CONTENT_LENGTH"] == 16 * 1024 * 1024
    monkeypatch.setenv("SITE_MAX_BODY", "1000")
    assert make().config["MAX_CONTENT_LENGTH"] == 1000


def test_zero_means_no_limit_as_in_nginx(make, anna_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_MAX_BODY", "0")
    app = make()
    assert app.config["MAX_CONTENT_LENGTH"] is None
    assert upload(log_in(app, "anna@example.com"), image(), "tea.png").status_code == 302
    body = io.BytesIO(bytes(100_000))
    answer = app.test_client().post("/echo", input_stream=body, environ_base={"wsgi.input_terminated": True})
    assert answer.status_code == 413
    assert body.read() == b"", "all was read before the answer"


def test_a_picture_is_deleted_with_its_word(app: Flask, anna: FlaskClient) -> None:
    upload(anna, image(), "tea.png")
    assert anna.post(f"/words/{all_words(app)[0].id}/delete").status_code == 302
    assert files(app) == []


def test_a_new_picture_replaces_the_old_one_and_one_can_be_removed(app: Flask, anna: FlaskClient) -> None:
    upload(anna, image(), "old.png")
    edit = f"/words/{all_words(app)[0].id}/edit"
    upload(anna, image(), "new.png", edit)
    assert [file.name[17:] for file in files(app)] == ["new.png"]
    anna.post(edit, data=TEA)
    assert len(files(app)) == 1, "a form without a picture keeps the existing one"
    anna.post(edit, data=TEA | {"without_picture": "y"})
    assert files(app) == []
    assert all_words(app)[0].picture is None


def test_a_picture_is_removed_when_its_word_cannot_be_saved(make, anna_id: int, monkeypatch) -> None:
    app = make(PROPAGATE_EXCEPTIONS=False)
    anna = log_in(app, "anna@example.com")
    monkeypatch.setattr(
        "wordbook.words.routes.Word.TEXTS", ()
    )  # A word without texts violates a constraint of the database.
    assert upload(anna, image(), "tea.png").status_code == 500
    assert files(app) == []


def test_a_word_deleted_during_a_change_is_reported(app: Flask, anna: FlaskClient, anna_id, monkeypatch) -> None:
    number = add_word(app, owner_id=anna_id)

    def deleted_meanwhile(given: FileStorage) -> pictures.Picture:
        with app.app_context():
            db.session.execute(delete(Word))
            db.session.commit()
        return pictures.checked(given)

    monkeypatch.setattr("wordbook.words.forms.checked", deleted_meanwhile)
    answer = upload(anna, image(), "tea.png", f"/words/{number}/edit", english="changed")
    assert answer.status_code == 404
    assert "anna@example.com" in answer.text
    assert files(app) == []


@pytest.mark.parametrize("name", ["../wordbook.db", "..%2fwordbook.db", "%2e%2e/wordbook.db", "nothing.png"])
def test_no_other_file_is_served(app: Flask, client: FlaskClient, name: str) -> None:
    app.config["MEDIA_FOLDER"].mkdir()
    (app.config["MEDIA_FOLDER"].parent / "wordbook.db").write_text("secret", encoding="utf-8")
    assert client.get(f"/media/{name}").status_code == 404


def test_a_word_of_another_keeps_its_picture(app: Flask, anna: FlaskClient, ben: FlaskClient) -> None:
    upload(anna, image(), "茶.png")
    number = all_words(app)[0].id
    assert upload(ben, image(), "mine.png", f"/words/{number}/edit").status_code == 403
    assert [unquote(file.name)[17:] for file in files(app)] == ["茶.png"]
    assert add_word(app) > number
