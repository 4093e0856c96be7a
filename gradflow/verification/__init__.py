"""Every statement of the four papers as a row of one table: tried on random instances, with its worst margin."""

from gradflow.verification.catalogue import STATEMENTS as STATEMENTS
from gradflow.verification.statement import Statement as Statement
from gradflow.verification.statement import Trial as Trial
from gradflow.verification.statement import Verdict as Verdict
from gradflow.verification.statement import verify as verify
from gradflow.verification.statement import verify_all as verify_all
