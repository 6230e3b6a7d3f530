"""A cluster's settings: read from its stack file, checked whole, never half right."""

from gpuctl.settings.catalogue import CATALOGUE, GpuModel
from gpuctl.settings.environments import UnresolvedError
from gpuctl.settings.mistakes import Mistake, SettingsError
from gpuctl.settings.model import Settings
from gpuctl.settings.nodes import GpuGroup, GpuNode
from gpuctl.settings.project import ProjectError, config_folder, project_folder
from gpuctl.settings.stack_file import read_config, read_stack, read_stack_file, stack_names

__all__ = [
    "CATALOGUE",
    "GpuGroup",
    "GpuModel",
    "GpuNode",
    "Mistake",
    "ProjectError",
    "Settings",
    "SettingsError",
    "UnresolvedError",
    "config_folder",
    "project_folder",
    "read_config",
    "read_stack",
    "read_stack_file",
    "stack_names",
]
