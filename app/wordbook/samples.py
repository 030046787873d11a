"""The words that `flask seed` puts into an empty book: English, Chinese, and a sentence in each."""

from __future__ import annotations

SAMPLES = (
    ("book", "书", "I read a book every week.", "我每周读一本书。"),
    ("friend", "朋友", "An old friend came to see me.", "一位老朋友来看我。"),
    ("learn", "学习", "We learn something new each day.", "我们每天都学习新东西。"),
    ("market", "市场", "The market opens at six.", "市场六点开门。"),
    ("rain", "雨", "The rain stopped before noon.", "中午之前雨就停了。"),
    ("tea", "茶", "I would like a cup of tea.", "我想喝一杯茶。"),
    ("train", "火车", "The train to Beijing is on time.", "去北京的火车准点。"),
    ("wind", "风", "The wind comes from the sea.", "风从海上吹来。"),
)
