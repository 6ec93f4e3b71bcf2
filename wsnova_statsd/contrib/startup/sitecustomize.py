"""The first module that a Python runs under `wsnova-statsd run`: it has the WebSocket libraries instrumented when they
are imported, and then runs the sitecustomize that would have run without it.

This folder is on PYTHONPATH for that, and is no package. The program finds sys.path and sys.modules as they would be;
no module is imported that it may want to import first, or to patch (gevent), and no frame of this file is in a
traceback. A failure leaves the program unchanged. Any Python 3 may run this, also one without wsnova_statsd: no recent
syntax, and no imports except of what the interpreter has already imported itself.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

import os
import sys

_OURS = "wsnova_statsd"
_WATCHED = ("websocket", "websockets.sync.client", _OURS)
_FOLDER = os.path.dirname(os.path.abspath(__file__))
_state = {"importing": False}  # True while our own package is executed: it imports a watched module


class _Finder:
    """Finds watched modules by the other finders, and wraps their execution."""

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
    """Replaces a loader's exec_module once, and instruments afterwards."""

    def __init__(self, loader):
        self._loader = loader

    def __call__(self, module):
        name, loader = module.__name__, self._loader
        del loader.exec_module  # from this loader, so that the method of its class is called
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
        # The frames of Python's importer are left out of tracebacks and warnings; Python recognises them by their file.
        _hidden.__code__ = _hidden.__code__.replace(co_filename="<frozen importlib._bootstrap_external>")
    sys.meta_path.insert(0, _Finder())
    if any(name in sys.modules for name in _WATCHED):  # imported by a .pth file
        _instrument()
except Exception:  # this Python is too old
    pass
sys.path[:] = [one for one in sys.path if one != _FOLDER]
sys.modules.pop("sitecustomize", None)
__import__("sitecustomize")  # the original one; if there is none, site handles this error
