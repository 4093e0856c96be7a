"""Experiments: a question, a prediction that can fail, a measurement that is kept, and a judgement of what was kept.

An experiment is a file outside of the package with a frozen ``Settings``, ``measure(settings)`` that returns an
``xarray.Dataset``, and ``findings(results)``, a pure function of what was saved. This room finds such files, reads
settings for them, runs them, keeps their results with their origin and judges them again. It knows what no single
experiment measures, and prints and draws nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
