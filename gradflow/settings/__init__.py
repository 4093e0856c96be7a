"""Settings of the commands: frozen dataclasses that check themselves, and the files they are read from.

The same objects serve the command line, configuration files and scripts. They know names, ranges and what goes
together, never arrays; nothing heavy is imported here, so that a typing error costs a moment and not a computation.
"""

from gradflow.settings.basins import BasinSettings
from gradflow.settings.experiments import ExperimentSettings
from gradflow.settings.files import as_toml, decisive, flat, from_mapping, read_config
from gradflow.settings.portraits import PortraitSettings
from gradflow.settings.reports import ReportSettings
from gradflow.settings.runs import (
    DataSettings,
    DemoSettings,
    FlowSettings,
    InitSettings,
    NetworkSettings,
    OutputSettings,
    RunSettings,
    SolverSettings,
    TeacherSettings,
)
from gradflow.settings.verification import VerifySettings

__all__ = [
    "BasinSettings",
    "DataSettings",
    "DemoSettings",
    "ExperimentSettings",
    "FlowSettings",
    "InitSettings",
    "NetworkSettings",
    "OutputSettings",
    "PortraitSettings",
    "ReportSettings",
    "RunSettings",
    "SolverSettings",
    "TeacherSettings",
    "VerifySettings",
    "as_toml",
    "decisive",
    "flat",
    "from_mapping",
    "read_config",
]
