from .files import load as load
from .files import save as save
from .paths import check_writable as check_writable
from .trees import SCHEMA as SCHEMA
from .trees import from_datatree as from_datatree
from .trees import to_datatree as to_datatree
