"""What is taken for a secret, what is not, and that no text makes looking for them slow."""

from __future__ import annotations

import json
import shlex
import time
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow import redaction
from batchflow.redaction import (
    fingerprint,
    fingerprinted,
    hide,
    hide_environment,
    masked,
    names_secret,
    redact,
    redacted,
    secrets_in,
)


def _words(text: str) -> list[str]:
    return text.split()


SECRET_NAMES = _words("""
password passwords DB_PASSWORD PGPASSWORD db.password api_key apiKey APIKey api-key AccountKey SharedAccessKey
token HF_TOKEN access_token token2 AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AZURE_STORAGE_CONNECTION_STRING
client_secret X-Amz-Security-Token X-Amz-Credential secret MYSQL_PWD db_pass OPENAI_API_KEY sas_url AZURE_SAS
session_cookie private_key signing_key passphrase connectionString
""")
OTHER_NAMES = _words("""
key keys key_columns partition_key partition_keys primary_key sort_key foreign_key join_key keyboard monkey
pad_token eos_token max_tokens tokens tokenizer TOKENIZERS_PARALLELISM token_count PWD OLDPWD password_file
secret_name AWS_ACCESS_KEY_ID GPG_KEY author compass canvas pandas pass first_pass string name sig signature x
""")


@pytest.fixture(autouse=True)
def nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", {})
    monkeypatch.setattr(redaction, "_hidden", ())


@pytest.mark.fault("S21")
@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_name_says_that_its_value_is_a_secret(name: str) -> None:
    assert names_secret(name)


@pytest.mark.fault("S21")
@pytest.mark.parametrize("name", [*OTHER_NAMES, "", "_", "7"])
def test_a_name_that_only_sounds_like_one_hides_nothing(name: str) -> None:
    assert not names_secret(name)


@pytest.mark.fault("S21")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pw@host/x", "https://***@host/x"),
        ("https://user:p@s:s@host/x", "https://***@host/x"),
        ("postgres://:pw@host", "postgres://***@host"),
        ("https://h/x?sv=1&sig=abc%3D&se=2", "https://h/x?sv=1&sig=***&se=2"),
        ("https://h/x?Signature=abc&Expires=3", "https://h/x?Signature=***&Expires=3"),
        ("AccountName=a;AccountKey=zzz==;End=1", "AccountName=a;AccountKey=***;End=1"),
        (
            "https://h/?X-Amz-Signature=00ff&X-Amz-Credential=AK/x",
            "https://h/?X-Amz-Signature=***&X-Amz-Credential=***",
        ),
        ("https://h/?x=1&access_token=t", "https://h/?x=1&access_token=***"),
        ("tool --password hunter2 -v", "tool --password *** -v"),
        ("tool --api-key=k -v", "tool --api-key=*** -v"),
        ("['tool', '--token', 'abc']", "['tool', '--token', '***']"),
        ('{"password": "a\\"bc", "n": 1}', '{"password": "***", "n": 1}'),
        ('{\\"password\\": \\"abc\\"}', '{\\"password\\": \\"***\\"}'),
        ("password = 'x y'", "password = '***'"),
        ('password = { default = "x y" }', 'password = { default = "***" }'),
        ("login(user, password='x y')", "login(user, password='***')"),
        ("DB_PASSWORD=abc ./run", "DB_PASSWORD=*** ./run"),
        ("x-api-key: 0a1b2c3d4e", "x-api-key: ***"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("{'Authorization': 'Basic dXNlcjpwdw=='}", "{'Authorization': 'Basic ***'}"),
        ("sent bearer 0123456789abc to", "sent bearer *** to"),
        (f"clone with ghp_{'a1' * 18} now", "clone with *** now"),
        (f"hf_{'Ab' * 17}", "***"),
        ("got eyJhbGciOiJ9abc.eyJzdWIiOjF9.sig.", "got ***."),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END", "-----BEGIN RSA PRIVATE KEY-----***-----END"),
    ],
)
def test_a_secret_is_not_shown(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "data/sig=1/part.png",
        "data/token=ab/part.png",
        "mail me@host",
        "http://host:80/path@x",
        "token = next(tokens)",
        "unexpected token: foo",
        "partition_key=3, sort key: abc",
        "password=$PW",
        "token=${params.token}",
        "postgres://u:${PW}@h",
        "https://u:%(pw)s@h",
        "invalid signature=3",
        "the secret of success",
        "sk-learn, disk-usage=3",
        "password: ***",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_stars_can_take_as_much_room_as_what_they_stand_for() -> None:
    assert redact("a --password hunter2 b", keep_length=True) == "a --password ******* b"


@pytest.mark.fault("S21")
def test_a_hidden_value_is_found_in_any_spelling() -> None:
    secret = 'Ko"l ib/ri\\ü1'
    hide(secret)
    spellings = [secret, repr(secret), json.dumps(secret), shlex.quote(secret), urllib.parse.quote(secret, safe="")]
    for spelling in spellings:
        shown = redact(f"<{spelling}>")
        assert "***" in shown
        assert "ib" not in shown


def test_the_oldest_of_very_many_are_forgotten() -> None:
    for number in range(2_100):
        hide(f"kolibri-{number}-")
    assert redact("kolibri-0- kolibri-2099-") == "kolibri-0- ***"


def test_of_two_hidden_values_the_longer_one_goes_first() -> None:
    hide("swordfish")
    hide(["swordfish-and-more", "x"])
    assert redact("swordfish-and-more swordfish") == "*** ***"


@pytest.mark.parametrize("value", ["", "short", 1234567, None, True, "  a  "])
def test_what_is_short_or_no_text_is_not_searched_for(value: object) -> None:
    hide(value)
    assert redact(f"it is {value} or so") == f"it is {value} or so"


def test_secrets_are_found_by_shape_and_by_name() -> None:
    assert secrets_in("https://user:p:w@host/x --token abc") == ["p:w", "abc"]
    assert secrets_in("a plain text with key_columns=3") == []


def test_the_environment_hides_what_its_names_say(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = str(tmp_path_factory.mktemp("keys"))
    environ = {"MY_TOKEN": "kolibri-one", "HOME": "kolibri-two", "DATABASE_URL": "postgres://me:kolibri-three@host/x"}
    hide_environment(environ | {"GOOGLE_APPLICATION_CREDENTIALS": file})
    assert redact(f"kolibri-one kolibri-two kolibri-three {file}") == f"*** kolibri-two *** {file}"


def test_every_text_of_a_json_value_is_redacted_and_nothing_else() -> None:
    value = {"a": ["--token abc", 3, None, {"b": ("https://u:p@h", True)}], "password": 5, "c": ["--token", "abc", "d"]}
    shown = {"a": ["--token ***", 3, None, {"b": ["https://***@h", True]}], "password": 5, "c": ["--token", "***", "d"]}
    assert redacted(value) == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("token", "ab", "***"),
        ("token", 17, "***"),
        ("token", ["ab"], "***"),
        ("token", "", ""),
        ("token", None, None),
        ("use_token", True, True),
        ("limit", 17, 17),
        ("source", "https://u:p@h", "https://***@h"),
    ],
)
def test_a_value_is_masked_by_its_name(name: str, value: object, shown: object) -> None:
    assert masked(name, value) == shown


def test_a_fingerprint_tells_two_secrets_apart_and_stays_as_it_is() -> None:
    hide("elsewhere")
    one, other = (fingerprinted(f"--token {secret} elsewhere") for secret in ("abc", "xyz"))
    assert one != other
    assert one == f"--token {fingerprint('abc')} elsewhere"
    assert fingerprinted("x kolibri y", ("kolibri",)) == f"x {fingerprint('kolibri')} y"
    assert fingerprinted(one) == one
    assert redact(fingerprinted("--token abc")) == fingerprinted("--token abc")
    assert len(fingerprint("abc")) == 11


@given(st.text(alphabet=st.sampled_from("wordpas=:-_\"' \\tken/@{}$&?kyi19\n"), max_size=60))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
    assert fingerprinted(fingerprinted(text)) == fingerprinted(text)


ADVERSARIES = {
    "links": "://a:",
    "link": "://" + "a:" * 500_000,
    "names": "password ",
    "keys": "key",
    "long name": "_" * 60 + "key=",
    "options": "--token ",
    "quotes": 'password="',
    "escaped quotes": 'token="\\"',
    "backslashes": 'password="' + "\\" * 1_000_000,
    "headers": "authorization: ",
    "bearers": "bearer ",
    "web tokens": "eyJ-",
    "web token": "eyJ" + "a" * 1_000_000,
    "private keys": "-----BEGIN PRIVATE KEY-----",
    "letters": "a",
    "spaces": " ",
    "stars": "*",
    "dollars": "token=$",
    "digits": "token:1a",
}


@pytest.mark.fault("S40")
@pytest.mark.parametrize("piece", ADVERSARIES.values(), ids=ADVERSARIES)
def test_a_megabyte_of_anything_takes_time_in_proportion(piece: str) -> None:
    def best_s(size: int) -> float:
        text = (piece * (size // len(piece) + 1))[:size]
        times = []
        for _ in range(3):
            start = time.process_time()
            redact(text)
            times.append(time.process_time() - start)
        return min(times)

    # A quadratic search would take 64 times as long, and minutes.
    assert best_s(1_000_000) < 24 * max(best_s(125_000), 0.004)
