"""The two exceptions of the package; both are ValueErrors whose text is one line.

`kind` is that text without what is particular to one document, so that errors can be counted by it:

    $.jobs.build.steps[3].name: 7 is not of type "string"       the text of an EncodeError
    $.jobs.*.steps[].name: ... is not of type "string"          its kind
"""


def before_colon(text):
    return text.split(": ")[0]


class EncodeError(ValueError):
    """The input is no workflow that we can read or encode.

    where: the JSON path, or the line and column, at which it is wrong; "" where there is none.
    kind: what is wrong in general; if it is not given, the text up to its first colon.
    """

    def __init__(self, problem, where="", kind=None):
        text = f"{where}: {problem}" if where else problem
        super().__init__(text)
        self.where = where
        self.kind = kind or before_colon(problem)


class DecodeError(ValueError):
    """The token ids are no encoding of a workflow.

    token: the number of the token that is wrong; None where the error is not one token's.
    kind: what is wrong in general, as in EncodeError.
    """

    def __init__(self, problem, token=None):
        text = problem if token is None else f"token {token}: {problem}"
        super().__init__(text)
        self.token = token
        self.kind = before_colon(problem)
