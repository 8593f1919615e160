"""Every kind of finding: its machine code, how severe it is and what to do about it.

What was seen in one case is the finding's own message.
"""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An ERROR keeps a dataset from being trained on; a WARNING or INFO does not."""

    ERROR = "ERROR"
    WARNING = "WARNING"
    INFO = "INFO"


class Code(StrEnum):
    """Machine-readable names of findings; part of the API, so a name is never reused for something else."""

    # The archive as a file: these also come as `ArchiveError`.
    ARCHIVE_CORRUPT = "ARCHIVE_CORRUPT"
    ARCHIVE_ENCRYPTED = "ARCHIVE_ENCRYPTED"
    ARCHIVE_NESTED = "ARCHIVE_NESTED"
    ARCHIVE_TOO_LARGE = "ARCHIVE_TOO_LARGE"
    ARCHIVE_TOO_MANY_MEMBERS = "ARCHIVE_TOO_MANY_MEMBERS"
    ARCHIVE_BOMB = "ARCHIVE_BOMB"
    ARCHIVE_UNSAFE_PATH = "ARCHIVE_UNSAFE_PATH"
    ARCHIVE_PATH_TOO_LONG = "ARCHIVE_PATH_TOO_LONG"
    ARCHIVE_SPECIAL_FILE = "ARCHIVE_SPECIAL_FILE"
    ARCHIVE_DUPLICATE_MEMBER = "ARCHIVE_DUPLICATE_MEMBER"
    ARCHIVE_COMPRESSION_UNSUPPORTED = "ARCHIVE_COMPRESSION_UNSUPPORTED"
    ARCHIVE_NAME_UNDECODABLE = "ARCHIVE_NAME_UNDECODABLE"

    # The check itself.
    CHECK_OUT_OF_MEMORY = "CHECK_OUT_OF_MEMORY"
    CHECK_OUT_OF_TIME = "CHECK_OUT_OF_TIME"
    CHECK_CRASHED = "CHECK_CRASHED"

    # Structure of the dataset.
    NO_IMAGES = "NO_IMAGES"
    SPLIT_TRAIN_MISSING = "SPLIT_TRAIN_MISSING"
    SPLIT_EMPTY = "SPLIT_EMPTY"
    SPLIT_FOLDERS_MERGED = "SPLIT_FOLDERS_MERGED"
    SPLIT_SHARE_UNUSUAL = "SPLIT_SHARE_UNUSUAL"
    CLASS_EMPTY = "CLASS_EMPTY"
    CLASS_SINGLE = "CLASS_SINGLE"
    CLASS_MISSING_IN_SPLIT = "CLASS_MISSING_IN_SPLIT"
    CLASS_NOT_IN_TRAIN = "CLASS_NOT_IN_TRAIN"
    CLASS_MISSING_IN_TEST = "CLASS_MISSING_IN_TEST"
    CLASS_IMBALANCE = "CLASS_IMBALANCE"
    CLASS_SMALL = "CLASS_SMALL"
    CLASS_NOT_SPLITTABLE = "CLASS_NOT_SPLITTABLE"
    IMAGE_OUTSIDE_CLASS = "IMAGE_OUTSIDE_CLASS"
    FILE_NOT_AN_IMAGE = "FILE_NOT_AN_IMAGE"
    LINK_IGNORED = "LINK_IGNORED"

    # Single images.
    IMAGE_EMPTY = "IMAGE_EMPTY"
    IMAGE_TRUNCATED = "IMAGE_TRUNCATED"
    IMAGE_UNREADABLE = "IMAGE_UNREADABLE"
    IMAGE_TOO_LARGE = "IMAGE_TOO_LARGE"
    IMAGES_BROKEN = "IMAGES_BROKEN"
    IMAGES_SKIPPED = "IMAGES_SKIPPED"
    IMAGE_WRONG_EXTENSION = "IMAGE_WRONG_EXTENSION"
    IMAGE_VERY_SMALL = "IMAGE_VERY_SMALL"
    IMAGE_VERY_LARGE = "IMAGE_VERY_LARGE"
    IMAGE_EXTREME_SHAPE = "IMAGE_EXTREME_SHAPE"
    DUPLICATE_IMAGE = "DUPLICATE_IMAGE"
    DUPLICATE_ACROSS_SPLITS = "DUPLICATE_ACROSS_SPLITS"
    DUPLICATE_IN_CLASSES = "DUPLICATE_IN_CLASSES"


@dataclass(frozen=True)
class Advice:
    """What goes with every finding of one code."""

    severity: Severity
    remedy: str


ADVICE: dict[Code, Advice] = {
    Code.ARCHIVE_CORRUPT: Advice(
        Severity.ERROR, "Create the ZIP file again and test it before uploading (unzip -t)."
    ),
    Code.ARCHIVE_ENCRYPTED: Advice(Severity.ERROR, "Create the ZIP file without a password."),
    Code.ARCHIVE_NESTED: Advice(
        Severity.ERROR, "Unpack the inner archive and put its files into the ZIP file directly."
    ),
    Code.ARCHIVE_TOO_LARGE: Advice(
        Severity.ERROR, "Split the dataset, shrink the files, or raise the limit of this server."
    ),
    Code.ARCHIVE_TOO_MANY_MEMBERS: Advice(
        Severity.ERROR, "Split the dataset, or raise the limit of this server."
    ),
    Code.ARCHIVE_BOMB: Advice(
        Severity.ERROR, "Create the ZIP file again with an ordinary tool from the original files."
    ),
    Code.ARCHIVE_UNSAFE_PATH: Advice(
        Severity.ERROR,
        "Create the ZIP file from inside the dataset's folder, with relative paths and forward slashes only.",
    ),
    Code.ARCHIVE_PATH_TOO_LONG: Advice(Severity.ERROR, "Shorten the names of the folders and files."),
    Code.ARCHIVE_SPECIAL_FILE: Advice(
        Severity.ERROR, "Replace links and special files by the files that they stand for."
    ),
    Code.ARCHIVE_DUPLICATE_MEMBER: Advice(
        Severity.ERROR,
        "Rename one of the two; names that differ only in case or in the form of an accent count as equal.",
    ),
    Code.ARCHIVE_COMPRESSION_UNSUPPORTED: Advice(
        Severity.ERROR, "Create the ZIP file with the methods 'store' or 'deflate'."
    ),
    Code.ARCHIVE_NAME_UNDECODABLE: Advice(Severity.ERROR, "Create the ZIP file with names in UTF-8."),
    Code.CHECK_OUT_OF_MEMORY: Advice(
        Severity.ERROR, "Look for extremely large images, or raise the check's memory limit."
    ),
    Code.CHECK_OUT_OF_TIME: Advice(Severity.ERROR, "Split the dataset, or raise the check's time limit."),
    Code.CHECK_CRASHED: Advice(
        Severity.ERROR,
        "Run 'tuneyard datasets check' on the same files; a damaged file may have crashed a decoder.",
    ),
    Code.NO_IMAGES: Advice(
        Severity.ERROR,
        "Put the images into train/CLASS/ and val/CLASS/, or into CLASS/ folders to have them split.",
    ),
    Code.SPLIT_TRAIN_MISSING: Advice(Severity.ERROR, "Add a train/ folder with a folder for each class."),
    Code.SPLIT_EMPTY: Advice(
        Severity.ERROR, "Add images to the split, or remove its folder to have the training images split."
    ),
    Code.SPLIT_FOLDERS_MERGED: Advice(Severity.WARNING, "Keep the images of one split in one folder."),
    Code.SPLIT_SHARE_UNUSUAL: Advice(Severity.WARNING, "Keep 10 to 20 % of the images for validation."),
    Code.CLASS_EMPTY: Advice(Severity.ERROR, "Add images to the folder or remove it."),
    Code.CLASS_SINGLE: Advice(
        Severity.ERROR, "Add a second class; a classifier has to tell at least two apart."
    ),
    Code.CLASS_MISSING_IN_SPLIT: Advice(
        Severity.ERROR, "Add images of the class to this split, or remove it from train/."
    ),
    Code.CLASS_NOT_IN_TRAIN: Advice(
        Severity.ERROR, "Add training images of the class, or correct the folder's name."
    ),
    Code.CLASS_MISSING_IN_TEST: Advice(
        Severity.WARNING, "Add test images of the class; without them it is not measured."
    ),
    Code.CLASS_IMBALANCE: Advice(
        Severity.WARNING, "Collect more images of the small classes, or train with class weights."
    ),
    Code.CLASS_SMALL: Advice(
        Severity.WARNING, "Collect at least 100 images of each class, or turn on augmentation."
    ),
    Code.CLASS_NOT_SPLITTABLE: Advice(
        Severity.ERROR,
        "Add a different image of the class: one is needed for training and one for validation.",
    ),
    Code.IMAGE_OUTSIDE_CLASS: Advice(
        Severity.WARNING, "Move the image into the folder of its class; it is not used here."
    ),
    Code.FILE_NOT_AN_IMAGE: Advice(Severity.INFO, "Nothing has to be done: the file is not used."),
    Code.LINK_IGNORED: Advice(
        Severity.WARNING, "Replace the link by the file that it points to; links are not followed."
    ),
    Code.IMAGE_EMPTY: Advice(Severity.WARNING, "Replace or remove the file; it is skipped."),
    Code.IMAGE_TRUNCATED: Advice(
        Severity.WARNING, "Copy the image again from its source, or remove it; it is skipped."
    ),
    Code.IMAGE_UNREADABLE: Advice(Severity.WARNING, "Replace, convert or remove the file; it is skipped."),
    Code.IMAGE_TOO_LARGE: Advice(Severity.WARNING, "Scale the image down; it is skipped."),
    Code.IMAGES_BROKEN: Advice(
        Severity.ERROR, "Repair or remove the images listed; so many hint at a fault in how they were copied."
    ),
    Code.IMAGES_SKIPPED: Advice(
        Severity.WARNING, "Repair or remove the images listed; training goes on without them."
    ),
    Code.IMAGE_WRONG_EXTENSION: Advice(Severity.WARNING, "Give the file the extension of its format."),
    Code.IMAGE_VERY_SMALL: Advice(Severity.WARNING, "Check whether this is a placeholder; remove it if so."),
    Code.IMAGE_VERY_LARGE: Advice(
        Severity.WARNING, "Scale the image down; it slows down reading and gains nothing."
    ),
    Code.IMAGE_EXTREME_SHAPE: Advice(
        Severity.WARNING, "Crop the image; scaled to a square it would lose nearly everything."
    ),
    Code.DUPLICATE_IMAGE: Advice(
        Severity.WARNING, "Remove the copies; they count several times in training."
    ),
    Code.DUPLICATE_ACROSS_SPLITS: Advice(
        Severity.WARNING,
        "Remove one of the two: an image that was trained on makes validation look too good.",
    ),
    Code.DUPLICATE_IN_CLASSES: Advice(
        Severity.WARNING, "Keep the image in its right class only; now its labels contradict."
    ),
}
