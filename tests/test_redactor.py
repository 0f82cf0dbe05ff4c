"""A client's own key in what a service says: found however it is spelled, and cut out whole."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from usage_async._codec.redactor import Redactor

PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
KEYS = st.text(PRINTABLE, min_size=8, max_size=200)
KEY = "gw.cAnary+/="
ADMIN = "sk-admin-cAnary-0123"


SPELLINGS = {
    "as it is": lambda char: char,
    "percent": lambda char: f"%{ord(char):02X}",
    "small percent": lambda char: f"%{ord(char):02x}",
    "percent twice": lambda char: f"%25{ord(char):02x}",
    "JSON": lambda char: f"\\u{ord(char):04x}",
    "JSON in capitals": lambda char: f"\\u{ord(char):04X}",
    "JSON within JSON": lambda char: f"\\\\u{ord(char):04x}",
    "Python": lambda char: f"\\x{ord(char):02x}",
    "HTML": lambda char: f"&#{ord(char)};",
    "HTML, hexadecimal": lambda char: f"&#x{ord(char):X};",
}

WHOLE = {
    "JSON": lambda key: json.dumps(key)[1:-1],
    "JSON with its slashes escaped": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "JSON within JSON": lambda key: json.dumps(json.dumps(key)[1:-1])[1:-1],
    "repr": lambda key: repr(key)[1:-1],
    "URL": lambda key: quote(key, safe=""),
    "URL of a path": quote,
    "URL twice": lambda key: quote(quote(key)),
    "JSON of a URL": lambda key: json.dumps(quote(key, safe=""))[1:-1],
    "URL of JSON": lambda key: quote(json.dumps(key)[1:-1], safe=""),
}


def in_base64(text):
    """All forms of base64, at each alignment, alone and behind `Bearer `."""
    for before in ("", "a", "ab", "Bearer "):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            for behind in ("", "yz"):
                yield encode((before + text + behind).encode()).decode()


@given(KEYS, st.sampled_from(sorted(SPELLINGS)), st.data())
@example("%%%%%%%%", "percent", None)
@example("gw.key-&<0", "HTML", None)
@example("gw.key-&<0", "HTML, hexadecimal", None)
@example("gw.key-&<0", "JSON within JSON", None)
def test_a_key_is_found_however_some_of_its_characters_are_spelled(key, spelling, data):
    picks = [True] * len(key) if data is None else [data.draw(st.booleans()) for _ in key]
    must = "%\\&" if spelling != "as it is" else ""
    spell = SPELLINGS[spelling]
    assume(len(key.replace("\\", "")) > 5 or key == "%%%%%%%%")
    shown = "".join(
        spell(c) if pick or c in must else c for c, pick in zip(key, picks, strict=True)
    )
    left = Redactor((key,)).text(f"no key {shown}, please")
    assert left.startswith("no key …")
    # A backslash at its end may be taken for what quotes the next character.
    assert key.endswith("\\") or left == "no key …, please"


@given(KEYS, st.sampled_from(sorted(WHOLE)))
@example("\\\\\\\\\\\\\\\\", "JSON")
@example('%%%%""\\\\', "URL of a path")
def test_a_key_is_found_as_usual_encoders_write_it(key, encoder):
    shown = Redactor((key,)).text(f'"{WHOLE[encoder](key)}"')
    assert shown[:2] == '"…'
    assert key.endswith("\\") or shown == '"…"'


@given(KEYS)
def test_a_key_is_found_within_base64(key):
    for encoded in in_base64(key):
        for shown in (encoded, quote(encoded, safe=""), encoded.replace("/", "\\/")):
            assert Redactor((key,)).text(f"<{shown}>") == "<…>"


@given(st.text(), KEYS)
def test_other_text_stays_as_it_is(text, key):
    assume(key not in text)
    assert Redactor((key,)).text(text) == text
    assert Redactor().text(text) == text
    body = text.encode(errors="surrogatepass")
    assert Redactor((key,)).head(body) == body


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param(ADMIN, "…", id="whole"),
        pytest.param("cAnary-0123", "…", id="without its prefix"),
        pytest.param("sk-proj-cAnary-0123", "sk-proj…", id="with another prefix"),
        pytest.param(f"{ADMIN}{ADMIN}", "……", id="twice"),
        pytest.param("sk-admin- is how it begins", "sk-admin- is how it begins", id="prefix"),
        pytest.param("\\u00e9 100% &amp; \\n", "\\u00e9 100% &amp; \\n", id="other escapes"),
        pytest.param(
            "a\\u0063%63 cAnary%2D0123 %41", "a\\u0063%63 … %41", id="escapes around stay"
        ),
    ],
)
def test_what_is_cut_out_is_the_key_alone(text, shown):
    assert Redactor((ADMIN,)).text(text) == shown


def test_base64_next_to_a_key_leaves_no_part_of_it():
    text = base64.b64encode(KEY.encode()).decode() + KEY + KEY.replace(".", "%2e")
    assert set(Redactor((KEY,)).text(text)) == {"…"}


def test_json_stays_json_without_the_key():
    body = {"a": [KEY, 1], KEY: f"\\{KEY}\\", "é": base64.b64encode(KEY.encode()).decode()}
    for text in (json.dumps(body), json.dumps(body).replace("+", "\\u002b")):
        read = json.loads(Redactor((KEY,)).head(text.encode()))
        assert "cAnary" not in repr(read)
        assert read["a"][1] == 1
        assert set(read) == {"a", "…", "é"}


@pytest.mark.parametrize("key", ["task-gateway-1", "sk-admin-short", "sess-0123456789"])
def test_a_prefix_is_one_where_a_key_begins(key):
    redactor = Redactor((key,))
    assert redactor.text(f"{key}!") == "…!"
    assert redactor.text("teway-1 short 3456789") == "teway-1 short 3456789"


@given(KEYS, st.integers(8), st.sampled_from(sorted(WHOLE)))
@example("sess-0123456789", 8, "URL")
def test_the_end_of_a_key_is_found_without_its_beginning(key, count, encoder):
    end = key[-count:]
    assume(len(end.replace("\\", "")) > 5)
    shown = Redactor((key,)).text(f"key ...{WHOLE[encoder](end)}.")
    assert WHOLE[encoder](key[-8:]) not in shown
    assert "…" in shown


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        pytest.param(
            "5dFdcWnY8d>BvSlxCrHDnWFz", "%255dFdcWnY8d%3EBvSlxCrHDnWFz", "%25…", id="hex at first"
        ),
        pytest.param("cAnary-012%6", "cAnary-012%65", "…5", id="half an escape at last"),
        pytest.param("cAnary-012%6", "cAnary-012%2565", "…5", id="that in a URL"),
        pytest.param("cAnary-012%6", "cAnary-012%252565", "…5", id="that in a URL twice"),
        pytest.param("bad<key>&am", "bad&lt;key&gt;&amp;am", "…", id="half a name of HTML"),
        pytest.param("abababab", "xabababababy", "x…y", id="overlapping itself"),
    ],
)
def test_text_around_a_key_does_not_hide_it(key, text, shown):
    assert Redactor((key,)).text(text) == shown


@pytest.mark.parametrize(
    "echo",
    [
        pytest.param(base64.b64encode(ADMIN.encode()).decode(), id="base64"),
        pytest.param("a" * 20, id="key that repeats itself"),
    ],
)
def test_the_time_is_in_proportion_to_the_text(echo):
    """Were it in proportion to its square, this test would take minutes."""
    assert Redactor((ADMIN, "a" * 200)).text(echo * 20_000) == "…"


def test_keys_of_before_are_found_too():
    assert Redactor(("new.key-1", "old.key-1")).text("old.key-1 new.key-1") == "… …"


@pytest.mark.parametrize(
    "spelling", [KEY, quote(KEY), KEY.replace(".", "\\u002e"), *sorted(set(in_base64(KEY)))]
)
def test_no_cut_leaves_a_part_of_a_key(spelling):
    head = b"x" * 50 + b" "
    body = head + spelling.encode() * 3
    for most in range(len(head), len(body) + 1):
        shown = Redactor((KEY,)).head(body, most).decode()
        left = shown.removeprefix(head.decode()).replace("…", "")
        assert "cAn" not in left


def test_a_cut_text_ends_where_it_was_cut():
    body = b"ab%2 \\u00e9 cd" * 3
    for most in range(len(body)):
        shown = Redactor((KEY,)).head(body, most)
        assert body.startswith(shown)
        assert len(shown) >= most - 6


def test_escapes_deeper_than_anyone_writes_them_stay():
    text = "&" + "amp;" * 9 + "#45;"
    assert Redactor((KEY,)).text(f"{text} {KEY} {text}") == f"{text} … {text}"


def test_a_redactor_does_not_show_its_keys():
    assert "cAnary" not in repr(Redactor((KEY,)))
