"""The GPUs of this machine, asked through NVML, which needs no process of its own and no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pynvml
import structlog

from dicom_node.gauges import Sample

log = structlog.get_logger(__name__)


class Gpus:
    """A source of the metrics page. On a machine without an NVIDIA driver there are none, which is no error."""

    def __init__(self, nvml: Any = pynvml) -> None:
        self._nvml = nvml
        self._handles: list[Any] = []
        try:
            nvml.nvmlInit()
            self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError as error:
            log.debug("no_gpus", why=str(error))

    def __call__(self) -> Iterable[Sample]:
        """Memory and use of each; one that has fallen off the bus is left out."""
        for number, handle in enumerate(self._handles):
            labels = (str(number),)
            try:
                memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
                share = self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
            except self._nvml.NVMLError:
                continue
            yield "gpu_memory_used_bytes", labels, float(memory.used)
            yield "gpu_memory_size_bytes", labels, float(memory.total)
            yield "gpu_utilization_ratio", labels, share
