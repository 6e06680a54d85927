"""How gunicorn runs Route API: the worker classes, the hooks, and the patches of gevent and urllib3.

Only this package imports gevent, and only this package patches a library at run time. Other modules subclass classes of
libraries. All other code is plain blocking Python: a thread of gunicorn's `gthread` worker runs it as it is, and a
greenlet of the `gevent` worker runs it with a patched standard library.
"""
