"""Results as pages for a browser: one self-contained HTML file for a run or an estimate of basins, with an explorer.

:func:`report` makes the page, :func:`write_report` writes it; nothing in it asks the network for anything, and all of
it but the explorer is readable without scripts. :func:`register` gives results tables in notebooks. Looks on: the
only numbers computed here are the explorer's trajectories, which are the library's own integrations. Names are loaded
on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
