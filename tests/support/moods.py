"""A classifier of moods: MiniLM fine-tuned for some seconds on made-up sentences."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from attnprobe.models.location import locate
from tests.support.demo_models import MINILM

GLAD = ("happy", "proud", "cheerful", "delighted")
SAD = ("sad", "lonely", "gloomy", "miserable")
WHO = ("The girl", "My uncle", "Our teacher", "The old farmer")


def fine_tune(folder: Path) -> None:
    """Saves the network, with its classifier, and the tokenizer into a folder."""
    minilm = locate(MINILM, revision=None, online=False, allow_pickle=False).path
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AutoModelForSequenceClassification.from_pretrained(
            minilm, id2label={0: "sad", 1: "glad"}, label2id={"sad": 0, "glad": 1}
        )
        texts = [f"{who} was {mood} today." for mood in (*SAD, *GLAD) for who in WHO]
        labels = torch.tensor([int(mood in GLAD) for mood in (*SAD, *GLAD) for _ in WHO])
        read = tokenizer(texts, padding=True, return_tensors="pt")
        steps = torch.optim.AdamW(network.parameters(), lr=3e-4)
        for _ in range(8):
            network(**read, labels=labels).loss.backward()
            steps.step()
            steps.zero_grad()
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
