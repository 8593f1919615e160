"""Advice for findings about folders of images by class, and about single images of any format."""

from tuneyard.datasets.codes.names import Advice, Code, Severity

ADVICE: dict[Code, Advice] = {
    Code.NO_IMAGES: Advice(
        Severity.ERROR,
        "Put the images into train/CLASS/ and val/CLASS/, or into CLASS/ folders to have them split.",
    ),
    Code.SPLIT_TRAIN_MISSING: Advice(Severity.ERROR, "Add a train/ folder with a folder for each class."),
    Code.SPLIT_EMPTY: Advice(
        Severity.ERROR, "Add images to the split, or remove its folder to have the training images split."
    ),
    Code.SPLIT_FOLDERS_MERGED: Advice(Severity.WARNING, "Keep the images of one split in one folder."),
    Code.SPLIT_SHARE_UNUSUAL: Advice(Severity.WARNING, "Keep 10 to 20 % of the samples for validation."),
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
    Code.CLASS_ALL_ALIKE: Advice(
        Severity.WARNING,
        "Add different images of the class, or a val/ folder of your own: a split of these leaks.",
    ),
    Code.CLASS_NAMES_ALIKE: Advice(
        Severity.WARNING, "Move the images into one folder if both mean the same class."
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
    Code.IMAGE_ROTATED: Advice(
        Severity.INFO, "Nothing has to be done: the image is turned upright when it is read."
    ),
    Code.IMAGE_CMYK: Advice(
        Severity.WARNING, "Convert the image to sRGB; colours made for print are only roughly what they were."
    ),
    Code.IMAGE_TRANSPARENT: Advice(
        Severity.WARNING,
        "Put the image on an opaque ground: a classifier or a detector sees what transparency hid,"
        " a text-to-image model white.",
    ),
    Code.IMAGE_SEVERAL_FRAMES: Advice(
        Severity.WARNING, "Save the frames that matter as images of their own; only the first one is used."
    ),
    Code.IMAGE_COLOUR_UNLIKE_OTHERS: Advice(
        Severity.INFO,
        "Make all images coloured or all grey, or a model may go by that instead of what they show.",
    ),
    Code.IMAGE_BLANK: Advice(Severity.WARNING, "Remove the image; there is nothing on it to learn from."),
    Code.IMAGE_BLURRED: Advice(
        Severity.WARNING, "Remove the image, unless such images are to be recognised too."
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
    Code.LABELS_CONTRADICT: Advice(
        Severity.ERROR,
        "Keep each image in one class; or make a version without the files that carry DUPLICATE_IN_CLASSES.",
    ),
    Code.NEAR_DUPLICATE_IMAGE: Advice(
        Severity.INFO, "Remove the image if it adds nothing; an automatic split keeps the two together."
    ),
    Code.NEAR_DUPLICATE_ACROSS_SPLITS: Advice(
        Severity.WARNING,
        "Remove one of the two: an image nearly like one trained on makes validation look too good.",
    ),
    Code.NEAR_DUPLICATE_IN_CLASSES: Advice(
        Severity.WARNING, "Look whether both are in their right class; they can hardly be told apart."
    ),
}
