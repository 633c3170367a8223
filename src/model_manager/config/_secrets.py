"""What looks like a key: found, so that it is refused; never shown."""

from __future__ import annotations

import math
import re
from collections import Counter

_KNOWN_KEYS = re.compile(
    r"""(?ix)
      (?<![a-z0-9]) sk-[a-z0-9_-]{12,}          # OpenAI, Anthropic and many others
    | (?<![a-z0-9]) (?:gsk|xai|pplx|rk|pk)[-_][a-z0-9]{16,}
    | (?<![a-z0-9]) hf_[a-z0-9]{16,}
    | (?<![a-z0-9]) gh[pousr]_[a-z0-9]{16,}
    | (?<![a-z0-9]) github_pat_[a-z0-9_]{16,}
    | (?<![a-z0-9]) glpat-[a-z0-9_-]{12,}
    | (?<![a-z0-9]) xox[abprs]-[a-z0-9-]{10,}
    | (?<![a-z0-9]) (?:akia|asia)[0-9a-z]{16}(?![a-z0-9])
    | (?<![a-z0-9]) aiza[0-9a-z_-]{30,}
    | (?<![a-z0-9]) eyj[a-z0-9_-]{10,}\.[a-z0-9_-]{10,}
    | -----begin [a-z ]*private\ key
    | \b bearer \s+ [a-z0-9._~+/-]{12,}
    """
)
_LONG_RUN = re.compile(r"[A-Za-z0-9+/]{28,}")
_SECRET_FIELDS = frozenset(
    {
        "accesskey",
        "accesstoken",
        "apikey",
        "apisecret",
        "apitoken",
        "authorization",
        "authtoken",
        "bearer",
        "bearertoken",
        "clientsecret",
        "credential",
        "credentials",
        "key",
        "passphrase",
        "passwd",
        "password",
        "privatekey",
        "secret",
        "secretkey",
        "token",
        "xapikey",
    }
)
_SECRET_ENDS = (
    "accesstoken",
    "apikey",
    "apitoken",
    "authtoken",
    "clientsecret",
    "passphrase",
    "password",
    "privatekey",
    "secretkey",
)
_WORD = re.compile(r"[a-z]{3,}")
_MAX_IN_WORDS = 0.4
_MIN_ENTROPY = 3.7
_MIN_DIGITS = 4
_MIN_TOKEN = 20


def _entropy(text: str) -> float:
    counts = Counter(text)
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts.values())


def _is_random(run: str) -> bool:
    """Tell random letters from words that are written together, as in `Qwen2Coder`."""
    kinds = (str.isupper, str.islower, str.isdigit)
    mixed = all(any(kind(char) for char in run) for kind in kinds)
    in_words = sum(map(len, _WORD.findall(run))) / len(run)
    if not mixed or in_words > _MAX_IN_WORDS:
        return False
    return _entropy(run) >= _MIN_ENTROPY


def looks_secret(text: str) -> bool:
    """Tell whether a text looks like a key, a token or a password in a URL.

    Known forms are matched wherever they stand; beyond them, one unbroken run of at
    least 28 letters and digits in both cases and without any pattern.
    """
    if _KNOWN_KEYS.search(text):
        return True
    return any(_is_random(match.group()) for match in _LONG_RUN.finditer(text))


def is_secret_field(name: str) -> bool:
    """Tell whether a field of this name would hold a key (`token`, `x_api_key` ...)."""
    letters = re.sub(r"[^a-z]", "", name.casefold())
    return letters in _SECRET_FIELDS or letters.endswith(_SECRET_ENDS)


def is_disguised_key(variable: str) -> bool:
    """Tell whether the name of an environment variable is more likely a key itself."""
    if looks_secret(variable):
        return True
    words = variable.split("_")
    return any(
        len(word) >= _MIN_TOKEN and sum(map(str.isdigit, word)) >= _MIN_DIGITS
        for word in words
    )


def shown(name: str, *, limit: int = 200) -> str:
    """Return a name as it may stand in a message: quoted, and withheld if a key."""
    if looks_secret(name):
        return f"<text of {len(name)} characters, withheld>"
    if len(name) > limit:
        return f"<text of {len(name)} characters>"
    return repr(name)
