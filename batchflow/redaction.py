"""Secrets, taken out of text before anybody else sees it: on the terminal, in records, in messages, in events.

What counts as one: passwords of URLs, signatures and keys of storage links, values next to a name that says so
(``api_key=…``, ``--token …``, ``"password": "…"``), tokens of well-known shapes, private keys; and, wherever it
stands, every value that was handed to ``hide``.  Imports nothing of ours.

Invariants: time is linear in the length of the text, whatever is in it; what was redacted once stays as it is.
"""

from __future__ import annotations

import functools
import json
import os
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

STARS = "***"
_HIDDEN_SIZE_MIN = 6
"""Shorter values would be found everywhere."""
_HIDDEN_COUNT_MAX = 2_000
"""Spellings; in a process that runs workflow after workflow the oldest are forgotten."""
_NAME_SIZE_MAX = 64
_FINGERPRINT_ROUNDS = 20_000

# Names.


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class _Pattern:
    """Compiled when it is first needed: most command lines meet nothing that could be a secret."""

    def __init__(self, text: Callable[[], str], flags: int = 0) -> None:
        self._text = text
        self._flags = flags

    @functools.cached_property
    def compiled(self) -> re.Pattern[str]:
        return re.compile(self._text(), self._flags)


_WORD = _Pattern(lambda: r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET_ENDS = (
    *("password", "passwords", "passwd", "passphrase", "secret", "secrets", "token", "jwt", "cookie", "credential"),
    *("credentials", "apikey", "accesskey", "accountkey", "secretkey", "privatekey", "connectionstring"),
)
_OPEN_TOKENS = _words(
    "pad eos bos unk mask sep cls stop start end begin next last first special new image audio video"
    " max min num n per text time page continuation prompt completion input output total cancellation"
)
"""What a model, a tokenizer or a counter calls a token is no secret."""
_SECRET_KEYS = _words(
    "api access secret account private auth authentication signing encryption storage shared subscription master"
    " license instrumentation admin webhook deploy azure openai hf huggingface aws gcp google stripe wandb kaggle"
    " gemini anthropic cosmos consumer app"
)
"""The words before ``key`` that make it one to a door, not to a row."""
_SECRET_PASSES = _words("db user smtp ftp mysql redis postgres pg admin root http proxy")
_SECRET_PAIRS = frozenset(
    {("connection", "string"), ("conn", "string"), ("conn", "str"), ("sas", "url"), ("sas", "uri")}
)
_SIGNATURES = frozenset({"sig", "signature"})
"""Secret as keys of a link only."""


@functools.lru_cache(maxsize=4096)
def names_secret(name: str) -> bool:
    """Whether what is called so is a secret: ``api_key``, ``DB_PASSWORD``, ``AccountKey``; not ``key_columns``."""
    words = [word.lower() for word in _WORD.compiled.findall(name[-_NAME_SIZE_MAX:])]
    if not words:
        return False
    before, last = words[-2] if len(words) > 1 else "", words[-1]
    if last == "key":
        return before in _SECRET_KEYS
    if last == "pwd":
        return before not in ("", "old")
    if last == "pass":
        return before in _SECRET_PASSES
    if last == "sas":
        return True
    if last == "token":
        return before not in _OPEN_TOKENS
    return (before, last) in _SECRET_PAIRS or last.endswith(_SECRET_ENDS)


# Text.


def _in_any_case(pattern: str) -> str:
    """The pattern for letters of any case: with a flag for it, the search would not skip to a first letter."""
    return re.sub(r"[a-z]", lambda letter: f"[{letter[0]}{letter[0].upper()}]", pattern)


_LAST_WORD = (
    "(?:p(?:ass(?:words?|wd|phrase)?|wd)|s(?:ecrets?|as(?:_uri|_url)?|ig(?:nature)?)|string"
    "|token|jwt|c(?:ookie|redentials?)|key)"
)
_NAMED = _Pattern(
    lambda: (
        rf"""{_in_any_case(_LAST_WORD)}[0-9]{{0,3}}
    (?P<between> \\?["']?[ ]{{0,3}}(?P<sign>[=:])[ ]{{0,3}}(?:{{[ ]?default[ ]?=[ ]?)? | \\?["'],[ ]? | [ ]{{1,3}} )
    (?P<value> \\["'][^"'\\\n]* | "(?:[^"\\\n]|\\.)* | '(?:[^'\\\n]|\\.)* | [^\s"'&;,<>|)\]}}]+ )"""
    ),
    re.VERBOSE,
)
"""The last word of a name, what is between it and the value, and the value; ``_named`` decides."""
_URL = _Pattern(lambda: r"""(?P<name>://)(?P<value>[^\s/"'@:]*:[^\s/"']+)(?=@)""")
_HEADER = _Pattern(
    lambda: (
        rf"""(?P<name>
    {_in_any_case("authorization")}\\?["']?[ ]{{0,3}}[=:][ ]{{0,3}}\\?["']?(?:[A-Za-z0-9-]{{1,30}}[ ]+)?)
    (?P<value>[^\s"',]+)"""
    ),
    re.VERBOSE,
)
_BEARER = _Pattern(lambda: rf"(?P<name>\b{_in_any_case('bearer')} +)(?P<value>[\w.~+/=-]{{8,}})")
_SHAPES = _Pattern(
    lambda: (
        r"""(?P<name>(?<![\w-]))(?P<value>
    (?: gh[pousr]_ | github_pat_ | glpat- | hf_ | sk- | xox[abeoprs]- | npm_ | dckr_pat_ | pypi- | AIza | ya29\. )
    [\w-]{16,}
    | eyJ[\w-]{10,}\.[\w-]{5,}\.[\w-]* )"""
    ),
    re.VERBOSE,
)
_PRIVATE_KEY = _Pattern(lambda: r"(?P<name>-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----)(?P<value>(?:[^-]|-(?!----))+)")
_VARIABLE = _Pattern(lambda: r"\$[A-Z_][A-Z0-9_]*|\$\$?\{[^}]*\}?|%\(?\w*\)?s?|\*+[0-9a-f]*")
"""What stands for a value and is none: a shell's variable, a reference; or was redacted before."""
_OPTION = _Pattern(lambda: r"--?[A-Za-z][\w.-]*")
_RANDOM = _Pattern(lambda: r"(?=\S{0,64}[0-9])(?=\S{0,64}[A-Za-z])[\w.~+/=@!#$%^*-]{8,}")
"""Looks like a secret even after a mere colon."""

_Mark = Callable[[str], str]
_PATTERNS = (
    # Each with a word that must be there, in small letters, or nothing of it is.
    (_URL, ("://",)),
    (_PRIVATE_KEY, ("-----begin",)),
    (_HEADER, ("authorization",)),
    (_BEARER, ("bearer",)),
    (_SHAPES, ("gh", "glpat", "hf_", "sk-", "xox", "npm_", "dckr_", "pypi-", "aiza", "ya29", "eyj")),
)
_NAMED_HINTS = ("pass", "secret", "token", "jwt", "cookie", "credential", "key", "string", "pwd", "sas", "sig")

_lock = threading.Lock()
_known: dict[str, None] = {}
_hidden: tuple[str, ...] = ()


def hide(value: object) -> None:
    """From now on ``redact`` replaces ``value``, a text of some length, wherever it stands; for this whole process."""
    global _hidden
    if isinstance(value, (list, tuple)):
        for one in value:
            hide(one)
    if not isinstance(value, str) or len(value.strip()) < _HIDDEN_SIZE_MIN:
        return
    forms = {*_spellings(value), *_spellings(value.strip())}
    forms |= {line.strip() for line in value.splitlines() if len(line.strip()) >= 2 * _HIDDEN_SIZE_MIN}
    with _lock:
        for form in forms:
            _known.pop(form, None)  # the newest are at the end
            _known[form] = None
        while len(_known) > _HIDDEN_COUNT_MAX:
            del _known[next(iter(_known))]
        # The longest first, so that no part of one is left when a shorter one lies in it.
        _hidden = tuple(sorted(_known, key=len, reverse=True))


def _spellings(value: str) -> set[str]:
    """How a text stands in Python, JSON, a link, and between the quotes of a shell."""
    return {
        value,
        repr(value)[1:-1],
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        urllib.parse.quote(value, safe="", errors="replace"),
        urllib.parse.quote_plus(value, errors="replace"),
        value.replace("'", "'\"'\"'"),
        re.sub(r'(["$`\\])', r"\\\1", value),
    }


def hide_environment(environ: Mapping[str, str]) -> None:
    """``hide`` the values of all variables whose names say that they are secrets, but for paths of files.

    Of the others what is a secret by itself: the password of a link.
    """
    for name, value in environ.items():
        hide(secrets_in(value))
        if names_secret(name) and not os.path.lexists(value):
            hide(value)


def secrets_in(text: str) -> list[str]:
    """The secrets in a text that show by their shape or by a name before them; of ``user:password`` the password."""
    found: list[str] = []

    def note(secret: str) -> str:
        found.append(secret.partition(":")[2] if f"://{secret}@" in text else secret)
        return STARS

    _replace(text, (), note)
    return found


def redact(text: str, *, keep_length: bool = False) -> str:
    """``text`` with every secret replaced by stars.

    With ``keep_length`` as many stars as there were characters, so that columns stay right.
    """
    mark: _Mark = (lambda secret: "*" * len(secret)) if keep_length else (lambda _: STARS)
    return _replace(text, _hidden, mark)


def redacted(value: Any) -> Any:  # noqa: ANN401
    """A JSON value with every text in it redacted; keys stay."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redacted(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [
            STARS if isinstance(one, str) and asks_for_secret(before) else redacted(one)
            for before, one in zip(["", *value], value, strict=False)
        ]
    return value


def asks_for_secret(word: object) -> bool:
    """Whether a word of a command is an option whose value, a secret, is the next word: ``--api-key``."""
    return isinstance(word, str) and _OPTION.compiled.fullmatch(word) is not None and names_secret(word)


def masked(name: str, value: Any) -> Any:  # noqa: ANN401
    """The value of what is called ``name``: as ``redacted``, or only stars if the name says that it is a secret."""
    return STARS if names_secret(name) and value not in (None, "", [], True, False) else redacted(value)


def fingerprinted(text: str, secrets: Iterable[str] = ()) -> str:
    """As ``redact``, of the patterns and ``secrets`` alone, but each secret leaves a fingerprint: a change is seen.

    Depends on nothing but its arguments.
    """
    long = [secret for secret in secrets if len(secret) >= _HIDDEN_SIZE_MIN]
    spelt = {spelling: secret for secret in long for spelling in _spellings(secret)}
    forms = tuple(sorted(spelt, key=len, reverse=True))
    return _replace(text, forms, lambda found: fingerprint(spelt.get(found, found)))


@functools.lru_cache(maxsize=1024)
def fingerprint(secret: str) -> str:
    """``***`` and eight hexadecimal digits, slow to compute: short, so that a guess is never proved right."""
    import hashlib  # not for every command line

    data = secret.encode(errors="surrogatepass")
    return STARS + hashlib.pbkdf2_hmac("sha256", data, b"batchflow", _FINGERPRINT_ROUNDS, 4).hex()


def _replace(text: str, secrets: tuple[str, ...], mark: _Mark) -> str:
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, mark(secret))
    small = text.lower()
    for pattern, hints in _PATTERNS:
        if any(hint in small for hint in hints):
            text = pattern.compiled.sub(functools.partial(_plain, mark=mark), text)
    if any(hint in small for hint in _NAMED_HINTS):
        text = _NAMED.compiled.sub(functools.partial(_named, mark=mark), text)
    return text


def _plain(match: re.Match[str], *, mark: _Mark) -> str:
    value = match["value"]
    if match.re is _URL.compiled:
        # A user's name before stars goes with them: "me:***" is what a hidden password has left.
        password = value.partition(":")[2]
        is_none = _VARIABLE.compiled.fullmatch(password) is not None and not password.startswith("*")
    else:
        is_none = _VARIABLE.compiled.fullmatch(value) is not None
    return match["name"] + (value if is_none else mark(value))


def _named(match: re.Match[str], *, mark: _Mark) -> str:
    """Replace a value if the name before it, of which the match has the end, says that it is a secret."""
    text, start = match.string, match.start()
    first = start
    while first > max(0, start - _NAME_SIZE_MAX) and (text[first - 1].isalnum() or text[first - 1] in "_-."):
        first -= 1
    name, before = text[first : match.start("between")], text[first - 1 : first]
    value = match["value"]
    opening = value[: 2 if value[:1] == "\\" else 1] if value[:1] in "\\\"'" else ""
    if before != "/" and _is_secret(name, before, match["between"], match["sign"], value, opening):
        kept = match.group()[: match.start("value") - start] + opening
        return kept + mark(value[len(opening) :])
    return match.group()


def _is_secret(name: str, before: str, between: str, sign: str | None, value: str, opening: str) -> bool:
    inner = value[len(opening) :]
    if not inner or _VARIABLE.compiled.fullmatch(inner):
        return False
    if sign is None:
        # Only behind an option of a command line: "--token abc", or as words of a list.
        return name.startswith("--") and names_secret(name) and not inner.startswith("-")
    if not names_secret(name) and not (before in ("?", "&", ";") and name.lower() in _SIGNATURES):
        return name.lower() in ("x-amz-signature", "x-goog-signature") and sign == "="
    # With spaces, or behind a colon, it may be a sentence or an expression.
    return bool(opening) or between == "=" or (sign == ":" and _RANDOM.compiled.fullmatch(inner) is not None)
