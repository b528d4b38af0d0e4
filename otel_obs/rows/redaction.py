"""What is taken out of texts before anything is stored: secrets, and what says who somebody is.

Each pattern is linear in the length of the text: a repetition is bounded, or begins at one place of a run of its own
characters only (the look-behind), and none is inside another that could share its characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from otel_obs.errors import RedactionFailedError
from otel_obs.model import Content, Reading
from otel_obs.rows import context as _context

Redact = Callable[[str], str]
Hook = Callable[[Sequence[str]], Sequence[str]]
"""Returns texts as they may be stored.

Raises:
    RedactionFailedError: it does not know.
"""

FAILED = "redaction_failed"
"""Flag of an event whose content was dropped, because it could not be redacted."""
_MIN_CHARACTERS = 7
"""Text shorter than that holds nothing that any pattern knows."""

_KEYS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk)-[A-Za-z0-9_-]{20,}"  # OpenAI, Anthropic, OpenRouter, DeepSeek, Langfuse
    r"|(?:sk|rk|pk|whsec)_(?:live_|test_)?[A-Za-z0-9]{20,}"  # Stripe
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{20,}"  # AWS, Google
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,}"  # GitHub, GitLab
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|hf_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{40,}"
    r"|r8_[A-Za-z0-9]{30,}|pplx-[A-Za-z0-9]{30,}|tvly-[A-Za-z0-9-]{20,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{40,}"
    r"|SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,}|oo_(?:live|test)_[A-Za-z0-9_]{20,}"  # SendGrid; ours
    r")"
)
_KEY_HINTS = (
    "sk-", "pk-", "rk-", "sk_", "rk_", "pk_", "whsec_", "AKIA", "ASIA", "AIza", "GOCSPX-", "ghp_", "gho_", "ghu_",
    "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "hf_", "xai-", "r8_", "pplx-", "tvly-", "npm_", "pypi-", "SG.",
    "oo_",
)  # fmt: skip
_BEARER = re.compile(r"(?i:\bbearer[ \t]{1,8})([A-Za-z0-9._~+/=-]{16,})")
_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
_EMAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]+@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}")
_CARD = re.compile(
    r"[2-6](?<![\w.][2-6])(?:\d{12,18}|\d{3}([ -])(?:\d{4}\1\d{4}\1\d{1,4}|\d{6}\1\d{4,5})(\1\d{1,3})?)(?!\w)"
)
# What begins with a character, not with what stands before it, is found several times as fast.
_PHONE = re.compile(r"\+(?<![\w+]\+)[1-9](?:[ ().-]{0,2}\d){6,14}(?!\w)")
_US_PHONE = re.compile(r"(?<![\w.-])(?:\(\d{3}\) ?\d{3}-|\d{3}([.-])\d{3}\1)\d{4}(?![\w-])")
_US_PHONE_ENDS = re.compile(r"\d{3}[.-]\d{4}(?![\w-])")
_DIGITS = re.compile(r"\d{3}")


def _api_keys(text: str) -> str:
    return _KEYS.sub("[api_key]", text) if any(hint in text for hint in _KEY_HINTS) else text


def _tokens(text: str) -> str:
    if "eyJ" in text:
        text = _JWT.sub("[token]", text)
    if "earer" in text or "EARER" in text:
        text = _BEARER.sub(lambda found: f"{found[0][: found.start(1) - found.start()]}[token]", text)
    return text


def _private_keys(text: str) -> str:
    """Take out from where a key begins to where it ends; one that does not end takes the rest of the text with it."""
    if "PRIVATE KEY" not in text:
        return text
    parts, done = [], 0
    while (found := _PRIVATE_KEY.search(text, done)) is not None:
        parts += [text[done : found.start()], "[private_key]"]
        ends = text.find("-----END", found.end())
        closes = text.find("KEY-----", ends) if ends >= 0 else -1
        done = closes + len("KEY-----") if closes >= 0 else len(text)
    return "".join([*parts, text[done:]])


def _emails(text: str) -> str:
    return _EMAIL.sub("[email]", text) if "@" in text else text


def _cards(text: str) -> str:
    def masked(found: re.Match[str]) -> str:
        if _is_card(found[0]):
            return "[card]"
        # What stands behind a number in the same way, such as its CVC.
        last = found[2] or ""
        number = found[0].removesuffix(last)
        return f"[card]{last}" if last and _is_card(number) else found[0]

    return _CARD.sub(masked, text) if _DIGITS.search(text) else text


def _is_card(text: str) -> bool:
    """Tell whether the digits are as many as a card has, and their sum is right (Luhn)."""
    digits = [int(character) for character in reversed(text) if character.isdecimal()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return 13 <= len(digits) <= 19 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _phones(text: str) -> str:
    if "+" in text:
        text = _PHONE.sub("[phone]", text)
    return _US_PHONE.sub("[phone]", text) if _US_PHONE_ENDS.search(text) else text


PATTERNS: dict[str, Redact] = {
    "private_key": _private_keys,
    "api_key": _api_keys,
    "token": _tokens,
    "email": _emails,
    "card": _cards,
    "phone": _phones,
}
"""Name -> what takes it out. Each leaves its name in brackets."""


def redact_by(names: Iterable[str]) -> Redact:
    """Return what takes out all that *names* name."""
    chosen = [PATTERNS[name] for name in PATTERNS if name in set(names)]

    def redact(text: str) -> str:
        if len(text) < _MIN_CHARACTERS:
            return text
        for one in chosen:
            text = one(text)
        return text

    return redact


def redacted(reading: Reading, redact: Redact | None, hook: Hook | None) -> Reading:
    """Return *reading* with its content as it may be stored; none of it, and a flag, where *hook* fails."""
    check = reading.check
    reference = None if check is None else check.flagged_reference
    texts = [_context.without_media(content.body) for content in reading.contents]
    texts += [] if reference is None else [reference]
    if not texts:
        return reading
    if redact is not None:
        texts = [redact(text) for text in texts]
    flags = reading.flags
    contents: tuple[Content, ...]
    try:
        found = list(texts if hook is None else hook(texts))
        contents = tuple(Content(content.part, body) for content, body in zip(reading.contents, found, strict=False))
        reference = None if reference is None else found[-1]
    except RedactionFailedError:
        contents, reference, flags = (), None, (*flags, FAILED)
    if check is not None:
        check = replace(check, flagged_reference=reference)
    return replace(reading, contents=contents, check=check, flags=flags)


def redacted_values(value: Any, redact: Redact) -> Any:
    """Return *value*, as JSON has it, with its texts redacted; ids stay, for they are what is searched by."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            key: item if isinstance(item, str) and (key == "id" or key.endswith((".id", "_id", ".name", ".model")))
            else redacted_values(item, redact)
            for key, item in value.items()
        }  # fmt: skip
    if isinstance(value, list | tuple):
        return [redacted_values(item, redact) for item in value]
    return value
