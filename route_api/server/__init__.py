"""How gunicorn runs Route API, and every change that we make to gunicorn, gevent and psycopg.

Only this package imports gevent, and only this package reaches into the inside of a library. All other code is plain
blocking Python: it runs in a thread of gunicorn's `gthread` worker as it is, and in a greenlet of its `gevent` worker,
which patches the standard library.
"""
