"""Whether the faster detector is as good: three seeds of ours and of `yolo detect train`, at length.

Not among those that run by themselves: it takes several minutes.
"""

from statistics import mean

from tests.benchmarks.deployment import jobs_of, vision_platform
from tests.benchmarks.detector import (
    Case,
    Figures,
    detector_spec,
    note,
    note_peer,
    shapes_folder,
    upload_shapes,
)
from tests.benchmarks.rows import Row, Target
from tests.benchmarks.settings import Settings

CASE = Case(image_size=96, train=304, validation=64, epochs=8, learning_rate=2e-3, close_mosaic=2)
ENOUGH = 0.8
BAND = 0.03
"""How far below the peer's mean ours may be."""


def measure(settings: Settings) -> list[Row]:
    """mAP50 of the best weights on the same validation images."""
    data = shapes_folder(settings, CASE)
    ours, peer = Figures(), Figures()
    with vision_platform(settings) as running, jobs_of(running) as jobs:
        dataset = upload_shapes(running, data)
        for seed in range(settings.times(3, 1)):
            precision = note(ours, jobs, running, detector_spec(dataset, CASE, seed=seed))
            note_peer(peer, settings, CASE, data, seed=seed)
            settings.tell(f"seed {seed}: {precision} {ours.map50[-1]:.3f}, peer {peer.map50[-1]:.3f} mAP50")
    held = min(ours.map50) > ENOUGH and mean(ours.map50) >= mean(peer.map50) - BAND
    return [
        Row(
            name=f"yolov8n, mAP50 after {CASE.epochs} epochs at {CASE.image_size} px, vs yolo detect train",
            unit="mAP50",
            ours=mean(ours.map50),
            peer=mean(peer.map50),
            ratio=mean(ours.map50) / mean(peer.map50),
            target=Target("ours", ">=", ENOUGH),
            guard=f"ours {_band(ours.map50)}, peer {_band(peer.map50)}, {len(ours.map50)} seeds",
            guard_held=held,
        )
    ]


def _band(values: list[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"
