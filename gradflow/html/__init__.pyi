from .notebooks import load_ipython_extension as load_ipython_extension
from .notebooks import register as register
from .pages import read as read
from .pages import report as report
from .pages import write_report as write_report
