"""Stays: when the elements of a stack are there, asked for what covers a moment while one stay after the other is left out."""

from __future__ import annotations

from bisect import bisect_left

GONE = -(1 << 63)
"""The end of a stay that is no more: before every moment."""


class Stays:
    """The ends of stays, in the order of their beginnings, as a tree of maxima: `_tree[size + j]` is the end of stay j while it
    is in, `GONE` after, and `_tree[i]` the greater of its two children."""

    __slots__ = ("_size", "_tree")

    def __init__(self, ends: list[int]) -> None:
        self._size = size = 1 << len(ends).bit_length()
        self._tree = tree = [GONE] * size + ends + [GONE] * (size - len(ends))
        for i in range(size - 1, 0, -1):
            left, right = tree[2 * i], tree[2 * i + 1]
            tree[i] = left if left > right else right

    def latest(self, count: int, end: int) -> int:
        """The latest of the first `count` stays that ends after `end`, -1 for none."""
        tree, size = self._tree, self._size
        # Up from leaf `count` to a left sibling that has one, then down.
        node = size + count
        while node > 1:
            if node & 1 and tree[node - 1] > end:
                node -= 1
                while node < size:
                    node = 2 * node + 1 if tree[2 * node + 1] > end else 2 * node
                return node - size
            node >>= 1
        return -1

    def chain(self, begins: list[int], point: int, end: int) -> list[int]:
        """Stays that together cover `[point, end]`, none where a point of it is free; they begin at `begins`."""
        tree, size = self._tree, self._size
        links: list[int] = []
        while point <= end:
            node, reach, at = size + bisect_left(begins, point), point, 0
            while node > 1:
                if node & 1 and tree[node - 1] > reach:
                    reach, at = tree[node - 1], node - 1
                node >>= 1
            if not at:
                return []
            while at < size:
                at = 2 * at if tree[2 * at] == reach else 2 * at + 1
            links.append(at - size)
            point = reach
        return links

    def leave_out(self, stay: int) -> None:
        """Take a stay away."""
        tree = self._tree
        node = self._size + stay
        tree[node] = GONE
        node >>= 1
        while node:
            left, right = tree[2 * node], tree[2 * node + 1]
            greater = left if left > right else right
            if tree[node] == greater:
                break
            tree[node] = greater
            node >>= 1
