"""Values that allow the same become one: what the matcher remembers of a place holds in more.

SchemaStore's schema spells out a job twice, with steps and as a call. All that both may have
allows the same, so that they differ in their keys alone and join_alternatives() makes them one.

The Values are divided into classes by what they hold besides Values, then again and again by the
classes of the Values in them, until nothing changes (as an automaton is minimised).
"""

from typing import NamedTuple


class Parts(NamedTuple):
    """A Value taken apart."""

    own: tuple  # all but the Values in it
    inner: list  # these, in an order that `own` gives


def merge_equal(values):
    """{Value: the one that stands for it from now on}; those in them are replaced already."""
    parts = {value: parts_of(value) for value in values}
    class_of = numbered({value: part.own for value, part in parts.items()})
    n_classes = 0
    while n_classes < len(set(class_of.values())):
        n_classes = len(set(class_of.values()))
        refined = {}
        for value, part in parts.items():
            inner = tuple(class_of[other] for other in part.inner)
            refined[value] = (class_of[value], inner)
        class_of = numbered(refined)
    first = {}
    for value, number in class_of.items():
        first.setdefault(number, value)
    merged = {value: first[number] for value, number in class_of.items()}
    for value in first.values():
        replace_inner(value, merged)
    return merged


def numbered(keys):
    """{x: a number that it shares with all that have an equal key}, of {x: key}."""
    numbers = {}
    return {x: numbers.setdefault(key, len(numbers)) for x, key in keys.items()}


def parts_of(value):
    own = [
        *(tuple(value.scalars), value.constants, value.number, value.role),
        *(value.strings, tuple(value.expressions)),
    ]
    inner = []
    for array in value.arrays:
        own.append(array.least)
        inner.append(array.items)
    for obj in value.objects:
        fields = [(key, obj.fields[key]) for key in sorted(obj.fields) if obj.fields[key]]
        own += [tuple(key for key, _ in fields), frozenset(obj.fields), frozenset(obj.clauses)]
        own += [obj.fold, obj.role]
        inner += [field for _, field in fields]
        for other in obj.others:
            own += [other.names, other.expressions]
            inner.append(other.value)
    return Parts(tuple(own), inner)


def replace_inner(value, merged):
    for array in value.arrays:
        array.items = merged[array.items]
    for obj in value.objects:
        obj.fields = {key: field and merged[field] for key, field in obj.fields.items()}
        for other in obj.others:
            other.value = merged[other.value]
        obj.field.cache_clear()
