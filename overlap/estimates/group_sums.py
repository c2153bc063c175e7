"""Per-utterance sums: the sufficient statistics of every micro-average and of its cluster bootstrap."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from overlap.errors import UserError

Key = int | str
Groups = Tensor | np.ndarray | Sequence[int] | Sequence[str]


@dataclass(frozen=True, eq=False)
class GroupSums:
    """Sum, count and number of undefined positions of every statistic in every group.

    Attributes:
        names: the S statistics.
        keys: the G groups, in the order of `sort_key`.
        sums: ``[G, S]`` float64, over the defined positions.
        counts: ``[G, S]`` int64, defined positions.
        undefined: ``[G, S]`` int64, positions that were looked at but where the statistic has no value.
    """

    names: tuple[str, ...]
    keys: tuple[Key, ...]
    sums: np.ndarray
    counts: np.ndarray
    undefined: np.ndarray

    def __post_init__(self) -> None:
        shape = (len(self.keys), len(self.names))
        for name in ("sums", "counts", "undefined"):
            received = getattr(self, name).shape
            if received != shape:
                raise UserError(
                    f"{name}: expected shape {list(shape)} (groups × statistics), received {list(received)}"
                )

    @classmethod
    def from_values(
        cls, values: Mapping[str, Tensor | np.ndarray], groups: Groups, *, mask: Tensor | np.ndarray | None = None
    ) -> "GroupSums":
        """Sum the values of every position by group.

        Args:
            values: tensors or arrays of one shape ``[...]``, NaN where undefined.
            groups: integers or strings, of that shape, of its first axes, or broadcastable to it by axes of length 1.
            mask: ``[...]`` bool, False where a position does not count at all.

        Raises:
            UserError: if shapes differ or groups do not fit.
        """
        if not values:
            return cls.empty(())
        names = tuple(values)
        arrays = [array_of(value).astype(np.float64) for value in values.values()]
        shape = arrays[0].shape
        for name, array in zip(names, arrays, strict=True):
            if array.shape != shape:
                raise UserError(f"{name}: expected shape {list(shape)} like the rest, received {list(array.shape)}")
        keep = np.ones(shape, dtype=bool) if mask is None else array_of(mask)
        table = np.stack([array[keep] for array in arrays], axis=-1)
        keys, member = members_of(groups, shape, keep)
        defined = ~np.isnan(table)
        sums, counts, undefined = (
            np.zeros((len(keys), len(names)), dtype=dtype) for dtype in (np.float64, np.int64, np.int64)
        )
        with np.errstate(invalid="ignore"):  # +inf and -inf together have no sum
            np.add.at(sums, member, np.where(defined, table, 0.0))
        np.add.at(counts, member, defined)
        np.add.at(undefined, member, ~defined)
        return cls(names, keys, sums, counts, undefined)

    @classmethod
    def empty(cls, names: Sequence[str]) -> "GroupSums":
        """Return sums without groups."""
        none = np.zeros((0, len(names)))
        return cls(tuple(names), (), none, none.astype(np.int64), none.astype(np.int64))

    @classmethod
    def joined(cls, parts: Sequence["GroupSums"], names: Sequence[str]) -> "GroupSums":
        """Return all groups of all parts, kept apart by numbering them; with the statistics `names`, also if there are
        no parts."""
        if not parts:
            return cls.empty(names)
        sums, counts, undefined = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("sums", "counts", "undefined")
        )
        return cls(tuple(names), tuple(range(len(sums))), sums, counts, undefined)

    @classmethod
    def merged(cls, parts: Sequence["GroupSums"]) -> "GroupSums":
        """Add up groups of the same key, keep the rest.

        Raises:
            UserError: if the statistics differ.
        """
        names = parts[0].names
        for part in parts:
            if part.names != names:
                raise UserError(
                    f"sums: expected the statistics {list(names)}, received {list(part.names)}; "
                    "merge only sums of the same statistics"
                )
        keys = sorted({key for part in parts for key in part.keys}, key=sort_key)
        row = {key: i for i, key in enumerate(keys)}
        shape = (len(keys), len(names))
        sums, counts, undefined = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for part in parts:
            rows = [row[key] for key in part.keys]  # distinct within a part, so += reaches each
            with np.errstate(invalid="ignore"):  # +inf and -inf together have no sum
                sums[rows] += part.sums
            counts[rows] += part.counts
            undefined[rows] += part.undefined
        return cls(names, tuple(keys), sums, counts, undefined)

    @classmethod
    def side_by_side(cls, parts: Sequence["GroupSums"]) -> "GroupSums":
        """The statistics of all parts in one table; a group that a part lacks has no position there.

        Raises:
            UserError: if two parts have the same statistic.
        """
        names = [name for part in parts for name in part.names]
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise UserError(f"sums: {twice} are in two parts; put only different statistics side by side")
        keys = sorted({key for part in parts for key in part.keys}, key=sort_key)
        row = {key: i for i, key in enumerate(keys)}
        shape = (len(keys), len(names))
        sums, counts, undefined = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        first = 0
        for part in parts:
            there = np.ix_([row[key] for key in part.keys], range(first, first + len(part.names)))
            sums[there], counts[there], undefined[there] = part.sums, part.counts, part.undefined
            first += len(part.names)
        return cls(tuple(names), tuple(keys), sums, counts, undefined)

    def chosen(self, names: Mapping[str, str]) -> "GroupSums":
        """Some of the statistics, in the order of `names`.

        Args:
            names: of the statistics to keep, with the name that each gets.
        """
        at = [self.names.index(name) for name in names]
        return GroupSums(tuple(names.values()), self.keys, self.sums[:, at], self.counts[:, at], self.undefined[:, at])

    def of(self, keys: Iterable[Key]) -> "GroupSums":
        """Some of the groups, in the order of these sums; keys that they lack are ignored."""
        wanted = set(keys)
        at = [i for i, key in enumerate(self.keys) if key in wanted]
        kept = tuple(self.keys[i] for i in at)
        return GroupSums(self.names, kept, self.sums[at], self.counts[at], self.undefined[at])

    def regrouped(self, of: Mapping[Any, Key]) -> "GroupSums":
        """Add up groups that belong together, so that intervals are over what these are parts of.

        Args:
            of: the new group of each group, such as the recording of a piece; groups that it lacks stay as they are.

        Example:
            >>> sums = GroupSums.from_values({"end_of_text": np.array([1.0, 0.0, 1.0])}, ["a#0", "a#1", "b"])
            >>> sums.regrouped({"a#0": "a", "a#1": "a"}).keys
            ('a', 'b')
        """
        if not of:
            return self
        own = [of.get(key, key) for key in self.keys]
        keys = sorted(set(own), key=sort_key)
        row = {key: i for i, key in enumerate(keys)}
        shape = (len(keys), len(self.names))
        sums, counts, undefined = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        at = np.array([row[key] for key in own], dtype=np.int64)
        with np.errstate(invalid="ignore"):  # +inf and -inf together have no sum
            np.add.at(sums, at, self.sums)
        np.add.at(counts, at, self.counts)
        np.add.at(undefined, at, self.undefined)
        return GroupSums(self.names, tuple(keys), sums, counts, undefined)

    def to_columns(self) -> dict[str, np.ndarray]:
        """A row for each group and statistic: ``key``, ``statistic``, ``sum``, ``count``, ``undefined``."""
        keys, names = np.array(self.keys, dtype=object), np.array(self.names, dtype=object)
        return {
            "key": np.repeat(keys, len(names)),
            "statistic": np.tile(names, len(keys)),
            "sum": self.sums.ravel(),
            "count": self.counts.ravel(),
            "undefined": self.undefined.ravel(),
        }

    @classmethod
    def from_columns(cls, columns: Mapping[str, np.ndarray]) -> "GroupSums":
        """The inverse of `to_columns`, whatever the order of rows; a group without a row of a statistic has no
        position there.

        Raises:
            UserError: if a group has two rows of one statistic.
        """
        keys = sorted(dict.fromkeys(columns["key"].tolist()), key=sort_key)
        names = list(dict.fromkeys(columns["statistic"].tolist()))
        row, column = ({one: i for i, one in enumerate(known)} for known in (keys, names))
        places = list(zip(columns["key"].tolist(), columns["statistic"].tolist(), strict=True))
        if len(set(places)) < len(places):
            key, name = next(place for place in places if places.count(place) > 1)
            raise UserError(f"sums: {name} of {key!r} is there twice; keep one row for each group and statistic")
        at = [row[key] for key, _ in places], [column[name] for _, name in places]
        tables = []
        for field, kind in (("sum", np.float64), ("count", np.int64), ("undefined", np.int64)):
            table = np.zeros((len(keys), len(names)), dtype=kind)
            table[at] = columns[field]
            tables.append(table)
        return cls(tuple(names), tuple(keys), *tables)


def packed_groups(*, position_ids: Tensor | None = None, cu_seqlens: Tensor | None = None) -> Tensor:
    """Return the utterance of each position, for rows that contain several packed utterances.

    Example:
        >>> import torch
        >>> packed_groups(position_ids=torch.tensor([[0, 1, 2, 0, 1], [0, 1, 2, 3, 4]]))
        tensor([[0, 0, 0, 1, 1],
                [2, 2, 2, 2, 2]])
        >>> packed_groups(cu_seqlens=torch.tensor([0, 3, 5]))
        tensor([0, 0, 0, 1, 1])

    Args:
        position_ids: ``[..., L]`` integers that restart with each utterance, as for a model; a row begins a new
            utterance whatever its first number is.
        cu_seqlens: ``[n + 1]`` ascending integers: the start of each of n utterances and the end of the last, as
            variable-length kernels take them.

    Returns:
        Long, of the shape of position_ids or ``[cu_seqlens[-1]]``.

    Raises:
        UserError: if not exactly one is given, or it is not such a tensor.
    """
    if (position_ids is None) == (cu_seqlens is None):
        raise UserError("packed_groups: expected position_ids or cu_seqlens, one of the two")
    if position_ids is not None:
        if position_ids.is_floating_point() or position_ids.ndim == 0:
            raise UserError(f"position_ids: expected integers [..., L], received {_described(position_ids)}")
        begins = torch.ones_like(position_ids, dtype=torch.bool)
        begins[..., 1:] = position_ids[..., 1:] <= position_ids[..., :-1]
        return (begins.reshape(-1).cumsum(0) - 1).reshape(position_ids.shape)
    assert cu_seqlens is not None
    if cu_seqlens.is_floating_point() or cu_seqlens.ndim != 1 or len(cu_seqlens) < 2:
        raise UserError(f"cu_seqlens: expected integers [n + 1], received {_described(cu_seqlens)}")
    lengths = cu_seqlens.diff()
    if int(cu_seqlens[0]) != 0 or bool((lengths < 0).any()):
        raise UserError(f"cu_seqlens: expected ascending integers from 0, received {cu_seqlens.tolist()}")
    return torch.arange(len(lengths), device=cu_seqlens.device).repeat_interleave(lengths.long())


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {list(tensor.shape)}"


def sort_key(key: Key) -> tuple[bool, Key]:
    """Return the order of groups: integers before strings, so that results do not depend on the order of arrival."""
    return isinstance(key, str), key


def array_of(value: Groups) -> np.ndarray:
    """Return a tensor, array or sequence as an array on the CPU, without gradient."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def members_of(groups: Groups, shape: tuple[int, ...], keep: np.ndarray) -> tuple[tuple[Key, ...], np.ndarray]:
    """Return keys of the groups that have a kept position, in order, and the number of the group of every kept
    position."""
    named = array_of(groups)
    if named.dtype.kind not in "iuU":
        raise UserError(
            f"groups: expected integers or strings (one kind only) that name the utterances, received {named.dtype}"
        )
    axes = shape or (1,)  # a single position is one row
    if named.ndim > len(axes) or any(mine not in (1, wanted) for mine, wanted in zip(named.shape, axes, strict=False)):
        raise UserError(
            f"groups: expected the leading shape {list(shape)} or its first axes, received {list(named.shape)}; "
            "name one utterance for each row ([B] for [B, L]) or for each position"
        )
    # Names are sorted before they are broadcast to positions: there are far fewer names.
    keys, number = np.unique(named, return_inverse=True)
    number = number.reshape(*named.shape, *(1,) * (len(axes) - named.ndim))
    member = np.broadcast_to(number, axes).reshape(shape)[keep]
    present, member = np.unique(member, return_inverse=True)
    return tuple(keys[present].tolist()), member
