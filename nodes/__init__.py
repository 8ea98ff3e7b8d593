"""The pack's ComfyUI nodes, one family a file."""

from __future__ import annotations

from comfy_api.v0_0_2 import ComfyExtension, io

from .compare import SaeuronCompare
from .feature_report import SaeuronFeatureReport
from .feature_sets import SaeuronLoadFeatureSet, SaeuronSaveFeatureSet, SaeuronSelectFeatures
from .find import SaeuronFeaturesByIndex, SaeuronFindFeatures
from .heatmap import SaeuronFeatureExamples, SaeuronFeatureHeatmap
from .load import SaeuronLoadMiniature, SaeuronLoadSAE
from .statistics import SaeuronCollectStatistics
from .steer import SaeuronSteerFeatures
from .unlearn import SaeuronUnlearn


class SaeuronExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            SaeuronLoadSAE,
            SaeuronCollectStatistics,
            SaeuronSelectFeatures,
            SaeuronLoadFeatureSet,
            SaeuronSaveFeatureSet,
            SaeuronUnlearn,
            SaeuronLoadMiniature,
            SaeuronSteerFeatures,
            SaeuronFindFeatures,
            SaeuronFeaturesByIndex,
            SaeuronFeatureHeatmap,
            SaeuronFeatureExamples,
            SaeuronFeatureReport,
            SaeuronCompare,
        ]


async def comfy_entrypoint() -> SaeuronExtension:
    return SaeuronExtension()
