"""Looks for personal data and secrets in text: what kind, never the value itself.

Patterns are strict, and checksums are computed where there are some: a suspicion that is mostly wrong is not
looked at. Names and addresses are not recognized. A pattern begins where a word does and has bounds, so that
no text takes more than time in proportion to its length.
"""

import re

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@((?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24})(?![\w-])")
_RESERVED_DOMAINS = re.compile(
    r"(?:^|\.)(?:example\.(?:com|org|net|edu)|example|test|invalid|localhost|local)$", re.IGNORECASE
)
_DIGITS = re.compile(r"\d(?:[ .()/-]{0,2}\d){6}")
_INTERNATIONAL_PHONE = re.compile(r"(?<![\w+])\+[1-9](?:[ .()/-]{0,2}\d){7,14}(?!\w)")
_AMERICAN_PHONE = re.compile(
    r"(?<![\w.-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}([.-]))[2-9]\d{2}(?(1)\1|[ .-])\d{4}(?![\w-])"
)
_CARD = re.compile(
    r"(?<![\w.-])[2-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}(?![\w-])|(?<![\w.-])3[47]\d{13}(?!\w)"
)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_SECRETS = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]{1,20} ){0,3}PRIVATE KEY-----"),
    "an AWS access key": re.compile(r"(?<!\w)A(?:KIA|SIA)[A-Z2-7]{16}(?!\w)"),
    "a GitHub token": re.compile(r"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{50,})(?!\w)"),
    "a GitLab token": re.compile(r"(?<![\w-])glpat-[\w-]{20,}(?!\w)"),
    "a Slack token": re.compile(r"(?<![\w-])xox[abprs]-(?:\d{1,20}-){1,4}[A-Za-z0-9]{10,}(?!\w)"),
    "a Google API key": re.compile(r"(?<!\w)AIza[\w-]{35}(?![\w-])"),
    "a Hugging Face token": re.compile(r"(?<!\w)hf_[A-Za-z0-9]{30,}(?!\w)"),
    "an npm token": re.compile(r"(?<!\w)npm_[A-Za-z0-9]{36}(?!\w)"),
    "an API key": re.compile(
        r"(?<![\w-])(?:sk-(?:[a-z]{1,12}\d{0,2}-){0,3}(?=\w*\d)\w{20,}|sk_live_[A-Za-z0-9]{20,})(?!\w)"
    ),
    "a JSON web token": re.compile(r"(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}"),
}


def personal_data(text: str) -> list[str]:
    """The kinds of personal data suspected in a text, such as "an email address"."""
    found = []
    if "@" in text and any(
        not _RESERVED_DOMAINS.search(match[1].rstrip(".")) for match in _EMAIL.finditer(text)
    ):
        found.append("an email address")
    if _DIGITS.search(text):
        if any(_is_card(match[0]) for match in _CARD.finditer(text)):
            found.append("a card number")
        if any(_is_iban(match[0]) for match in _IBAN.finditer(text)):
            found.append("a bank account number (IBAN)")
        if _INTERNATIONAL_PHONE.search(text) or _AMERICAN_PHONE.search(text):
            found.append("a phone number")
    return found


def secrets(text: str) -> list[str]:
    """The kinds of secrets suspected in a text, such as "a private key"."""
    if not _may_hold_secret(text):
        return []
    return [kind for kind, pattern in _SECRETS.items() if pattern.search(text)]


def _may_hold_secret(text: str) -> bool:
    """Rules out nearly every text at a tenth of the patterns' cost."""
    return (
        ("-" in text and ("sk-" in text or "glpat-" in text or "xox" in text or "PRIVATE KEY-" in text))
        or ("_" in text and ("gh" in text or "hf_" in text or "npm_" in text or "sk_" in text))
        or "AKIA" in text
        or "ASIA" in text
        or "AIza" in text
        or "eyJ" in text
    )


def _is_card(text: str) -> bool:
    """Whether the digits are as many as a card has and satisfy Luhn's checksum (ISO/IEC 7812-1)."""
    digits = [int(character) for character in text if character.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 2:
        return False
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """Whether the checksum of ISO 13616 holds: modulo 97, with letters as numbers from 10 on."""
    compact = text.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1
