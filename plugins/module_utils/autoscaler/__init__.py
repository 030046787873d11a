"""The autoscaler: lets the live slot's gunicorn have as many workers as the load asks for.

It is installed as one file, `/usr/local/lib/sites/scaler`, and is one of the site's processes: the launcher starts it
as the site's user. It looks at the slot's socket four times a second. A request that waits at two looks in a row adds
workers; when for a while none has waited, and one worker less would have sufficed, one stops, at a moment without a
request: gunicorn would stop its oldest worker, whatever that does. It stays between SITE_WORKERS_MIN and SITE_WORKERS,
each for SITE_THREADS requests at once, and acts on its own release alone.

It signals gunicorn's master by SIGTTIN and SIGTTOU, for which it needs to be no more than the site's user. All workers
listen on the same socket, so no client depends on the one that stops.
"""
