"""The pages of the words."""

from __future__ import annotations

from flask import Response, abort, current_app, flash, redirect, render_template, request, send_from_directory, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_required
from flask_moment import moment
from sqlalchemy.orm.exc import StaleDataError

from wordbook.extensions import db
from wordbook.forms import EmptyForm, clean
from wordbook.models import Word
from wordbook.words import bp, pictures
from wordbook.words.forms import WordForm

# What fits into every database's integer, also as an offset: more is a page that does not exist.
ID = "<int(max=2147483647):word_id>"
LAST_PAGE = 1_000_000


@bp.get("/")
def index() -> str:
    """The word list, or what a search finds in it."""
    text = clean(request.args.get("q"))
    page = min(max(request.args.get("page", 1, type=int), 1), LAST_PAGE)
    words = db.paginate(Word.search(text), page=page, per_page=current_app.config["WORDS_PER_PAGE"], error_out=False)
    return render_template("words/index.html", words=words, text=text)


@bp.get(f"/words/{ID}")
def show(word_id: int) -> str:
    """One word."""
    return render_template("words/show.html", word=db.get_or_404(Word, word_id), form=EmptyForm())


@bp.route("/words/add", methods=["GET", "POST"])
@login_required
def add() -> ResponseReturnValue:
    """Add a word."""
    if not current_user.may_add():
        flash("Please confirm your e-mail address first. 请先确认邮箱。", "warning")
        return redirect(url_for("account.unconfirmed"))
    return edited(Word(owner_id=current_user.id), "Added 已添加")


@bp.route(f"/words/{ID}/edit", methods=["GET", "POST"])
@login_required
def edit(word_id: int) -> ResponseReturnValue:
    """Change a word."""
    return edited(changeable(word_id), "Saved 已保存")


@bp.post(f"/words/{ID}/delete")
@login_required
def delete(word_id: int) -> ResponseReturnValue:
    """Delete a word and its picture."""
    word = changeable(word_id)
    db.session.delete(word)
    db.session.commit()
    pictures.remove(word.picture)
    flash(f"Deleted 已删除: {word.english} {word.chinese}", "success")
    return redirect(url_for(".index"))


@bp.get("/media/<filename>")
def media(filename: str) -> Response:
    """A picture, while you develop: on a host the web server has this address itself."""
    answer = send_from_directory(current_app.config["MEDIA_FOLDER"], filename, max_age=86400)
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


@bp.get("/moment.js")
def moment_script() -> Response:
    """Flask-Moment's own script, with the language that times are written in.

    ``moment.include_moment()`` would write it into each page, where a Content-Security-Policy of ``script-src 'self'``
    forbids it. As a file of its own it needs no exception, and browsers keep it.
    """
    script = f'{moment.flask_moment_js()}\nmoment.locale("zh-cn");\n'
    answer = current_app.response_class(script, mimetype="text/javascript")
    answer.cache_control.public, answer.cache_control.max_age = True, 86400
    return answer


def changeable(word_id: int) -> Word:
    """Find a word that this person may change; 403 for another's."""
    word = db.get_or_404(Word, word_id)
    if not current_user.may_change(word):
        abort(403, "This word is another's. 这是别人的单词。")
    return word


def edited(word: Word, done: str) -> ResponseReturnValue:
    """Show the form for a word, or save what came with it."""
    db.session.commit()  # All is read. Other writes do not wait while the picture is checked.
    form = WordForm(obj=None if request.method == "POST" else word)
    if not form.validate_on_submit():
        status = 422 if form.is_submitted() else 200
        return render_template("words/edit.html", form=form, word=word), status
    for name in Word.TEXTS:
        setattr(word, name, form[name].data)
    old = new = word.picture
    if form.checked_picture:
        new = pictures.store(form.checked_picture)
    elif form.without_picture.data:
        new = None
    word.picture = new
    try:
        db.session.add(word)
        db.session.commit()
    except Exception as reason:
        db.session.rollback()
        if new != old:
            pictures.remove(new)
        if isinstance(reason, StaleDataError):  # The word was deleted by another request.
            abort(404)
        raise
    if new != old:
        pictures.remove(old)
    flash(f"{done}: {word.english} {word.chinese}", "success")
    return redirect(url_for(".show", word_id=word.id))
