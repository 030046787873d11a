"""The words. A fixed list for now; nothing else knows where they come from."""

from __future__ import annotations

from typing import NamedTuple


class Word(NamedTuple):
    """A word in both languages, with a sentence that uses it in each."""

    english: str
    chinese: str
    english_example: str
    chinese_example: str


WORDS = (
    Word("book", "书", "I read a book every week.", "我每周读一本书。"),
    Word("friend", "朋友", "An old friend came to see me.", "一位老朋友来看我。"),
    Word("learn", "学习", "We learn something new each day.", "我们每天都学习新东西。"),
    Word("market", "市场", "The market opens at six.", "市场六点开门。"),
    Word("rain", "雨", "The rain stopped before noon.", "中午之前雨就停了。"),
    Word("tea", "茶", "I would like a cup of tea.", "我想喝一杯茶。"),
    Word("train", "火车", "The train to Beijing is on time.", "去北京的火车准点。"),
    Word("wind", "风", "The wind comes from the sea.", "风从海上吹来。"),
)


def all_words() -> tuple[Word, ...]:
    """Every word, in the order of the English alphabet."""
    return tuple(sorted(WORDS, key=lambda word: word.english))
