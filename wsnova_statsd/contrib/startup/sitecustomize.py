"""The first thing that a Python runs under `wsnova-statsd run`: has the WebSocket libraries instrumented once they are
imported, and hands over to the sitecustomize that would have run without it.

This folder is on PYTHONPATH for that, and no package. The program finds sys.path and sys.modules as they would be; no
module is imported that it may want to import first, or to patch (gevent), and no frame of this page is in a traceback.
Whatever fails leaves the program as it is. Any Python 3 may come here, also one without wsnova_statsd: no syntax of
today, and no import but of what the interpreter has imported itself.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

import os
import sys

_OURS = "wsnova_statsd"
_WATCHED = ("websocket", "websockets.sync.client", _OURS)
_FOLDER = os.path.dirname(os.path.abspath(__file__))
_state = {"importing": False}  # whether our own package is being executed: it imports one of the watched


class _Finder:
    """Finds what is watched by the other finders, and has it tell when it was executed."""

    def find_spec(self, name, path=None, target=None):
        if name not in _WATCHED:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None and finder is not self else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader.exec_module = _Execution(spec.loader)
                return spec
        return None


class _Execution:
    """A loader's exec_module, once, and what follows it."""

    def __init__(self, loader):
        self._loader = loader

    def __call__(self, module):
        name, loader = module.__name__, self._loader
        del loader.exec_module  # of this loader; that of its class is called
        _state["importing"] = _state["importing"] or name == _OURS
        try:
            loader.exec_module(module)
        finally:
            if name == _OURS:
                _state["importing"] = False
        if not _state["importing"]:
            _instrument()


def _instrument():
    try:
        from wsnova_statsd.contrib import autostart

        autostart.instrument()
    except Exception as error:
        if os.environ.get("WSNOVA_STATSD_LOG", "").lower() in ("true", "yes", "on", "1"):
            sys.stderr.write("wsnova_statsd: this program is not instrumented: " + str(error) + "\n")


try:
    for _hidden in (_Finder.find_spec, _Execution.__call__):
        # The frames of Python's importer are left out of tracebacks and warnings; they are known by their file.
        _hidden.__code__ = _hidden.__code__.replace(co_filename="<frozen importlib._bootstrap_external>")
    sys.meta_path.insert(0, _Finder())
    if any(name in sys.modules for name in _WATCHED):  # by a .pth file
        _instrument()
except Exception:  # a Python that is too old
    pass
sys.path[:] = [one for one in sys.path if one != _FOLDER]
sys.modules.pop("sitecustomize", None)
__import__("sitecustomize")  # the one that was there; if there is none, site knows this error
