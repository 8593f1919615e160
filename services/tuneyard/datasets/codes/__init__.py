"""Every kind of finding: its machine code, how severe it is and what to do about it.

What was seen in one case is the finding's own message.
"""

from tuneyard.datasets.codes import captioned, images, jsonl, shared, yolo
from tuneyard.datasets.codes.names import Advice, Code, Severity

__all__ = ["ADVICE", "Advice", "Code", "Severity"]

ADVICE: dict[Code, Advice] = {
    **shared.ADVICE,
    **images.ADVICE,
    **jsonl.ADVICE,
    **yolo.ADVICE,
    **captioned.ADVICE,
}
