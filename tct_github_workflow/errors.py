"""The two exceptions of the package; both are ValueErrors."""


class EncodeError(ValueError):
    """The input is no workflow that we can read or encode; the message says where and why."""


class DecodeError(ValueError):
    """The token ids are no encoding of a workflow; the message says at which position and why."""
