"""Naming endpoints: many states at once, each refined, tested to second order, and called what it is.

:func:`examine` says what double precision knows of a batch of endpoints, row by row. :func:`namer_for` chooses who
names them: closed-form theory for linear networks (captured set), paper 001's regularised ones and single ReLU units
(cone and singular value), discovery modulo the problem's symmetries elsewhere. Discovered groups are tallied in
:class:`Groups`, merged in any order, and labelled once at the end by :func:`settle`. A row's name depends on that row
alone. Sees endpoints; never trajectories, samplers or how endpoints are counted.
"""

from gradflow.naming.choosing import namer_for as namer_for
from gradflow.naming.discovery import Discovery as Discovery
from gradflow.naming.discovery import discovery as discovery
from gradflow.naming.examination import Examination as Examination
from gradflow.naming.examination import examine as examine
from gradflow.naming.groups import Groups as Groups
from gradflow.naming.groups import merge as merge
from gradflow.naming.groups import resolve as resolve
from gradflow.naming.labels import UNDECIDED as UNDECIDED
from gradflow.naming.labels import Label as Label
from gradflow.naming.labels import Names as Names
from gradflow.naming.namers import AbstractNamer as AbstractNamer
from gradflow.naming.settling import Settled as Settled
from gradflow.naming.settling import settle as settle
