"""The autoscaler: adapts the number of gunicorn's workers in the live slot to the load.

It is installed as one file, `/usr/local/lib/sites/scaler`, and is one of the site's processes: the launcher starts it
as the site's user. It samples the slot's socket four times a second. A request that waits in two consecutive samples
adds workers. When no request has waited for a while and one worker fewer would have sufficed, one worker stops while
there is no request, because gunicorn stops its oldest worker even if that is busy. The number stays between
SITE_WORKERS_MIN and SITE_WORKERS, each for SITE_THREADS requests at once. It scales only its own release.

It signals gunicorn's master by SIGTTIN and SIGTTOU, which needs no rights beyond the site's user. All workers listen on
the same socket, so no client depends on the worker that stops.
"""
