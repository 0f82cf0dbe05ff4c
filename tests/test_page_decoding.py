"""Pages, batch by batch: values, notices, refusals, and the probe."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readers import FAST, TOLERANT, completion
from values import (
    DAY,
    PAGES,
    START,
    decoded,
    every_page,
    one_bucket,
    one_page,
    one_row,
    pages,
    sample,
)

from usage_async import (
    ENDPOINTS,
    CostsResult,
    PaginationError,
    ResponseError,
    UnknownResult,
    UsageCompletionsResult,
    UsageResponse,
    dumps,
    loads,
)
from usage_async._codec import pages as codec
from usage_async._codec.pages import decode, probe
from usage_async._codec.redactor import Redactor

BUCKET = one_bucket()


both_readers = pytest.mark.parametrize("using", [FAST, TOLERANT], ids=["fast", "tolerant"])


@pytest.fixture(params=[1, 300, 1 << 20], ids=["a row a batch", "small batches", "one batch"])
def batch_bytes(request, monkeypatch):
    """Batches and whole pages of so many bytes."""
    monkeypatch.setattr(codec, "BATCH_BYTES", request.param)
    monkeypatch.setattr(codec, "WHOLE_BYTES", request.param)
    return request.param


def three_days(rows=4):
    """Buckets with so many rows, two rows and none; every row is different."""
    return [
        one_bucket(*(completion(input_tokens=row) for row in range(rows)), start=START),
        one_bucket(completion(input_tokens=10), completion(input_tokens=11), start=START + DAY),
        one_bucket(start=START + 2 * DAY),
    ]


def steps(body, kind, using=FAST):
    return sum(1 for _ in decode(body, kind, using))


@every_page
@both_readers
@pytest.mark.usefixtures("batch_bytes")
def test_every_page_from_the_wire_is_decoded(name, endpoint, using):
    kind = ENDPOINTS[endpoint].result_class
    read = decoded(sample(name), kind, using)
    assert read.page == loads(sample(name), UsageResponse[kind])
    assert read.notices == ()


@pytest.mark.parametrize("name", ["completions", "costs", "vector_stores"])
@given(data=st.data(), size=st.sampled_from([1, 200, 1 << 20]))
def test_however_it_is_cut_a_page_is_what_it_is(name, size, data):
    kind = ENDPOINTS[name].result_class
    page = data.draw(pages(kind))
    body = dumps(page)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "BATCH_BYTES", size)
        patch.setattr(codec, "WHOLE_BYTES", size)
        for using in (FAST, TOLERANT):
            assert decoded(body, kind, using).page == page


@pytest.mark.parametrize(
    ("size", "batches"),
    [
        pytest.param(1, 4 + 2 + 1, id="a row a batch, and the quiet day"),
        pytest.param(1 << 20, 1, id="all in one"),
    ],
)
@both_readers
def test_the_event_loop_gets_its_turn_between_batches(monkeypatch, using, size, batches):
    body = one_page(*three_days())
    monkeypatch.setattr(codec, "WHOLE_BYTES", 0)
    monkeypatch.setattr(codec, "BATCH_BYTES", size)
    # Beside the batches: after the page's own fields, and after each large bucket's.
    around = 1 + (3 if size == 1 else 0)
    assert steps(body, UsageCompletionsResult, using) == batches + around


def test_a_usual_page_is_decoded_in_one_go():
    assert steps(sample("documented_completions"), UsageCompletionsResult) == 0


def test_no_batch_is_larger_than_it_may_be(monkeypatch):
    sizes = []

    class Watching(type(FAST)):
        def loads_fast(self, data, cl):
            sizes.append(len(data))
            return FAST.loads_fast(data, cl)

    monkeypatch.setattr(codec, "BATCH_BYTES", 2000)
    monkeypatch.setattr(codec, "WHOLE_BYTES", 2000)
    days = [
        one_bucket(*[completion()] * rows, start=START + day * DAY)
        for day, rows in enumerate([1, 200, 0, 3, 3, 3, 90])
    ]
    read = decoded(one_page(*days), UsageCompletionsResult, Watching())
    assert [len(bucket.results) for bucket in read.page.data] == [1, 200, 0, 3, 3, 3, 90]
    assert max(sizes) < 2000 + 400
    assert len(sizes) > 20


@both_readers
@pytest.mark.usefixtures("batch_bytes")
@pytest.mark.parametrize(
    ("day", "row"), [(0, 0), (0, 3), (1, 1)], ids=["first row", "last row", "next bucket"]
)
def test_a_refused_row_is_told_by_its_place_in_the_page(using, day, row):
    days = three_days()
    days[day]["results"][row]["input_tokens"] = 1.5
    with pytest.raises(ResponseError) as error:
        decoded(one_page(*days), UsageCompletionsResult, using)
    assert error.value.path == f"$.data[{day}].results[{row}].input_tokens"
    assert error.value.path in str(error.value)


@both_readers
@pytest.mark.usefixtures("batch_bytes")
@pytest.mark.parametrize(
    ("page", "path"),
    [
        pytest.param({"has_more": "no"}, "$.has_more", id="has_more"),
        pytest.param({"next_page": 5}, "$.next_page", id="next_page"),
        pytest.param({"object": "list"}, "$.object", id="object"),
        pytest.param({"data": [5]}, "$.data[0]", id="bucket"),
        pytest.param({"data": [BUCKET, None]}, "$.data[1]", id="null"),
        pytest.param({"data": [BUCKET | {"start_time": "x"}]}, "$.data[0].start_time", id="start"),
        pytest.param({"data": [BUCKET | {"results": {}}]}, "$.data[0].results", id="results"),
        pytest.param({"data": [BUCKET | {"results": [5]}]}, "$.data[0].results[0]", id="row"),
    ],
)
def test_what_is_refused_is_told_by_its_place(using, page, path):
    body = json.loads(one_page()) | page
    with pytest.raises(ResponseError) as error:
        decoded(json.dumps(body).encode(), UsageCompletionsResult, using)
    assert error.value.path == path
    assert len(error.value.snippet) <= 200


@both_readers
@pytest.mark.usefixtures("batch_bytes")
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"null", b"[]", b'"text"', b"{}", b'{"data":[]}', b'{"has_more":false}'),
        *(b'{"data":null,"has_more":false}', b'{"data":{},"has_more":false}', b"\xff\xfe{}"),
        b'{"data":[],"has_more":false}trailing',
        b'{"data":[{}],"has_more":false}',
        b'{"data":[{"object":"bucket"}],"has_more":false}',
        b'{"data":[[[]]],"has_more":false}',
        b'{"data":[{"start_time":1,"end_time":2}],"has_more":false}',
        b'{"data":[{"start_time":1,"end_time":2,"results":5}],"has_more":false}',
        b'{"data":[{"start_time":1,"end_time":2,"results":[' + b"[" * 50_000,
        b'{"data":' + b"[" * 50_000,
        b"[" * 50_000,
        one_page(one_bucket(completion(model="?"))).replace(b"?", b"\xff"),
        b"<html><body>Bad gateway</body></html>",
    ],
    ids=lambda body: body[:60].decode("latin-1").encode("unicode_escape").decode(),
)
def test_what_is_no_page_is_refused(using, body):
    with pytest.raises(ResponseError) as error:
        decoded(body, UsageCompletionsResult, using)
    assert len(str(error.value)) < 400
    assert len(error.value.snippet) <= 200


@every_page
@pytest.mark.usefixtures("batch_bytes")
def test_a_page_that_was_cut_off_anywhere_is_refused(name, endpoint):
    body = sample(name).rstrip()
    kind = ENDPOINTS[endpoint].result_class
    for length in range(len(body)):
        with pytest.raises(ResponseError):
            decoded(body[:length], kind)


@given(st.binary(max_size=300), st.sampled_from([1, 1 << 20]))
def test_random_bytes_are_refused(body, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "BATCH_BYTES", size)
        with pytest.raises(ResponseError):
            decoded(body, UsageCompletionsResult)


@pytest.mark.parametrize("name", ["documented_completions", "live_costs_string_amounts"])
@given(data=st.data())
def test_a_flipped_byte_gives_what_the_json_says_or_is_refused(name, data):
    body = bytearray(sample(name))
    kind = ENDPOINTS[PAGES[name]].result_class
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(body) - 1))
        body[index] = data.draw(st.integers(0, 255) | st.sampled_from(b'0123456789-+.eE"[]{}:,'))
    outcomes = []
    for size in (1, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(codec, "BATCH_BYTES", size)
            patch.setattr(codec, "WHOLE_BYTES", size)
            for using in (FAST, TOLERANT):
                try:
                    outcomes.append(decoded(bytes(body), kind, using).page)
                except ResponseError:
                    outcomes.append(None)
    assert all(outcome == outcomes[0] for outcome in outcomes)


def test_a_repeated_key_counts_once_the_same_by_every_reader(batch_bytes):
    row = b'{"object":"organization.usage.completions.result","input_tokens":1,"input_tokens":2,'
    row += b'"output_tokens":0,"num_model_requests":1}'
    body = one_page(one_bucket()).replace(b'"results": []', b'"results": [%b]' % row)
    for using in (FAST, TOLERANT):
        (bucket,) = decoded(body, UsageCompletionsResult, using).page.data
        assert bucket.results[0].input_tokens == 2


def assert_probe_agrees(body, kind=UsageCompletionsResult, redactor=None):
    """Check that reading a body that the probe refuses refuses it in the same way."""
    redactor = redactor or Redactor()
    refusal = probe(body, kind, FAST, redactor)
    if refusal is not None:
        with pytest.raises(ResponseError) as error:
            decoded(body, kind, FAST)
        assert type(refusal) is type(error.value)
        assert refusal.retryable == error.value.retryable
        assert refusal.snippet == error.value.snippet
    return refusal


@pytest.fixture(params=[0, 1 << 20], ids=["only its ends", "whole"])
def probed_bytes(request, monkeypatch):
    """Bodies of so many bytes are probed whole."""
    monkeypatch.setattr(codec, "PROBED_BYTES", request.param)


PAGE = one_page(one_bucket(completion()))


SPACED = b" \n\t\r" * 2000 + PAGE + b" \r\n\t" * 2000


@every_page
@pytest.mark.usefixtures("probed_bytes")
def test_every_page_from_the_wire_passes_the_probe(name, endpoint):
    assert probe(sample(name), ENDPOINTS[endpoint].result_class) is None


@pytest.mark.usefixtures("probed_bytes")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(SPACED, id="blanks around"),
        pytest.param(PAGE.replace(b'"data"', b'"d\\u0061ta"'), id="data with an escape"),
        pytest.param(PAGE.replace(b'"has_more"', b'"has\\u005fmore"'), id="has_more so"),
        pytest.param(b'{"has_more":false,"filler":"%b",%b' % (b"x" * 9999, PAGE[1:]), id="far"),
        pytest.param(PAGE.replace(b'"data"', b'"data": 5, "data"'), id="data twice"),
    ],
)
def test_a_page_that_is_written_oddly_passes_the_probe(body):
    assert decoded(body, UsageCompletionsResult).page.data
    assert probe(body, UsageCompletionsResult) is None


@pytest.mark.usefixtures("probed_bytes")
@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"null", b"[]", b'"text"', b"{}", b'{"data":[]}', b'{"has_more":false}'),
        b"<html><body>Bad gateway</body></html>",
        b"[%b]" % PAGE,
        b"\xef\xbb\xbf" + PAGE,
        PAGE[: len(PAGE) // 2],
        PAGE + b"]",
        b'{"error": {"message": "No."}}',
    ],
    ids=lambda body: f"{len(body)} bytes, {body[:20]!r}",
)
def test_what_is_no_page_at_all_is_found_at_once(body):
    refusal = assert_probe_agrees(body)
    assert refusal.message.startswith("not a page of usage: ")
    assert refusal.path in ("$", "$.has_more")


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":{},"has_more":false}',
        b'{"data":[],"has_more":1}',
        b'{"data":[],"has_more":false,"next_page":5}',
        b'{"data":[],"has_more":false,"object":"list"}',
        b'{"data":[1,],"has_more":false}',
        PAGE + b"}",
    ],
)
def test_a_small_page_is_probed_whole(body):
    assert assert_probe_agrees(body) is not None


@given(st.data())
def test_the_probe_never_refuses_what_can_be_read(data):
    body = bytearray(sample(data.draw(st.sampled_from(["documented_costs", "live_costs_empty"]))))
    for _ in range(data.draw(st.integers(0, 4))):
        begin = data.draw(st.integers(0, len(body) - 1))
        end = min(len(body), begin + data.draw(st.sampled_from([0, 1, 2, 50, len(body)])))
        body[begin:end] = data.draw(
            st.binary(max_size=3)
            | st.sampled_from([b"{", b"}", b'"data":', b'"has_more":1,', b"\\"])
        )
        if not body:
            break
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "PROBED_BYTES", data.draw(st.sampled_from([0, 1 << 20])))
        assert_probe_agrees(bytes(body), CostsResult)


GATEWAY_KEY = "gw.canary+/=9"


@pytest.mark.usefixtures("batch_bytes")
@pytest.mark.parametrize("drift", [{}, {f"is {GATEWAY_KEY}": GATEWAY_KEY}], ids=["none", "some"])
@both_readers
def test_values_stay_exact_even_if_they_hold_the_key(using, drift):
    rows = [completion(model=GATEWAY_KEY, **drift), completion(model=f"a {GATEWAY_KEY}")]
    if drift:
        rows.append(one_row("images", object=GATEWAY_KEY))
    body = one_page(one_bucket(*rows, **drift), **drift)
    read = decoded(body, UsageCompletionsResult, using, Redactor((GATEWAY_KEY,)))
    assert read.page == loads(body, UsageResponse[UsageCompletionsResult])
    assert read.page.data[0].results[0].model == GATEWAY_KEY
    assert len(read.notices) == (4 if drift else 0)
    assert "canary" not in repr(read.notices)


@pytest.mark.usefixtures("batch_bytes")
@both_readers
def test_what_is_refused_is_told_without_the_key(using):
    body = one_page(one_bucket(completion(**{GATEWAY_KEY: 1, "model": [GATEWAY_KEY]})))
    with pytest.raises(ResponseError, match="expected a string, got \\['") as error:
        decoded(body, UsageCompletionsResult, using, Redactor((GATEWAY_KEY,)))
    assert "canary" not in repr(vars(error.value))


def test_a_word_of_the_api_as_key_does_not_let_a_row_pass():
    body = one_page(one_bucket(one_row("code_interpreter_sessions", num_sessions="many")))
    kind = ENDPOINTS["code_interpreter_sessions"].result_class
    with pytest.raises(ResponseError, match="the key of this client is in what is refused"):
        decoded(body, kind, FAST, Redactor(("num_sessions",)))


HUGE = "x" * (codec.TOLERANT_BYTES + codec.MOST_BYTES)


@pytest.mark.parametrize(
    ("page", "path"),
    [
        pytest.param({"new": HUGE}, "$", id="field of a page"),
        pytest.param({HUGE: 1}, "$", id="name of a field"),
        pytest.param({f"new {n}": 1 for n in range(20_000)}, "$", id="fields of a page"),
        pytest.param({"next_page": "x" * 5000}, "$.next_page", id="cursor"),
        pytest.param({"data": [one_bucket(new=HUGE)]}, "$", id="field of a bucket"),
        pytest.param(
            {"data": [one_bucket(completion(), completion(new=HUGE))]},
            "$.data[0]",
            id="field of a row",
        ),
        pytest.param({"data": [BUCKET, BUCKET | {"results": HUGE}]}, "$.data[1]", id="no rows"),
    ],
)
@pytest.mark.parametrize("has_learned", [True, False], ids=["learned", "new"])
@both_readers
def test_what_would_hold_the_event_loop_is_refused(using, has_learned, page, path):
    if has_learned:
        decoded(
            one_page(one_bucket(completion(new=1), new=1), new=1), UsageCompletionsResult, using
        )
    body = json.dumps(json.loads(one_page()) | page).encode()
    with pytest.raises(ResponseError) as error:
        decoded(body, UsageCompletionsResult, using)
    assert error.value.path == path


@both_readers
def test_the_tolerant_reader_takes_smaller_steps(monkeypatch, using):
    sizes = []

    class Watching(type(FAST)):
        def loads_tolerant(self, data, cl):
            sizes.append(len(data))
            return using.loads_tolerant(data, cl)

    watching = Watching()
    watching.fast = using.fast
    monkeypatch.setattr(codec, "WHOLE_BYTES", 8000)
    monkeypatch.setattr(codec, "BATCH_BYTES", 8000)
    monkeypatch.setattr(codec, "TOLERANT_BYTES", 2000)
    rows = [completion(input_tokens=index, new=1) for index in range(200)]
    days = [one_bucket(*rows), *(one_bucket(row, start=START + DAY) for row in rows)]
    body = one_page(*days)
    read = decoded(body, UsageCompletionsResult, watching)
    assert read.page == loads(body, UsageResponse[UsageCompletionsResult])
    assert max(sizes) < 2000 + 400
    assert len(sizes) > 2 * 20


def test_few_of_many_names_are_told():
    fields = {f"new {number}": 1 for number in range(5000)}
    read = decoded(one_page(one_bucket(completion(**fields))), UsageCompletionsResult)
    assert len(read.notices) == 100
    assert len(read.page.data[0].results[0].extra) == 5000


@pytest.mark.parametrize("more", [{}, {"new": 1}], ids=["declared", "drifted"])
def test_a_cursor_that_holds_the_key_is_not_followed(more):
    body = one_page(has_more=True, next_page=f"page_{GATEWAY_KEY}", **more)
    redactor = Redactor((GATEWAY_KEY,))
    with pytest.raises(PaginationError, match="not sent in a URL") as error:
        decoded(body, UsageCompletionsResult, FAST, redactor)
    assert "canary" not in repr(vars(error.value))
    assert type(probe(body, UsageCompletionsResult, FAST, redactor)) is PaginationError


@both_readers
def test_names_are_shortened(using):
    days = [one_bucket(completion(**{"x" * 9999: 1}), {"object": "y" * 9999})]
    notices = decoded(one_page(*days), UsageCompletionsResult, using).notices
    assert {notice.code for notice in notices} == {"unknown-field", "other-results"}
    assert max(len(notice.message) for notice in notices) < 400


@pytest.mark.usefixtures("batch_bytes")
@both_readers
def test_what_this_release_does_not_know_is_told_once_a_page(using):
    cost = one_row("costs", amount={"value": "1", "currency": "usd", "rate": 2})
    days = [
        one_bucket(completion(mood="fine"), completion(mood="bad"), one_row("images"), new=1),
        one_bucket(completion(mood="fine"), {"object": "dreams"}, {"object": "dreams"}),
    ]
    notices = decoded(one_page(*days, cursor=1), UsageCompletionsResult, using).notices
    assert {(notice.code, notice.message.partition(" that ")[0]) for notice in notices} == {
        (
            "other-results",
            f"rows of kind '{ENDPOINTS['images'].object}' are in bucket.other_results",
        ),
        ("other-results", "rows of kind 'dreams' are in bucket.other_results"),
        ("unknown-field", "'bucket' has a field 'new'"),
        ("unknown-field", f"'{ENDPOINTS['completions'].object}' has a field 'mood'"),
        ("unknown-field", "'page' has a field 'cursor'"),
    }
    assert len(notices) == 5
    (notice,) = decoded(one_page(one_bucket(cost)), CostsResult, using).notices
    assert "'amount' has a field 'rate'" in notice.message


def test_of_an_unknown_endpoint_no_field_is_told():
    body = one_page(one_bucket({"object": "dreams", "sheep": 1}))
    read = decoded(body, UnknownResult)
    assert read.notices == ()
    assert read.page.data[0].results[0].extra == {"sheep": 1}
