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

_ESCAPE = r"(\\(?:[nrtbf]|u[0-9a-fA-F]{4}))"
"""An escape of JSON, whose letters are none of the text's: most content is JSON."""


class _Pattern:
    """*body* where *begins* matches, or behind an escape (and *first*): what is found leaves *name* in brackets."""

    def __init__(self, begins: str, body: str, name: str, *, first: str = "") -> None:
        self._plain = re.compile(begins + body)
        self._escaped = re.compile(_ESCAPE + first + body)
        self._put = f"[{name}]"

    def out_of(self, text: str) -> str:
        """Return *text* without it."""
        if "\\" in text:
            text = self._escaped.sub(rf"\1{self._put}", text)
        return self._plain.sub(self._put, text)


_KEYS = _Pattern(
    r"(?<![A-Za-z0-9])",
    r"(?:"
    r"(?:sk|pk|rk|csk|pa|nvapi)-[A-Za-z0-9_-]{20,}"  # OpenAI, Anthropic, OpenRouter, DeepSeek, Langfuse, NVIDIA, Voyage
    r"|(?:sk|rk|pk|whsec|pcsk|fw)_(?:live_|test_)?[A-Za-z0-9]{20,}"  # Stripe, ElevenLabs, Pinecone, Fireworks
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"  # AWS
    r"|AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_-]{20,}"  # Google
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,}|gl(?:pat|ptt|dt|rt)-[A-Za-z0-9_-]{20,}"  # GitHub, GitLab
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/[A-Za-z0-9/]{20,}"
    r"|hf_[A-Za-z0-9]{30,}|gsk_[A-Za-z0-9]{40,}|xai-[A-Za-z0-9]{40,}|lsv2_[A-Za-z0-9_]{30,}"
    r"|r8_[A-Za-z0-9]{30,}|pplx-[A-Za-z0-9]{30,}|tvly-[A-Za-z0-9-]{20,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{40,}"
    r"|(?:dop_v1|sbp|shpat|lin_api|ntn|dckr_pat|glsa|glc)_[A-Za-z0-9_-]{27,}|dapi[a-f0-9]{32}"
    r"|hvs\.[A-Za-z0-9_-]{24,}|NRAK-[A-Z0-9]{27}|PMAK-[a-f0-9-]{50,}|ATATT3[A-Za-z0-9_=-]{50,}"
    r"|SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,}"  # SendGrid
    r"|oo_(?:live|test)_[A-Za-z0-9_]{20,}|oo_[0-9a-z]{16}_[0-9A-Za-z]{20,}"  # ours
    r")",
    "api_key",
)
_KEY_HINTS = (
    "sk-", "pk-", "rk-", "pa-", "nvapi-", "sk_", "rk_", "pk_", "whsec_", "fw_", "AKIA", "ASIA", "AIza", "GOCSPX-",
    "ya29.", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "glptt-", "gldt-", "glrt-", "xox",
    "hooks.slack", "hf_", "xai-", "lsv2_", "r8_", "pplx-", "tvly-", "npm_", "pypi-", "dop_v1_", "sbp_", "shpat_",
    "lin_api_", "ntn_", "dckr_pat_", "glsa_", "glc_", "dapi", "hvs.", "NRAK-", "PMAK-", "ATATT3", "SG.", "oo_",
)  # fmt: skip
_JWT = _Pattern(
    r"(?<![A-Za-z0-9_-])", r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}", "token"
)  # fmt: skip
_BEARER = re.compile(r"(?i:bearer[ \t]{1,8})([A-Za-z0-9._~+/=-]{16,})")
_BASIC = re.compile(r"(?i:authorization[^\w\n]{1,8}basic[ \t]{1,4})([A-Za-z0-9+/]{8,}={0,2})")
_IN_ADDRESS = re.compile(r"://[^\s/:@\"'\\]{0,64}:([^\s/@\"'\\]{1,128})@")
_NAMED = re.compile(
    r"(?i:passw(?:or)?d|pwd|(?:api|access|auth|client|account|secret)[_-]?(?:access[_-]?)?(?:key|token|secret))"
    r"[\\\"']{0,3}[ \t]{0,2}[:=][ \t]{0,2}[\\\"']{0,3}([^\s\"'\\,;&<>(){}\[\]$]{8,256})"
)
_NAMED_HINTS = ("passw", "pwd", "api", "access", "auth", "client", "account", "secret")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY")
_EMAIL = _Pattern(r"(?<![\w.%+-])", r"[\w.%+-]+@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}", "email")
_CARD_BODY = (
    r"(?:\d{12,18}|\d{3}(?P<gap>[ -])(?:\d{4}(?P=gap)\d{4}(?P=gap)\d{1,4}|\d{6}(?P=gap)\d{4,5})"
    r"(?P<behind>(?P=gap)\d{1,3})?)(?!\w)"
)
# What begins with a character, not with what stands before it, is found several times as fast.
_CARD = re.compile(rf"[2-6](?<![\w.][2-6]){_CARD_BODY}")
_CARD_ESCAPED = re.compile(rf"(?P<escape>{_ESCAPE})[2-6]{_CARD_BODY}")
_PHONE = _Pattern(r"\+(?<![\w+]\+)", r"[1-9](?:[ ()./-]{0,2}\d){6,14}(?!\w)", "phone", first=r"\+")
_ABROAD = _Pattern(
    r"00(?<![\w.+-]00)", r"[1-9]\d{0,2}[ -](?:[ ()./-]{0,2}\d){6,12}(?!\w)", "phone", first="00"
)  # fmt: skip
_US_PHONE = _Pattern(
    r"(?<![\w.-])", r"(?:1[-. ])?(?:\(\d{3}\) ?\d{3}-|\d{3}(?P<gap>[.-])\d{3}(?P=gap))\d{4}(?![\w-])", "phone"
)
_US_PHONE_ENDS = re.compile(r"\d{3}[.-]\d{4}(?![\w-])")
_DIGITS = re.compile(r"\d{3}")


def _api_keys(text: str) -> str:
    return _KEYS.out_of(text) if any(hint in text for hint in _KEY_HINTS) else text


def _tokens(text: str) -> str:
    if "eyJ" in text:
        text = _JWT.out_of(text)
    if "://" in text:
        text = _IN_ADDRESS.sub(_without_value, text)
    lower = text.lower()
    if "bearer" in lower:
        text = _BEARER.sub(_without_value, text)
    if "basic" in lower:
        text = _BASIC.sub(_without_value, text)
    if any(hint in lower for hint in _NAMED_HINTS):
        text = _NAMED.sub(_without_named, text)
    return text


def _without_value(found: re.Match[str]) -> str:
    """Return what was found without the value in it."""
    start, end = found.start(1) - found.start(), found.end(1) - found.start()
    return f"{found[0][:start]}[token]{found[0][end:]}"


def _without_named(found: re.Match[str]) -> str:
    """Return it without the value, if that is no word, as in ``password: required`` or ``api_key: string``."""
    return found[0] if _is_word(found[1]) else _without_value(found)


def _is_word(value: str) -> bool:
    return value.isdecimal() or not any(map(str.isdigit, value)) or not any(map(str.isalpha, value))


def _private_keys(text: str) -> str:
    """Take out from where a key begins to where it ends; one that does not end takes the rest of the text with it."""
    if "PRIVATE KEY" not in text:
        return text
    parts, done = [], 0
    while (found := _PRIVATE_KEY.search(text, done)) is not None:
        parts += [text[done : found.start()], "[private_key]"]
        ends = text.find("-----END", found.end())
        closes = text.find("-----", ends + len("-----END")) if ends >= 0 else -1
        done = closes + len("-----") if closes >= 0 else len(text)
    return "".join([*parts, text[done:]])


def _emails(text: str) -> str:
    return _EMAIL.out_of(text) if "@" in text else text


def _cards(text: str) -> str:
    def masked(found: re.Match[str]) -> str:
        escape = found.groupdict().get("escape", "")
        number = found[0].removeprefix(escape)
        if _is_card(number):
            return f"{escape}[card]"
        # What stands behind a number in the same way, such as its CVC.
        behind = found["behind"] or ""
        return f"{escape}[card]{behind}" if behind and _is_card(number.removesuffix(behind)) else found[0]

    if not _DIGITS.search(text):
        return text
    if "\\" in text:
        text = _CARD_ESCAPED.sub(masked, text)
    return _CARD.sub(masked, text)


def _is_card(text: str) -> bool:
    """Tell whether the digits are as many as a card has, and their sum is right (Luhn)."""
    digits = [int(character) for character in reversed(text) if character.isdecimal()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return 13 <= len(digits) <= 19 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _phones(text: str) -> str:
    if "+" in text:
        text = _PHONE.out_of(text)
    if "00" in text:
        text = _ABROAD.out_of(text)
    return _US_PHONE.out_of(text) if _US_PHONE_ENDS.search(text) else text


PATTERNS: dict[str, Redact] = {
    "private_key": _private_keys,
    "api_key": _api_keys,
    "token": _tokens,
    "email": _emails,
    "card": _cards,
    "phone": _phones,
}
"""Name -> what takes it out. Each leaves its name in brackets."""


_CREDENTIALS = ("private_key", "api_key", "token")
"""What no id and no name of a thing may hold: those stay otherwise, for they are what is searched by."""
_IDS = (".id", "_id", ".name", ".model")
_OF_PEOPLE = ("user.name", "user.full_name")
"""Attributes that end like this are no names of things."""
_SECRETS = frozenset(
    {
        "token", "access_token", "auth_token", "refresh_token", "bearer_token", "api_key", "apikey", "api_token",
        "x_api_key", "access_key", "secret", "secret_key", "client_secret", "secret_access_key", "private_key",
        "password", "passwd", "credential", "credentials",
    }
)  # fmt: skip
"""What holds nothing but a secret, where it is the last word of an attribute's name."""
_SHORTEST_SECRET = 8


class Redaction:
    """Takes out of texts what some of the patterns know."""

    def __init__(self, names: Iterable[str]) -> None:
        chosen = set(names)
        self._all = [PATTERNS[name] for name in PATTERNS if name in chosen]
        self._credentials = [PATTERNS[name] for name in _CREDENTIALS if name in chosen]
        self._by_name = "token" in chosen

    def __call__(self, text: str) -> str:
        """Return *text* without any of it."""
        if len(text) < _MIN_CHARACTERS:
            return text
        for one in self._all:
            text = one(text)
        return text

    def of_id(self, text: str | None) -> str | None:
        """Return *text*, an id or the name of a thing, without credentials; a user's id may be an e-mail address."""
        if text is None or len(text) < _MIN_CHARACTERS:
            return text
        for one in self._credentials:
            text = one(text)
        return text

    def of_values(self, value: Any) -> Any:
        """Return *value*, as JSON has it, with its texts redacted; of ids and names of things only credentials.

        What stands under the name of a secret is one, whatever it looks like: the SDK of Paid sends its own key so.
        """
        if not self._all:
            return value
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            return {key: self._of_attribute(key, item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of_values(item) for item in value]
        return value

    def _of_attribute(self, key: str, item: Any) -> Any:
        if self._by_name and key.rpartition(".")[2].lower().replace("-", "_") in _SECRETS:
            return self._of_secrets(item)
        return self.of_id(item) if isinstance(item, str) and _is_id(key) else self.of_values(item)

    def _of_secrets(self, item: Any) -> Any:
        """Return *item* without secrets: texts that are no word and no sentence, in lists too (headers are)."""
        if isinstance(item, list | tuple):
            return [self._of_secrets(one) for one in item]
        if not isinstance(item, str) or len(item) < _SHORTEST_SECRET or _is_word(item) or len(item.split()) != 1:
            return self.of_values(item)
        return "[token]"

    def of_reading(self, reading: Reading) -> Reading:
        """Return *reading* with its ids and names redacted as such."""
        return replace(
            reading,
            name=self.of_id(reading.name),
            user_id=self.of_id(reading.user_id),
            agent_id=self.of_id(reading.agent_id),
            agent_name=self.of_id(reading.agent_name),
            flow_id=self.of_id(reading.flow_id),
            run_id=self.of_id(reading.run_id),
            conversation_id=self.of_id(reading.conversation_id),
        )


def _is_id(key: str) -> bool:
    return key == "id" or (key.endswith(_IDS) and not key.endswith(_OF_PEOPLE))


def redacted(reading: Reading, redact: Redaction | None, hook: Hook | None) -> Reading:
    """Return *reading* with its content as it may be stored; none of it, and a flag, where *hook* fails."""
    if redact is not None:
        reading = redact.of_reading(reading)
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
