"""Under which names a model's parameters lie in its files: transformers renames some as it loads them."""

from typing import Any

from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from tuneyard.llm.weights_index import WeightsIndex


def stored_names(model: PreTrainedModel, index: WeightsIndex) -> dict[str, str]:
    """The stored tensor of each parameter, by the parameter's name; the model may be on the meta device.

    Left out are tensors that are put together from several as they are loaded, as experts are.
    """
    conversions: Any = get_model_conversion_mapping(model)
    renamings = [each for each in conversions if isinstance(each, WeightRenaming)]
    converters = [each for each in conversions if isinstance(each, WeightConverter)]
    parameters = model.state_dict()
    names = {}
    for stored in index.tensors:
        own, converter = rename_source_key(stored, renamings, converters, model.base_model_prefix, parameters)
        if converter is None and own in parameters:
            names[own] = stored
    return names
