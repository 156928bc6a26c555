"""RFC 9457 answers: the one shape of every error."""


def assert_problem(answer, status, code=None, field=None):
    """`status` and `code` may be one value or, where the contract leaves a choice, a tuple of values."""
    statuses = status if isinstance(status, tuple) else (status,)
    assert answer.status_code in statuses, f"{answer.status_code}: {answer.text[:500]}"
    assert answer.headers["Content-Type"].partition(";")[0] == "application/problem+json"
    problem = answer.json()
    for name in ("type", "title", "status", "detail", "code", "request_id"):
        assert name in problem, f"{name} is missing: {problem}"
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    if code is not None:
        assert problem["code"] in (code if isinstance(code, tuple) else (code,)), problem
    if field is not None:
        assert problem["field"] == field, problem
    return problem


# The contract asks for a refusal with the field's name, not for a number: 400 and 422 are both usual.
REFUSED = (400, 422)
