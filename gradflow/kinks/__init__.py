"""Flows of ReLU-like networks: smooth pieces, the surfaces between them, and what a trajectory does on meeting one.

A network that is piecewise linear in its preactivations has a loss that is smooth on each piece of constant activation
pattern and continuous across. A solution in the sense of Filippov crosses from piece to piece, or slides along the
surface between two pieces that both push towards it.
"""

from gradflow.kinks.log import KinkLog as KinkLog
from gradflow.kinks.pieces import Piece as Piece
from gradflow.kinks.pieces import PieceProblem as PieceProblem
from gradflow.kinks.pieces import has_pieces as has_pieces
from gradflow.kinks.sliding import Decision as Decision
from gradflow.kinks.sliding import decide as decide
from gradflow.kinks.switching import Switch as Switch
from gradflow.kinks.switching import first_piece as first_piece
from gradflow.kinks.switching import is_within as is_within
from gradflow.kinks.switching import next_piece as next_piece
