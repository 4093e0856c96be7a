"""Planes of parameter space and what a phase portrait shows on them, as data: nothing here draws.

A :class:`Plane` holds all parameters of a flow (:func:`parameter_plane`) or is a slice of more (:func:`plane_through`,
:func:`plane_of_points`); then the part of the field that leaves it is kept beside the part in it. :func:`nullclines`
are polylines of exact zeros, :func:`branches` the stable and unstable manifolds of a saddle traced by integration,
:func:`phase_plane` puts everything into one Dataset, which ``gradflow.plotting.plane_portrait`` draws.
"""

from gradflow.phase_planes.assembling import phase_plane as phase_plane
from gradflow.phase_planes.critical import isolated_critical_points as isolated_critical_points
from gradflow.phase_planes.fields import field_on_grid as field_on_grid
from gradflow.phase_planes.following import Followed as Followed
from gradflow.phase_planes.following import followed as followed
from gradflow.phase_planes.manifolds import Branch as Branch
from gradflow.phase_planes.manifolds import branches as branches
from gradflow.phase_planes.manifolds import separatrices as separatrices
from gradflow.phase_planes.nullclines import Nullcline as Nullcline
from gradflow.phase_planes.nullclines import nullclines as nullclines
from gradflow.phase_planes.planes import Plane as Plane
from gradflow.phase_planes.planes import parameter_plane as parameter_plane
from gradflow.phase_planes.planes import plane_of_points as plane_of_points
from gradflow.phase_planes.planes import plane_through as plane_through
