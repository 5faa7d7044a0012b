"""Captions that the library makes itself, to estimate a covariance from.

The paper's authors took 100,000 captions of LAION, which cannot be shipped. Here a
small grammar says things that most people have pictures of, in places and styles, with
colors, actions and company: enough different states for all directions of a text
encoder. `python -m perso_lite covariance` takes captions of your own instead.
"""

import random

COUNT = 20_000

ANIMALS = """dog cat horse cow sheep goat pig rabbit mouse squirrel fox wolf bear lion
tiger elephant giraffe zebra monkey panda koala kangaroo deer owl eagle parrot penguin
duck swan chicken goose turtle frog snake lizard crocodile fish shark whale dolphin crab
octopus butterfly bee spider snail dragon dinosaur puppy kitten""".split()
PEOPLE = """man woman boy girl child baby teacher doctor nurse farmer chef soldier
sailor dancer singer painter writer king queen knight wizard clown astronaut firefighter
student worker tourist grandmother grandfather""".split()
THINGS = """chair table sofa bed lamp mirror clock vase cup mug teapot bowl plate bottle
glass knife spoon basket box bag backpack suitcase umbrella hat shoe boot glove scarf
dress shirt jacket coat watch ring necklace crown mask doll robot toy ball kite balloon
book newspaper letter pencil brush camera phone computer keyboard television radio
guitar piano violin drum trumpet car truck bus train bicycle motorcycle boat ship
airplane helicopter rocket tractor house castle tower bridge church barn lighthouse
windmill fountain statue tent door window stairs fence candle fire key coin""".split()
PLANTS_AND_FOOD = """tree flower rose sunflower tulip cactus mushroom leaf grass apple
orange banana lemon strawberry cherry grape pear tomato potato carrot onion pumpkin
bread cake pizza sandwich burger soup salad cheese egg cookie chocolate""".split()
SUBJECTS = [*ANIMALS, *PEOPLE, *THINGS, *PLANTS_AND_FOOD]

LOOKS = """red orange yellow green blue purple pink brown black white gray golden silver
big small tiny huge tall old new young beautiful cute funny strange broken wooden metal
plastic striped spotted shiny fluffy wet dirty clean colorful""".split()
PLACES = """beach|street|forest|garden|park|kitchen|bedroom|bathroom|office|library|
museum|school|hospital|station|airport|market|restaurant|theater|stadium|farm|field|
desert|mountain|valley|lake|river|ocean|island|cave|jungle|city|village|harbor|bridge|
roof|playground|swimming pool|living room|parking lot|train station""".replace("\n", "")
PLACES = PLACES.split("|")
SURROUNDINGS = """in the snow|in the rain|at night|at sunset|in the morning|under water|
in the fog|in the moonlight|in outer space|on the moon|on a wooden table|
on a white background|in front of a window|behind a fence|under a tree|by the sea|
in autumn|in spring|in Paris|in New York|in Japan""".replace("\n", "").split("|")
ACTIONS = """sitting standing sleeping running jumping flying swimming eating playing
dancing walking falling burning smiling working waiting hiding""".split()
RELATIONS = """and|with|next to|behind|in front of|on top of|under|holding|wearing|
looking at|full of""".replace("\n", "").split("|")
KINDS = """photo|picture|close-up photo|black and white photo|portrait|painting|
oil painting|watercolor painting|drawing|pencil sketch|cartoon|illustration|poster|logo|
sculpture|3d render|postcard|stamp|tattoo|mosaic|pixel art picture|children's book page|
app icon|screenshot|blurry photo|cropped photo""".replace("\n", "").split("|")
STYLES = """in the style of an old master|in the style of a comic book|
in bright colors|in soft light|, highly detailed|, minimalist|, vintage|, cinematic|
with a dark background|seen from above|seen from far away""".replace("\n", "").split(
    "|"
)


def common_captions(count: int = COUNT, seed: int = 0) -> list[str]:
    """Different captions, the same ones for the same numbers.

    Args:
        count: how many.
        seed: of the choices.
    """
    chance = random.Random(seed)
    captions: dict[str, None] = {}
    while len(captions) < count:
        captions[_caption(chance)] = None
    return list(captions)


def _caption(chance: random.Random) -> str:
    """[a photo of] a thing [doing this] [and another] [in a place] [in a style]."""
    parts = [_thing(chance)]
    if chance.random() < 0.25:
        parts.append(chance.choice(ACTIONS))
    if chance.random() < 0.35:
        parts += [chance.choice(RELATIONS), _thing(chance)]
    if chance.random() < 0.4:
        article = chance.choice(("in the", "in a", "at the", "near a"))
        parts += [article, chance.choice(PLACES)]
    elif chance.random() < 0.4:
        parts.append(chance.choice(SURROUNDINGS))
    if chance.random() < 0.2:
        parts.append(chance.choice(STYLES))
    if chance.random() < 0.7:
        parts = [_with_article(chance.choice(KINDS)), "of", *parts]
    return " ".join(parts).replace(" ,", ",")


def _thing(chance: random.Random) -> str:
    """A noun, often with what it looks like, and an article or a number."""
    noun = chance.choice(SUBJECTS)
    looks = chance.sample(LOOKS, chance.choices((0, 1, 2), (5, 4, 1))[0])
    words = " ".join([*looks, noun])
    kind = chance.random()
    if kind < 0.15:
        return f"the {words}"
    if kind < 0.2:
        return f"my {words}"
    return _with_article(words)


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
