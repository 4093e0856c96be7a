"""gradflow: the laboratory for gradient flows of neural networks.

Names are loaded on first use, so that ``import gradflow`` and ``gradflow --help`` cost nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
