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
    EXCLUDED_FILE_UNKNOWN = "EXCLUDED_FILE_UNKNOWN"

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
    CLASS_ALL_ALIKE = "CLASS_ALL_ALIKE"
    CLASS_NAMES_ALIKE = "CLASS_NAMES_ALIKE"
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
    IMAGE_ROTATED = "IMAGE_ROTATED"
    IMAGE_CMYK = "IMAGE_CMYK"
    IMAGE_TRANSPARENT = "IMAGE_TRANSPARENT"
    IMAGE_SEVERAL_FRAMES = "IMAGE_SEVERAL_FRAMES"
    IMAGE_COLOUR_UNLIKE_OTHERS = "IMAGE_COLOUR_UNLIKE_OTHERS"
    IMAGE_BLANK = "IMAGE_BLANK"
    IMAGE_BLURRED = "IMAGE_BLURRED"
    DUPLICATE_IMAGE = "DUPLICATE_IMAGE"
    DUPLICATE_ACROSS_SPLITS = "DUPLICATE_ACROSS_SPLITS"
    DUPLICATE_IN_CLASSES = "DUPLICATE_IN_CLASSES"
    LABELS_CONTRADICT = "LABELS_CONTRADICT"
    NEAR_DUPLICATE_IMAGE = "NEAR_DUPLICATE_IMAGE"
    NEAR_DUPLICATE_ACROSS_SPLITS = "NEAR_DUPLICATE_ACROSS_SPLITS"
    NEAR_DUPLICATE_IN_CLASSES = "NEAR_DUPLICATE_IN_CLASSES"

    # Files of examples for language models (JSONL).
    NO_EXAMPLES = "NO_EXAMPLES"
    FILE_NOT_UTF8 = "FILE_NOT_UTF8"
    FILE_PRETTY_PRINTED = "FILE_PRETTY_PRINTED"
    JSON_ARRAY_BROKEN = "JSON_ARRAY_BROKEN"
    FILE_WITHOUT_EXAMPLES = "FILE_WITHOUT_EXAMPLES"
    FILE_NOT_JSONL = "FILE_NOT_JSONL"
    SPLIT_TRAIN_FILE_MISSING = "SPLIT_TRAIN_FILE_MISSING"
    LINES_BROKEN = "LINES_BROKEN"
    LINES_SKIPPED = "LINES_SKIPPED"
    EXAMPLES_FEW = "EXAMPLES_FEW"
    EXAMPLES_NOT_SPLITTABLE = "EXAMPLES_NOT_SPLITTABLE"
    LAYOUTS_MIXED = "LAYOUTS_MIXED"
    KEYS_IGNORED = "KEYS_IGNORED"
    RESPONSES_ALL_EQUAL = "RESPONSES_ALL_EQUAL"

    # Single lines that are no examples.
    LINE_TOO_LONG = "LINE_TOO_LONG"
    LINE_NOT_UTF8 = "LINE_NOT_UTF8"
    LINE_NOT_JSON = "LINE_NOT_JSON"
    LINE_NOT_OBJECT = "LINE_NOT_OBJECT"
    LINE_INVALID_UNICODE = "LINE_INVALID_UNICODE"
    KEYS_UNKNOWN = "KEYS_UNKNOWN"
    KEY_MISSING = "KEY_MISSING"
    CONTENT_NOT_TEXT = "CONTENT_NOT_TEXT"
    MESSAGES_EMPTY = "MESSAGES_EMPTY"
    MESSAGE_MALFORMED = "MESSAGE_MALFORMED"
    ROLE_UNKNOWN = "ROLE_UNKNOWN"
    ROLE_ORDER = "ROLE_ORDER"
    SYSTEM_NOT_FIRST = "SYSTEM_NOT_FIRST"
    NO_ASSISTANT_TURN = "NO_ASSISTANT_TURN"
    RESPONSE_EMPTY = "RESPONSE_EMPTY"
    TEXT_EMPTY = "TEXT_EMPTY"

    # Examples that are used as they are, and deserve a look.
    PROMPT_EMPTY = "PROMPT_EMPTY"
    LAST_TURN_UNANSWERED = "LAST_TURN_UNANSWERED"
    EXAMPLE_VERY_LONG = "EXAMPLE_VERY_LONG"
    CONTROL_CHARACTERS = "CONTROL_CHARACTERS"
    TEXT_ENCODING_DAMAGED = "TEXT_ENCODING_DAMAGED"
    RESPONSE_TRIVIAL = "RESPONSE_TRIVIAL"
    RESPONSE_REPETITIVE = "RESPONSE_REPETITIVE"
    RESPONSE_BOILERPLATE = "RESPONSE_BOILERPLATE"
    RESPONSE_REPEATS_PROMPT = "RESPONSE_REPEATS_PROMPT"
    PERSONAL_DATA_SUSPECTED = "PERSONAL_DATA_SUSPECTED"
    SECRET_SUSPECTED = "SECRET_SUSPECTED"
    DUPLICATE_EXAMPLE = "DUPLICATE_EXAMPLE"
    DUPLICATE_EXAMPLE_ACROSS_SPLITS = "DUPLICATE_EXAMPLE_ACROSS_SPLITS"
    NEAR_DUPLICATE_EXAMPLE = "NEAR_DUPLICATE_EXAMPLE"
    NEAR_DUPLICATE_EXAMPLE_ACROSS_SPLITS = "NEAR_DUPLICATE_EXAMPLE_ACROSS_SPLITS"
    NEAR_DUPLICATES_NOT_SEARCHED = "NEAR_DUPLICATES_NOT_SEARCHED"
    EXAMPLES_OF_TEMPLATE = "EXAMPLES_OF_TEMPLATE"

    # Examples seen through a job's own tokenizer, template and length.
    EXAMPLE_TRUNCATED = "EXAMPLE_TRUNCATED"
    EXAMPLE_FULLY_MASKED = "EXAMPLE_FULLY_MASKED"
    NOTHING_TO_TRAIN_ON = "NOTHING_TO_TRAIN_ON"

    # YOLO datasets: the data.yaml and the lists beside it.
    YAML_INVALID = "YAML_INVALID"
    YAML_AMBIGUOUS = "YAML_AMBIGUOUS"
    YAML_KEY_REPEATED = "YAML_KEY_REPEATED"
    YAML_KEY_IGNORED = "YAML_KEY_IGNORED"
    YAML_DOWNLOAD_IGNORED = "YAML_DOWNLOAD_IGNORED"
    YAML_NAMES_INVALID = "YAML_NAMES_INVALID"
    YAML_NC_MISMATCH = "YAML_NC_MISMATCH"
    YAML_PATH_REWRITTEN = "YAML_PATH_REWRITTEN"
    YAML_PATH_OUTSIDE = "YAML_PATH_OUTSIDE"
    CLASS_NAME_REPEATED = "CLASS_NAME_REPEATED"
    CLASS_NAMES_MISSING = "CLASS_NAMES_MISSING"
    SPLIT_PATH_MISSING = "SPLIT_PATH_MISSING"
    SPLIT_TEST_PATH_MISSING = "SPLIT_TEST_PATH_MISSING"
    SPLIT_LIST_ENTRY_MISSING = "SPLIT_LIST_ENTRY_MISSING"
    SPLIT_IMAGES_SHARED = "SPLIT_IMAGES_SHARED"
    IMAGE_OUTSIDE_SPLITS = "IMAGE_OUTSIDE_SPLITS"
    NO_TRAINING_IMAGES = "NO_TRAINING_IMAGES"
    NO_BOXES = "NO_BOXES"
    CLASS_WITHOUT_BOXES = "CLASS_WITHOUT_BOXES"
    CLASS_NOT_TRAINED = "CLASS_NOT_TRAINED"
    CLASS_NOT_VALIDATED = "CLASS_NOT_VALIDATED"
    IMAGES_NOT_SPLITTABLE = "IMAGES_NOT_SPLITTABLE"
    IMAGES_ALL_ALIKE = "IMAGES_ALL_ALIKE"

    # YOLO datasets: label files and their lines.
    LABEL_MISSING = "LABEL_MISSING"
    LABEL_EMPTY = "LABEL_EMPTY"
    LABEL_WITHOUT_IMAGE = "LABEL_WITHOUT_IMAGE"
    LABEL_SHARED = "LABEL_SHARED"
    LABEL_FORMAT_UNSUPPORTED = "LABEL_FORMAT_UNSUPPORTED"
    LABEL_TOO_LARGE = "LABEL_TOO_LARGE"
    LABEL_NOT_TEXT = "LABEL_NOT_TEXT"
    LABEL_BYTE_ORDER_MARK = "LABEL_BYTE_ORDER_MARK"
    LABEL_COLUMNS = "LABEL_COLUMNS"
    LABEL_NOT_A_NUMBER = "LABEL_NOT_A_NUMBER"
    LABEL_CLASS_NOT_INTEGER = "LABEL_CLASS_NOT_INTEGER"
    LABEL_CLASS_UNKNOWN = "LABEL_CLASS_UNKNOWN"
    LABEL_OUT_OF_RANGE = "LABEL_OUT_OF_RANGE"
    LABEL_SIZE_NOT_POSITIVE = "LABEL_SIZE_NOT_POSITIVE"
    LABEL_BOX_TINY = "LABEL_BOX_TINY"
    LABEL_BOX_CUT = "LABEL_BOX_CUT"
    LABEL_BOX_REPEATED = "LABEL_BOX_REPEATED"
    LABEL_BOX_IN_CLASSES = "LABEL_BOX_IN_CLASSES"
    LABEL_CONVERTED = "LABEL_CONVERTED"
    LABEL_UNLIKE_COPY = "LABEL_UNLIKE_COPY"
    LABEL_OF_TURNED_IMAGE = "LABEL_OF_TURNED_IMAGE"
    LABELS_BROKEN = "LABELS_BROKEN"
    LABELS_SKIPPED = "LABELS_SKIPPED"


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
    Code.EXCLUDED_FILE_UNKNOWN: Advice(
        Severity.WARNING, "Name files as the findings do: relative to the dataset's root."
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
        "Put the image on an opaque ground; transparency is dropped, and what it hid is trained on.",
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
    Code.NO_EXAMPLES: Advice(
        Severity.ERROR,
        'Put one JSON object on each line of a .jsonl file, such as {"instruction": …, "response": …}.',
    ),
    Code.FILE_NOT_UTF8: Advice(Severity.ERROR, "Save the file as UTF-8 text, or take it out of the dataset."),
    Code.FILE_PRETTY_PRINTED: Advice(
        Severity.ERROR,
        "Write each object on one line of its own (jq -c .), or all of them as one JSON array.",
    ),
    Code.JSON_ARRAY_BROKEN: Advice(
        Severity.ERROR, "Repair the array at this line, or write one object on each line (jq -c '.[]')."
    ),
    Code.FILE_WITHOUT_EXAMPLES: Advice(Severity.WARNING, "Fill the file, or take it out of the dataset."),
    Code.FILE_NOT_JSONL: Advice(
        Severity.INFO, "Nothing has to be done unless the file holds examples; then convert it to .jsonl."
    ),
    Code.SPLIT_TRAIN_FILE_MISSING: Advice(
        Severity.ERROR, "Add a train.jsonl, or rename the file that is meant for training."
    ),
    Code.LINES_BROKEN: Advice(
        Severity.ERROR, "Repair or remove the lines listed; so many hint at a fault in how they were written."
    ),
    Code.LINES_SKIPPED: Advice(
        Severity.WARNING, "Repair or remove the lines listed; training goes on without them."
    ),
    Code.EXAMPLES_FEW: Advice(
        Severity.WARNING, "Collect at least 100 examples; with fewer, a model rather memorizes than learns."
    ),
    Code.EXAMPLES_NOT_SPLITTABLE: Advice(
        Severity.ERROR, "Add different examples: at least one is needed for training and one for validation."
    ),
    Code.LAYOUTS_MIXED: Advice(
        Severity.WARNING, "Write all examples in one layout, so that all are trained on in the same way."
    ),
    Code.KEYS_IGNORED: Advice(
        Severity.INFO, "Nothing has to be done if these keys are not meant to be trained on."
    ),
    Code.RESPONSES_ALL_EQUAL: Advice(
        Severity.WARNING, "Check how the file was written: a model would learn nothing but this one response."
    ),
    Code.LINE_TOO_LONG: Advice(Severity.WARNING, "Divide the example into several; the line is skipped."),
    Code.LINE_NOT_UTF8: Advice(Severity.WARNING, "Write the line again as UTF-8; it is skipped."),
    Code.LINE_NOT_JSON: Advice(Severity.WARNING, "Write the line as one valid JSON object; it is skipped."),
    Code.LINE_NOT_OBJECT: Advice(
        Severity.WARNING, "Write the line as a JSON object with named keys; it is skipped."
    ),
    Code.LINE_INVALID_UNICODE: Advice(
        Severity.WARNING, "Write the character as such instead of as half of a \\u pair; the line is skipped."
    ),
    Code.KEYS_UNKNOWN: Advice(
        Severity.WARNING,
        "Use instruction and response, prompt and completion, messages, conversations or text; the line is"
        " skipped.",
    ),
    Code.KEY_MISSING: Advice(Severity.WARNING, "Add the key that is missing; the line is skipped."),
    Code.CONTENT_NOT_TEXT: Advice(Severity.WARNING, "Write the value as a string; the line is skipped."),
    Code.MESSAGES_EMPTY: Advice(
        Severity.WARNING, "Add at least a user's and an assistant's message; the line is skipped."
    ),
    Code.MESSAGE_MALFORMED: Advice(
        Severity.WARNING, "Write each message as an object with role and content; the line is skipped."
    ),
    Code.ROLE_UNKNOWN: Advice(
        Severity.WARNING, "Use the roles system, user and assistant; the line is skipped."
    ),
    Code.ROLE_ORDER: Advice(
        Severity.WARNING, "Let user and assistant take turns, beginning with user; the line is skipped."
    ),
    Code.SYSTEM_NOT_FIRST: Advice(
        Severity.WARNING, "Put one system message first, or none; the line is skipped."
    ),
    Code.NO_ASSISTANT_TURN: Advice(
        Severity.WARNING, "Add the assistant's answer, which is what is learned; the line is skipped."
    ),
    Code.RESPONSE_EMPTY: Advice(Severity.WARNING, "Write the response or remove the line; it is skipped."),
    Code.TEXT_EMPTY: Advice(Severity.WARNING, "Write the text or remove the line; it is skipped."),
    Code.PROMPT_EMPTY: Advice(
        Severity.WARNING, "Write what the response answers, unless the model shall speak without being asked."
    ),
    Code.LAST_TURN_UNANSWERED: Advice(
        Severity.WARNING,
        "Add the assistant's answer; the last turn is left out, since nothing is learned from it.",
    ),
    Code.EXAMPLE_VERY_LONG: Advice(
        Severity.WARNING, "Divide the example: what is beyond a model's context is cut off."
    ),
    Code.CONTROL_CHARACTERS: Advice(
        Severity.WARNING, "Remove the control characters; they come from binary data or a damaged copy."
    ),
    Code.TEXT_ENCODING_DAMAGED: Advice(
        Severity.WARNING, "Convert the source again with the right encoding; a model learns the damage."
    ),
    Code.RESPONSE_TRIVIAL: Advice(Severity.WARNING, "Write a full response or remove the line."),
    Code.RESPONSE_REPETITIVE: Advice(
        Severity.WARNING, "Write a real response or remove the line; a model learns to repeat itself."
    ),
    Code.RESPONSE_BOILERPLATE: Advice(
        Severity.WARNING, "Write the response that is wanted or remove the line; a model learns to answer so."
    ),
    Code.RESPONSE_REPEATS_PROMPT: Advice(
        Severity.WARNING,
        "Write a real response or remove the line; a model learns to repeat what it is asked.",
    ),
    Code.PERSONAL_DATA_SUSPECTED: Advice(
        Severity.WARNING, "Remove or replace personal data: a trained model can repeat it to anyone."
    ),
    Code.SECRET_SUSPECTED: Advice(
        Severity.WARNING, "Remove the secret and revoke it: a trained model can repeat it to anyone."
    ),
    Code.DUPLICATE_EXAMPLE: Advice(
        Severity.WARNING, "Remove the copies; they count several times in training."
    ),
    Code.DUPLICATE_EXAMPLE_ACROSS_SPLITS: Advice(
        Severity.WARNING,
        "Remove one of the two: an example that was trained on makes validation look too good.",
    ),
    Code.NEAR_DUPLICATE_EXAMPLE: Advice(
        Severity.WARNING,
        "Keep the best of the examples that resemble each other; together they count several times.",
    ),
    Code.NEAR_DUPLICATE_EXAMPLE_ACROSS_SPLITS: Advice(
        Severity.WARNING,
        "Remove one of the two: what resembles a training example makes validation look too good.",
    ),
    Code.NEAR_DUPLICATES_NOT_SEARCHED: Advice(
        Severity.INFO, "Divide the dataset if near duplicates matter beyond this number of examples."
    ),
    Code.EXAMPLES_OF_TEMPLATE: Advice(
        Severity.INFO, "Nothing has to be done if they are meant to; they are not compared with each other."
    ),
    Code.EXAMPLE_TRUNCATED: Advice(
        Severity.WARNING, "Raise max_length or divide the example; what is beyond is not trained on."
    ),
    Code.EXAMPLE_FULLY_MASKED: Advice(
        Severity.WARNING,
        "Raise max_length or shorten the prompt: no token of the response is left to train on.",
    ),
    Code.NOTHING_TO_TRAIN_ON: Advice(
        Severity.ERROR, "Raise max_length: in every example the response lies beyond it."
    ),
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
        Severity.WARNING, "Move the image into the folder of a split, or name its folder in data.yaml."
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
