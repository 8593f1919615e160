"""Advice for findings that come with every format: about the archive as a file, and the check itself."""

from tuneyard.datasets.codes.names import Advice, Code, Severity

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
    Code.FORMAT_SEEMS_OTHER: Advice(
        Severity.WARNING, "Name the other format, if that is what you meant; most other findings go with it."
    ),
    Code.EXCLUDED_FILE_UNKNOWN: Advice(
        Severity.ERROR,
        "Name files as the findings do, relative to the dataset's root, and lines of texts as FILE:LINE.",
    ),
    Code.EXCLUDED_FOLDER: Advice(Severity.WARNING, "Name the files in it that are to be left out."),
}
