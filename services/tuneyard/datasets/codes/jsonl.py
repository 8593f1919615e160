"""Advice for findings about examples for language models: their files, their lines and their texts."""

from tuneyard.datasets.codes.names import Advice, Code, Severity

ADVICE: dict[Code, Advice] = {
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
}
