"""Networks: every classification architecture of torchvision with a head of any size, and its pretrained
weights. Knows nothing of data, training or the platform.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint
from torchvision import models

CHECKPOINTED_BLOCKS = frozenset(
    {
        "BasicBlock",
        "Bottleneck",
        "CNBlock",
        "EncoderBlock",
        "FusedMBConv",
        "InvertedResidual",
        "MBConv",
        "MaxVitLayer",
        "ResBottleneckBlock",
        "SwinTransformerBlock",
        "SwinTransformerBlockV2",
        "_DenseBlock",
        "_InvertedResidual",
    }
)
"""Classes of torchvision whose activations gradient checkpointing drops and computes again."""


def build(
    architecture: str, *, classes: int, image_size: int, dropout: float | None = None, rescales: bool = False
) -> nn.Module:
    """The architecture with random weights and `classes` outputs, its auxiliary heads left out.

    `rescales` is for googlenet and inception_v3: their pretrained weights want inputs in another
    normalisation, to which the network then changes them itself. Raises ValueError for an unknown name.
    """
    options: dict[str, Any] = {"num_classes": classes}
    if architecture in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True, "transform_input": rescales}
    elif architecture.startswith("vit_"):
        options["image_size"] = image_size
    elif architecture.startswith("maxvit_"):
        options["input_size"] = (image_size, image_size)
    model = cast(nn.Module, models.get_model(architecture, weights=None, **options))
    if dropout is not None:
        set_head_dropout(model, dropout)
    return model


def head(model: nn.Module) -> nn.Linear | nn.Conv2d:
    """The last layer, which gives the logits: a convolution in squeezenet, linear in all others."""
    return [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]


def _head_dropouts(model: nn.Module) -> list[nn.Dropout]:
    """The architecture's own dropouts between features and logits; those inside of blocks are not meant."""
    last = head(model)
    for parent in model.modules():
        children = list(parent.children())
        if any(child is last for child in children):
            return [child for child in children if isinstance(child, nn.Dropout)]
    return []


def head_dropout(model: nn.Module) -> float:
    """The probability of the dropout before the head; 0 where the architecture has none."""
    dropouts = _head_dropouts(model)
    return float(dropouts[-1].p) if dropouts else 0.0


def set_head_dropout(model: nn.Module, probability: float) -> None:
    """Sets the dropout before the head, and adds one where the architecture has none.

    An added one is a hook on the head: the names of the weights stay torchvision's own.
    """
    dropouts = _head_dropouts(model)
    if dropouts:
        dropouts[-1].p = probability
    elif probability:

        def drop(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (nn.functional.dropout(inputs[0], probability, module.training), *inputs[1:])

        head(model).register_forward_pre_hook(drop)


def freeze_backbone(model: nn.Module) -> None:
    """Leaves only the head to be trained."""
    model.requires_grad_(False)
    head(model).requires_grad_(True)


def set_training(model: nn.Module, *, frozen_backbone: bool) -> None:
    """Switches to training; a frozen backbone keeps the running statistics of its batch norms."""
    model.train(not frozen_backbone)
    if frozen_backbone:
        head(model).train()
        for dropout in _head_dropouts(model):
            dropout.train()


def trained_norms(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms that learn statistics from each micro-batch as the model is now."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]


@contextmanager
def fixed_statistics(norms: list[_BatchNorm]) -> Iterator[None]:
    """Batch norms use their running statistics: one sample by itself has none of its own."""
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


def can_checkpoint(model: nn.Module) -> bool:
    """Whether the architecture consists of blocks that gradient checkpointing can work on."""
    return any(type(module).__name__ in CHECKPOINTED_BLOCKS for module in model.modules())


def checkpoint_gradients(model: nn.Module) -> None:
    """Makes each block drop its activations and compute them again in the backward pass.

    Copy the model before: the blocks of a copy made later would still compute with this model's weights.
    """
    for module in model.modules():
        if type(module).__name__ in CHECKPOINTED_BLOCKS:
            norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
            module.forward = _checkpointed(module.forward, norms)


def _checkpointed(forward: Callable[..., Tensor], norms: list[_BatchNorm]) -> Callable[..., Tensor]:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_seen_once(norms)

    @functools.wraps(forward)
    def run(*inputs: Any) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(*inputs)
        return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)

    return run


@contextmanager
def _statistics_seen_once(norms: list[_BatchNorm]) -> Iterator[None]:
    """Without this, computing a block twice would count its batch twice in the running statistics.

    They must still take part in the computation, which is to save the same tensors as the first time.
    """
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


def default_weights(architecture: str) -> Any:
    """torchvision's recommended weights: a `WeightsEnum` member with url, meta and transforms."""
    return models.get_model_weights(architecture).DEFAULT


def adopt(model: nn.Module, weights: Mapping[str, Tensor], *, image_size: int) -> list[str]:
    """Loads pretrained weights into all of the model but its head; returns the names that stayed random.

    The head is taken over too where it has the same shape. Position embeddings of a vision transformer are
    interpolated to the model's image size. Raises ValueError where the weights belong to another
    architecture.
    """
    own = model.state_dict()
    offered = dict(weights)
    key = "encoder.pos_embedding"
    if key in own and key in offered and own[key].shape != offered[key].shape:
        patch = model.get_submodule("conv_proj").kernel_size[0]  # type: ignore[index]
        offered = dict(models.vision_transformer.interpolate_embeddings(image_size, patch, offered))
    last = head(model)
    head_names = {
        name for name, value in model.named_parameters() if any(value is p for p in last.parameters())
    }
    fitting = {
        name: value for name, value in offered.items() if name in own and value.shape == own[name].shape
    }
    missing = [name for name in own if name not in fitting and not name.endswith("num_batches_tracked")]
    foreign = [name for name in missing if name not in head_names]
    if foreign:
        raise ValueError(
            f"{len(foreign)} of {len(own)} tensors are missing or of another shape: {foreign[0]}"
        )
    model.load_state_dict(fitting, strict=False)
    return missing
