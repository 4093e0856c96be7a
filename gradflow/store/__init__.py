"""Results files: a whole study in one NetCDF-4 file that any xarray can open, and back again bit for bit.

Knows studies and everything they are made of; nothing that a study is made of knows this package. What a file holds
is said by two pure functions (``trees``: study and xarray.DataTree); paths, atomic replacement and the diagnosis of
what cannot be read are apart from it (``paths``, ``files``). Names are loaded on first use, so that a path can be
checked before anything heavy is imported.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
