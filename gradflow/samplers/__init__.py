"""Samplers of starts: start number i is a function of (key, i) alone, bit for bit, whatever else is asked for.

Laws (:class:`Box`, :class:`Gaussian`, :class:`Ball`, :class:`Sphere`, :class:`Law`, :class:`FromFunction`) draw
independent starts; designs (:class:`Sobol`, :class:`Stratified`) cover a law more evenly in independent replicates;
tables (:class:`Slice`, :class:`Given`) draw nothing. To write another one, see :class:`AbstractSampler`.
"""

from gradflow.samplers.blocks import block_size as block_size
from gradflow.samplers.blocks import start_key as start_key
from gradflow.samplers.blocks import words_of_key as words_of_key
from gradflow.samplers.descriptions import described as described
from gradflow.samplers.designs import Sobol as Sobol
from gradflow.samplers.designs import Stratified as Stratified
from gradflow.samplers.functions import FromFunction as FromFunction
from gradflow.samplers.network_laws import Law as Law
from gradflow.samplers.regions import Ball as Ball
from gradflow.samplers.regions import Box as Box
from gradflow.samplers.regions import Gaussian as Gaussian
from gradflow.samplers.regions import Sphere as Sphere
from gradflow.samplers.sampler import AbstractCubeSampler as AbstractCubeSampler
from gradflow.samplers.sampler import AbstractRandomSampler as AbstractRandomSampler
from gradflow.samplers.sampler import AbstractSampler as AbstractSampler
from gradflow.samplers.tables import Given as Given
from gradflow.samplers.tables import Slice as Slice
from gradflow.samplers.templates import Template as Template
from gradflow.samplers.templates import template_of as template_of
