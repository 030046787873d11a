"""Pictures that people upload: checked, written anew, and kept where nothing is ever executed."""

from __future__ import annotations

import io
import os
import re
import secrets
import unicodedata
from typing import NamedTuple

from flask import current_app
from PIL import Image, ImageOps
from werkzeug.datastructures import FileStorage

FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "gif": "GIF"}
# A small file can unpack to gigabytes; the size stands in its first bytes, before anything is unpacked. This many, a
# phone's photo of 4160 x 3120, take up to 130 MB while they are made smaller.
MOST_PIXELS = 13_000_000
LARGEST_SIDE = 1600
# Without these a picture looks different; all else that a file says beside its pixels is left out.
KEPT = {"transparency", "icc_profile"}
LONGEST_NAME = 80


class BadPicture(Exception):
    """Why a file is not taken, in words for who sent it."""


class Picture(NamedTuple):
    """A picture as it will be kept."""

    name: str
    content: bytes


def checked(upload: FileStorage) -> Picture:
    """Check an upload by its content, and write it anew.

    What is kept was written by Pillow and not by the client: no script behind the pixels, no place where a photo was
    taken, no more than a screen's worth of pixels, and no animation.

    :raises BadPicture: with the reason
    """
    stem, _, ending = (upload.filename or "").rpartition(".")
    kind = FORMATS.get(ending.lower(), "")
    content = upload.read()
    if not content:
        raise BadPicture("The file is empty. 文件是空的。")
    new = io.BytesIO()
    try:
        with Image.open(io.BytesIO(content), formats=[kind]) as image:
            if image.width * image.height > MOST_PIXELS:
                raise BadPicture(f"The picture has more than {MOST_PIXELS // 1_000_000} million pixels. 图片太大。")
            image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))  # First, so that only the small one is there twice.
            upright = ImageOps.exif_transpose(image)
            upright.info = {key: value for key, value in upright.info.items() if key in KEPT}
            upright.save(new, kind)
    except BadPicture:
        raise
    except Exception:  # noqa: BLE001  Pillow promises no list of what a damaged file can raise.
        raise BadPicture(f"This is no {kind} picture. 这不是 {kind} 图片。") from None
    return Picture(f"{secrets.token_hex(8)}-{safe_name(stem)}.{ending.lower()}", new.getvalue())


def safe_name(stem: str) -> str:
    """Keep the letters of any script, and nothing that means something to a file system or a web server.

    Werkzeug's ``secure_filename`` drops everything that is not ASCII, so that 茶.png would have no name at all.
    """
    last = unicodedata.normalize("NFKC", stem).replace("\\", "/").rpartition("/")[2]
    name = re.sub(r"[^\w-]+", "_", last).strip("_")
    return name.encode()[:LONGEST_NAME].decode(errors="ignore") or "picture"


def store(picture: Picture) -> str:
    """Write it under its name, which no other has, for the web server's group to read; give the name back."""
    folder = current_app.config["MEDIA_FOLDER"]
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / picture.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, 0o640)  # whatever the umask is
        file.write(picture.content)
    return picture.name


def remove(name: str | None) -> None:
    """Delete a picture, if there is one."""
    if name:
        (current_app.config["MEDIA_FOLDER"] / name).unlink(missing_ok=True)
