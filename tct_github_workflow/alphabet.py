"""The alphabet: one character for each key, constant and bracket of the schema.

    KEY["steps"]  ->  "\ue046"      CONSTANT["push"]  ->  "\ue0a9"      OBJECT  ->  "\ue001"

Symbols are characters of Unicode's private-use area, from U+E000 on. Openers (OBJECT to the last
key) start a value or a field; closers (END to the last constant) end one. ESC marks a private-use
character of the document itself: U+E000+k is written as ESC U+F000+k, so the byte 0xEE, which leads
U+E000 to U+EFFF in UTF-8, belongs to symbols alone and no text can forge one.
"""

from .schema import names

KEYS, CONSTANTS = names()


def symbols(names, first):
    """{name: symbol}, in order, from a code point on."""
    return {name: chr(first + i) for i, name in enumerate(names)}


# --- openers
ESC = "\ue000"
OBJECT = "\ue001"
ARRAY = "\ue002"
NUMBER = "\ue003"
FIRST_KEY = 0xE004
KEY = symbols(KEYS, FIRST_KEY)

# --- closers
FIRST_CLOSER = FIRST_KEY + len(KEYS)
END = chr(FIRST_CLOSER)  # of a text or number
CLOSE = chr(FIRST_CLOSER + 1)  # of an object or array
EOD = chr(FIRST_CLOSER + 2)  # of the document
TRUE = chr(FIRST_CLOSER + 3)
FALSE = chr(FIRST_CLOSER + 4)
NULL = chr(FIRST_CLOSER + 5)
FIRST_CONSTANT = FIRST_CLOSER + 6
CONSTANT = symbols(CONSTANTS, FIRST_CONSTANT)
LAST = CONSTANT[CONSTANTS[-1]]

KEY_NAME = {symbol: name for name, symbol in KEY.items()}
LITERAL = {symbol: name for name, symbol in CONSTANT.items()}  # symbol -> the value it stands for
LITERAL |= {TRUE: True, FALSE: False, NULL: None}
END_OF_SYMBOLS = ord(LAST) + 1
SYMBOLS = [chr(code) for code in range(ord(ESC), END_OF_SYMBOLS)]

# the bytes that UTF-8 text can hold: 0xC0, 0xC1 and those from 0xF5 on are never in it
NO_TEXT = (0xC0, 0xC1, 0xEE)  # 0xEE leads private-use characters only
TEXT_BYTES = [b for b in range(0xF5) if b not in NO_TEXT]
