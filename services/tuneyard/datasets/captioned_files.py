"""What is wrong with the files of a captioned-images dataset beside the pictures: names, captions, metadata.

Captions and names were read before; here they are judged. Pictures are judged in captioned_check.py.
"""

from collections.abc import Mapping

from tuneyard.datasets.captioned import Captions, Written
from tuneyard.datasets.captioned_layout import MAX_REPEATS, Layout
from tuneyard.datasets.captioned_text import MAX_TOKENS, estimated_tokens
from tuneyard.datasets.codes import Code
from tuneyard.datasets.images import sniff
from tuneyard.datasets.names import told_unknown
from tuneyard.datasets.report import FindingLog
from tuneyard.datasets.source import Source

MAX_BROKEN_SHARE = 0.05
"""Above this share of broken lines metadata is refused; below, they are skipped."""
MANY_REPEATS = 100

_LOOKED_UP = 10
"""Of the images that metadata names and that are not there, those for which near names are looked up."""


class CaptionLog:
    """Adds findings about captions, and keeps which images they are about: metadata is about many."""

    def __init__(self, log: FindingLog) -> None:
        self._log = log
        self.images: dict[Code, set[str]] = {}

    def add(
        self, code: Code, message: str, *, image: str = "", path: str | None = None, line: int | None = None
    ) -> None:
        """Notes a finding at a place, about an image, or about the dataset."""
        self._log.add(code, message, path=path, line=line)
        if image:
            self.images.setdefault(code, set()).add(image)


def note_files(log: FindingLog, source: Source, layout: Layout) -> None:
    """Adds findings about files that are not used, and about folders."""
    for name in source.links:
        log.add(Code.LINK_IGNORED, f"{name!r} is a link or a special file.", path=name)
    for name in layout.outside:
        log.add(Code.IMAGE_OUTSIDE_SPLITS, f"{name!r} is in no split's folder.", path=name)
    for name in layout.stray_captions:
        log.add(Code.CAPTION_WITHOUT_IMAGE, f"No image has the name of {name!r}.", path=name)
    for name in layout.others:
        if actual := sniff(source, name):
            seen = f"{name!r} is a {actual} image by its content; it is not used under this name."
            log.add(Code.IMAGE_WRONG_EXTENSION, seen, path=name)
        else:
            log.add(Code.FILE_NOT_AN_IMAGE, f"{name!r} is neither an image nor a caption.", path=name)
    for split, roots in layout.split_folders.items():
        if len(roots) > 1:
            both = " and ".join(f"{root}/" for root in roots)
            log.add(
                Code.SPLIT_FOLDERS_MERGED, f"{both} are read together as the {split} split.", path=roots[1]
            )
    _note_repeats(log, layout)


def note_captions(
    log: FindingLog, layout: Layout, captions: Captions, usable: Mapping[str, bool]
) -> CaptionLog:
    """Adds findings about the captions of images that are usable, and about metadata."""
    about = CaptionLog(log)
    _note_metadata(about, captions, layout.images)
    named = [image for image in layout.images if usable.get(image)]
    for image in named:
        if (written := captions.by_image.get(image)) is not None:
            _note_caption(about, image, written)
    _note_missing(about, layout, captions, named)
    for image, others in captions.passed_over.items():
        used = captions.by_image[image]
        different = [other for other in others if other.caption.text not in ("", used.caption.text)]
        if different and usable.get(image):
            seen = (
                f"{image!r} has another caption in {different[0].file!r} than in {used.file!r}, which counts."
            )
            about.add(Code.CAPTION_TWICE, seen, image=image, path=different[0].file, line=different[0].line)
    _note_shared(about, layout)
    return about


def _note_caption(about: CaptionLog, image: str, written: Written) -> None:
    caption, file, line = written
    if caption.problem is not None:
        about.add(caption.problem, f"{file!r} {caption.detail}", image=image, path=file)
    elif not caption.text:
        about.add(
            Code.CAPTION_EMPTY, f"The caption of {image!r} is empty.", image=image, path=file, line=line
        )
    else:
        tokens = estimated_tokens(caption.text)
        if tokens > MAX_TOKENS:
            seen = f"The caption of {image!r} has about {tokens} tokens; {MAX_TOKENS} are read."
            about.add(Code.CAPTION_LONG, seen, image=image, path=file, line=line)
        if caption.lines > 1:
            seen = f"The caption of {image!r} has {caption.lines} lines."
            about.add(Code.CAPTION_SEVERAL_LINES, seen, image=image, path=file, line=line)


def _note_missing(about: CaptionLog, layout: Layout, captions: Captions, named: list[str]) -> None:
    """Images without any caption; a class image or one in a folder "10_name" has what it needs."""
    instance = [image for image in named if not layout.places[image].is_class]
    lacking = [
        image for image in instance if image not in captions.by_image and not layout.places[image].prompt
    ]
    if lacking and len(lacking) == len(instance):
        about.add(Code.CAPTIONS_NONE, f"None of the {len(instance)} images has a caption.")
        return
    for image in lacking:
        about.add(Code.CAPTION_MISSING, f"{image!r} has no caption.", image=image, path=image)


def _note_shared(about: CaptionLog, layout: Layout) -> None:
    first: dict[str, str] = {}
    for image, files in layout.captions.items():
        other = first.setdefault(files[0], image)
        if other != image:
            seen = f"{files[0]!r} is the caption of {other!r} and of {image!r}."
            about.add(Code.CAPTION_SHARED, seen, image=image, path=image)


def _note_metadata(about: CaptionLog, captions: Captions, images: tuple[str, ...]) -> None:
    for file, error in captions.unusable.items():
        about.add(Code.METADATA_UNREADABLE, f"{file!r}: {error.message}", path=file, line=error.line)
    for file, row in captions.broken:
        about.add(Code.METADATA_LINE_BROKEN, f"The line {row.problem}.", path=file, line=row.line)
    if len(captions.broken) > MAX_BROKEN_SHARE * captions.rows:
        seen = f"{len(captions.broken)} of {captions.rows} lines of metadata cannot be used;"
        about.add(Code.METADATA_BROKEN, f"{seen} {MAX_BROKEN_SHARE:.0%} may be so.")
    for number, (file, row) in enumerate(captions.absent):
        # Looking for near names takes a while, and some examples tell what is wrong.
        near = told_unknown(row.image, images if number < _LOOKED_UP else ()).partition(" is not there.")[2]
        seen = f"There is no image {row.image!r}.{near}"
        about.add(Code.METADATA_IMAGE_MISSING, seen, path=file, line=row.line)
    for file, row in captions.repeated:
        seen = f"{row.image!r} was described before."
        about.add(Code.METADATA_IMAGE_REPEATED, seen, image=row.image, path=file, line=row.line)


def _note_repeats(log: FindingLog, layout: Layout) -> None:
    for folder, repeats in layout.repeat_folders.items():
        if repeats > MAX_REPEATS:
            seen = f"{repeats} in {folder!r} is not read as repeats: {MAX_REPEATS} are the most."
            log.add(Code.REPEATS_MANY, seen, path=folder)
        elif repeats > MANY_REPEATS:
            seen = f"Each image in {folder!r} is seen {repeats} times in an epoch."
            log.add(Code.REPEATS_MANY, seen, path=folder)
        elif repeats == 0:
            log.add(Code.REPEATS_ZERO, f"The images in {folder!r} are not used.", path=folder)
