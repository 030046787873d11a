"""What a WSGI server imports: ``gunicorn wsgi:app``, or ``flask --app wsgi run``."""

from wordbook import create_app

app = create_app()
