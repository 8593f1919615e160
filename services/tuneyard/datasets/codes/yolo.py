"""Advice for findings about YOLO datasets: the data.yaml, the lists beside it, and the label files."""

from tuneyard.datasets.codes.names import Advice, Code, Severity

ADVICE: dict[Code, Advice] = {
    Code.YAML_INVALID: Advice(Severity.ERROR, "Correct the YAML; the guide shows what a data.yaml holds."),
    Code.YAML_AMBIGUOUS: Advice(
        Severity.ERROR, "Call the file that describes the dataset data.yaml, and remove the others."
    ),
    Code.YAML_KEY_REPEATED: Advice(Severity.WARNING, "Remove one of the two lines."),
    Code.YAML_KEY_IGNORED: Advice(
        Severity.INFO,
        "Nothing has to be done: of a data.yaml only path, train, val, test, nc and names are read.",
    ),
    Code.YAML_DOWNLOAD_IGNORED: Advice(
        Severity.WARNING,
        "Remove the key; nothing in it is ever run or fetched. Upload the images themselves.",
    ),
    Code.YAML_NAMES_INVALID: Advice(
        Severity.ERROR, "Write names as a list, or as a map from 0, 1, 2 and so on to the names."
    ),
    Code.YAML_NC_MISMATCH: Advice(
        Severity.ERROR, "Correct names or nc; nc may also be left out, since names says it."
    ),
    Code.YAML_PATH_REWRITTEN: Advice(
        Severity.WARNING, "Write the path relative to the dataset, such as images/train."
    ),
    Code.YAML_PATH_OUTSIDE: Advice(
        Severity.WARNING, "Write the path relative to the dataset, without '..'; nothing outside is read."
    ),
    Code.CLASS_NAME_REPEATED: Advice(Severity.ERROR, "Give every class a name of its own."),
    Code.CLASS_NAMES_MISSING: Advice(
        Severity.WARNING, "Add a data.yaml with the names of the classes, in the order of their numbers."
    ),
    Code.SPLIT_PATH_MISSING: Advice(
        Severity.ERROR, "Correct the path: it is relative to the dataset, such as images/train."
    ),
    Code.SPLIT_TEST_PATH_MISSING: Advice(
        Severity.WARNING, "Correct the path, or remove the line; training goes on without a test split."
    ),
    Code.SPLIT_LIST_ENTRY_MISSING: Advice(
        Severity.WARNING, "Correct or remove the line; the image is not used."
    ),
    Code.SPLIT_IMAGES_SHARED: Advice(
        Severity.WARNING,
        "Give every image to one split: images that were trained on make validation look too good.",
    ),
    Code.IMAGE_OUTSIDE_SPLITS: Advice(
        Severity.WARNING,
        "Move the image into the folder of a split; in a YOLO dataset data.yaml may name its folder instead.",
    ),
    Code.NO_TRAINING_IMAGES: Advice(
        Severity.ERROR,
        "Put the images into images/train and the labels into labels/train, or name the folder in data.yaml.",
    ),
    Code.NO_BOXES: Advice(
        Severity.ERROR,
        "Put a .txt file of the same name for each image into labels/, next to images/. A folder of images"
        " for each class, without boxes, is a dataset of format image-folder.",
    ),
    Code.CLASS_WITHOUT_BOXES: Advice(
        Severity.WARNING, "Remove the class from names, or add objects of it; it cannot be learned."
    ),
    Code.CLASS_NOT_TRAINED: Advice(
        Severity.WARNING, "Add training images with the class; now it cannot be learned and is measured as 0."
    ),
    Code.CLASS_NOT_VALIDATED: Advice(
        Severity.WARNING, "Add validation images with the class; without them it is not measured."
    ),
    Code.IMAGES_NOT_SPLITTABLE: Advice(
        Severity.ERROR,
        "Add different images, or a val split: one is needed for training, one for validation.",
    ),
    Code.IMAGES_ALL_ALIKE: Advice(
        Severity.WARNING, "Bring a val split of other scenes; one made of such images looks too good."
    ),
    Code.LABEL_MISSING: Advice(
        Severity.WARNING,
        "Add the label; if the image shows no object, add an empty file. It is used as background.",
    ),
    Code.LABEL_EMPTY: Advice(
        Severity.INFO, "Nothing has to be done if the image shows no object: it is used as background."
    ),
    Code.LABEL_WITHOUT_IMAGE: Advice(
        Severity.WARNING, "Add the image of the same name, or remove the label; it is not used."
    ),
    Code.LABEL_SHARED: Advice(
        Severity.WARNING, "Rename one of the images and give it a label of its own; both use the same now."
    ),
    Code.LABEL_FORMAT_UNSUPPORTED: Advice(
        Severity.WARNING, "Export the labels in the YOLO format: a .txt file for each image."
    ),
    Code.LABEL_TOO_LARGE: Advice(Severity.WARNING, "Replace the label; its image is skipped."),
    Code.LABEL_NOT_TEXT: Advice(Severity.WARNING, "Save the file as UTF-8 text."),
    Code.LABEL_BYTE_ORDER_MARK: Advice(
        Severity.INFO, "Nothing has to be done; save as UTF-8 without a mark for tools that are stricter."
    ),
    Code.LABEL_COLUMNS: Advice(
        Severity.WARNING, "Write 'class x y width height' or 'class x1 y1 x2 y2 ...'; the image is skipped."
    ),
    Code.LABEL_NOT_A_NUMBER: Advice(
        Severity.WARNING, "Write numbers with a decimal point; the image is skipped."
    ),
    Code.LABEL_CLASS_NOT_INTEGER: Advice(
        Severity.WARNING, "Write the number of the class, counted from 0; the image is skipped."
    ),
    Code.LABEL_CLASS_UNKNOWN: Advice(
        Severity.ERROR, "Correct the class, counted from 0, or add its name to names."
    ),
    Code.LABEL_OUT_OF_RANGE: Advice(
        Severity.WARNING,
        "Divide x and width by the image's width, y and height by its height; the image is skipped.",
    ),
    Code.LABEL_SIZE_NOT_POSITIVE: Advice(
        Severity.WARNING, "Draw the box again or remove the line; the image is skipped."
    ),
    Code.LABEL_BOX_TINY: Advice(
        Severity.WARNING, "Remove the line, or draw the box again; a box of less than a pixel is not used."
    ),
    Code.LABEL_BOX_CUT: Advice(
        Severity.INFO, "Nothing has to be done if the object reaches beyond the image; else draw it again."
    ),
    Code.LABEL_BOX_REPEATED: Advice(Severity.WARNING, "Remove the line; the object is used once."),
    Code.LABEL_BOX_IN_CLASSES: Advice(
        Severity.WARNING, "Keep the line with the right class; now both are used."
    ),
    Code.LABEL_CONVERTED: Advice(
        Severity.INFO, "Nothing has to be done: a detector is trained on the boxes."
    ),
    Code.LABEL_UNLIKE_COPY: Advice(
        Severity.WARNING, "Correct the label that is wrong, and remove one of the copies."
    ),
    Code.LABEL_OF_TURNED_IMAGE: Advice(
        Severity.WARNING,
        "Look whether the boxes fit the upright image; if not, save it upright and draw them again.",
    ),
    Code.LABELS_BROKEN: Advice(
        Severity.ERROR,
        "Repair or remove the labels listed; so many hint at a fault in how they were written.",
    ),
    Code.LABELS_SKIPPED: Advice(
        Severity.WARNING, "Repair or remove the labels listed; training goes on without their images."
    ),
}
