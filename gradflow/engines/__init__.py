"""Engines: where the chunks of a large computation run, and the folder that keeps them through every kind of end.

A job is a function ``job(index) -> dict of arrays`` with a number of chunks. An engine computes chunks in this process,
in threads or on a Dask cluster; a run folder holds one immutable file per chunk; :func:`run_chunks` joins the two and
hands the chunks in order to whoever adds them up. Nothing here knows a flow, a sampler or an estimate. Names are loaded
on first use, and ``distributed`` only with :class:`Dask`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
