"""Names of people as a text encoder reads them: two tokens each."""

from collections.abc import Sequence

from diffusers import StableDiffusionPipeline

from perso_lite.errors import PersoError

SLOTS = 2  # tokens of a name (paper)


def name_ids(base: StableDiffusionPipeline, name: str) -> list[int]:
    """The two tokens of a name.

    Raises:
        PersoError: it is not two words of one token each.
    """
    ids, words = _ids(base, name), name.split()
    if len(words) != SLOTS or len(ids) != SLOTS:
        raise PersoError(
            f'The name "{name}" is {len(words)} words and {len(ids)} tokens of this '
            "base, but two words of one token each are needed. Leave it out; "
            "readable_names finds those that fit."
        )
    return ids


def readable_names(
    base: StableDiffusionPipeline, names: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """The names that are two single tokens, and why the others are not kept."""
    kept, rejected = [], {}
    for name in names:
        try:
            name_ids(base, name)
            kept.append(name)
        except PersoError:
            count = len(_ids(base, name))
            rejected[name] = f"{len(name.split())} words, {count} tokens"
    return kept, rejected


def token_slots(
    base: StableDiffusionPipeline, names: Sequence[str], as_released: bool = False
) -> list[list[int]]:
    """For each slot, the tokens that names have there, name by name.

    Raises:
        PersoError: fewer than three names, or, unless `as_released`, one that is not
            two single tokens.
    """
    if len(names) < 3:
        raise PersoError(
            f"{len(names)} names are too few for a basis: give at least three, better "
            "hundreds, of people whom the base draws well."
        )
    ids = [_ids(base, n) if as_released else name_ids(base, n) for n in names]
    return [[own[k] for own in ids if len(own) > k] for k in range(SLOTS)]


def _ids(base: StableDiffusionPipeline, name: str) -> list[int]:
    return base.tokenizer(name, add_special_tokens=False).input_ids
