"""A detector's forward pass and ultralytics' loss, in the run's precision. Changes no weights."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from tuneyard.recipes.precision import Precision, autocast

LOSSES = ("box_loss", "cls_loss", "dfl_loss")


class DetectorLoss:
    """Computes predictions and losses of batches; the criterion is that of the model's family."""

    def __init__(
        self,
        model: nn.Module,
        settings: Any,
        *,
        weights: Tensor | None,
        precision: Precision,
        device: torch.device,
    ) -> None:
        """`settings` are ultralytics' (gains, epochs); `weights` those of the classes."""
        subject = cast(Any, model)
        subject.args = settings
        subject.class_weights = None if weights is None else weights.to(device)
        self._criterion: Any = subject.init_criterion()
        self._precision = precision
        self._device = device

    def begin_epoch(self, epoch: int) -> None:
        """Tells the epoch, from 0: families with two heads shift weight from one to the other over it."""
        if hasattr(self._criterion, "update"):
            self._criterion.updates = epoch - 1
            self._criterion.update()

    def images(self, batch: dict[str, Any]) -> Tensor:
        """The batch's images on the device, 0 to 1."""
        pixels: Tensor = batch["img"].to(self._device, non_blocking=True)
        return pixels.float().div_(255).contiguous(memory_format=torch.channels_last)

    def raw(self, model: nn.Module, images: Tensor) -> Any:
        """The head's numbers before they are decoded, in float32 whatever the precision of the rest."""
        head = cast(Any, model).model[-1]
        training, head.training = head.training, True
        try:
            with autocast(self._precision, self._device):
                predictions = model(images)
        finally:
            head.training = training
        return _as_float(predictions)

    def decoded(self, model: nn.Module, raw: Any) -> Tensor:
        """Boxes and scores (n, 4 + classes, anchors) from `raw`: x, y, width, height in px of the input."""
        head = cast(Any, model).model[-1]
        return cast(Tensor, head._inference(raw.get("one2many", raw)))

    def losses(self, raw: Any, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The batch's loss as ultralytics has it, a sum over its images; and its three parts, as means."""
        on_device = {
            name: value.to(self._device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in batch.items()
            if name != "img"
        }
        loss, parts = self._criterion(raw, on_device)
        return loss.sum(), torch.stack([part.detach() for part in parts.values()])


def _as_float(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float()
    if isinstance(value, dict):
        return {name: _as_float(part) for name, part in value.items()}
    return [_as_float(part) for part in value]
