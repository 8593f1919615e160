"""Advice for findings about captioned images: captions, metadata, repeats, class images."""

from tuneyard.datasets.codes.names import Advice, Code, Severity

ADVICE: dict[Code, Advice] = {
    Code.NO_INSTANCE_IMAGES: Advice(
        Severity.ERROR,
        "Put the images to learn from at the top, into train/ or into folders such as 10_name/;"
        " class images alone teach nothing.",
    ),
    Code.IMAGES_FEW: Advice(
        Severity.WARNING, "Add more different images: ten or more of a subject, twenty or more of a style."
    ),
    Code.IMAGE_BELOW_RESOLUTION: Advice(
        Severity.WARNING,
        "Use a larger original, or remove the image: enlarged, it teaches the model to be blurred.",
    ),
    Code.IMAGES_BELOW_RESOLUTION: Advice(
        Severity.INFO, "Train at a resolution that most of the images have, or collect larger ones."
    ),
    Code.IMAGE_BEYOND_BUCKETS: Advice(
        Severity.WARNING, "Crop the image to what it is about; else its ends are cut off."
    ),
    Code.CAPTION_MISSING: Advice(
        Severity.WARNING,
        "Write what the image shows into a text file of its name, or train with an instance_prompt.",
    ),
    Code.CAPTIONS_NONE: Advice(
        Severity.WARNING,
        "Train with an instance_prompt, or write what each image shows into a text file of its name.",
    ),
    Code.CAPTION_EMPTY: Advice(
        Severity.WARNING, "Write what the image shows; as it is, it counts as an image without a caption."
    ),
    Code.CAPTION_NOT_TEXT: Advice(
        Severity.WARNING, "Save the caption as UTF-8 text; as it is, the image counts as one without."
    ),
    Code.CAPTION_LONG: Advice(
        Severity.WARNING, "Shorten the caption and put what matters first: the end of it is cut off."
    ),
    Code.CAPTION_SEVERAL_LINES: Advice(
        Severity.INFO, "Nothing has to be done if all lines belong to the caption: they are read as one."
    ),
    Code.CAPTION_TWICE: Advice(
        Severity.WARNING, "Keep one of them: a text file beside the image counts before metadata."
    ),
    Code.CAPTION_SHARED: Advice(
        Severity.WARNING, "Give images of one folder different names, so that each can have its own caption."
    ),
    Code.CAPTION_WITHOUT_IMAGE: Advice(
        Severity.WARNING, "Add the image, correct the name, or remove the file; it is not used."
    ),
    Code.METADATA_UNREADABLE: Advice(
        Severity.ERROR,
        "Write a JSON object with file_name and text on each line, or CSV with such columns, as UTF-8.",
    ),
    Code.METADATA_LINE_BROKEN: Advice(
        Severity.WARNING, "Correct the line: it needs file_name and text, both as text."
    ),
    Code.METADATA_BROKEN: Advice(
        Severity.ERROR, "Correct the lines listed; so many hint at a fault in how the file was written."
    ),
    Code.METADATA_IMAGE_MISSING: Advice(
        Severity.WARNING, "Add the image or correct the name, which is relative to the metadata's own folder."
    ),
    Code.METADATA_IMAGE_REPEATED: Advice(
        Severity.WARNING, "Keep one line for each image; the first one counts."
    ),
    Code.REPEATS_MANY: Advice(
        Severity.WARNING, "Rename the folder unless the number is meant as repeats, as in 10_name."
    ),
    Code.REPEATS_ZERO: Advice(
        Severity.WARNING, "Give the folder a number of at least 1 to have its images used."
    ),
    Code.CLASS_IMAGES_FOUND: Advice(
        Severity.INFO, "Train with a class_prompt to use them: their prior_loss_weight is then 1."
    ),
    Code.CLASS_IMAGES_NOT_TRAINED: Advice(
        Severity.WARNING, "Move them to train/class/, or out of the dataset: nothing is validated with them."
    ),
}
