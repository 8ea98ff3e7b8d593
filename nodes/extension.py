"""The pack's ComfyUI nodes, one family a file."""

from __future__ import annotations

from comfy_api.v0_0_2 import ComfyExtension, io

from .browse import SaeuronBrowseFeatureSets
from .calibrate import SaeuronCalibrateDetector
from .clip_similarity import SaeuronClipSimilarity, SaeuronLoadMiniatureClip
from .compare import SaeuronCompare
from .evaluation import SaeuronLoadClassifier, SaeuronRetainAccuracy, SaeuronUnlearningAccuracy
from .feature_report import SaeuronFeatureReport
from .feature_sets import SaeuronLoadFeatureSet, SaeuronSaveFeatureSet, SaeuronSelectFeatures
from .find import SaeuronFeaturesByIndex, SaeuronFindFeatures
from .forget import SaeuronForget
from .heatmap import SaeuronFeatureExamples, SaeuronFeatureHeatmap
from .host.checking import checked
from .load import SaeuronLoadMiniature, SaeuronLoadSAE
from .places import SaeuronCheckSAE, SaeuronFindHookpoint
from .replace import SaeuronReplace
from .replacement_mask import SaeuronReplacementMask
from .statistics import SaeuronCollectStatistics
from .steer import SaeuronSteerFeatures
from .sweep import SaeuronMultiplierSweep
from .train import SaeuronTrainSAE
from .unlearn import SaeuronUnlearn
from .unsafe_content import SaeuronUnsafeContent


class SaeuronExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        nodes = [
            SaeuronLoadSAE,
            SaeuronCollectStatistics,
            SaeuronSelectFeatures,
            SaeuronLoadFeatureSet,
            SaeuronSaveFeatureSet,
            SaeuronUnlearn,
            SaeuronReplace,
            SaeuronForget,
            SaeuronReplacementMask,
            SaeuronLoadMiniature,
            SaeuronLoadClassifier,
            SaeuronUnlearningAccuracy,
            SaeuronRetainAccuracy,
            SaeuronLoadMiniatureClip,
            SaeuronClipSimilarity,
            SaeuronMultiplierSweep,
            SaeuronUnsafeContent,
            SaeuronSteerFeatures,
            SaeuronFindFeatures,
            SaeuronFeaturesByIndex,
            SaeuronFeatureHeatmap,
            SaeuronFeatureExamples,
            SaeuronFeatureReport,
            SaeuronCalibrateDetector,
            SaeuronCompare,
            SaeuronCheckSAE,
            SaeuronFindHookpoint,
            SaeuronTrainSAE,
            SaeuronBrowseFeatureSets,
        ]
        return [checked(node) for node in nodes]
