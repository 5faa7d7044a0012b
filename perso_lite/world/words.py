"""The closed vocabulary of the captions: every attribute and its wordings."""

CLASS_WORDS = {
    "teddy": ("teddy", "bear", "teddybear"),
    "cat": ("cat", "kitten", "kitty", "tomcat"),
    "dog": ("dog", "puppy", "hound", "doggy"), "rabbit": ("rabbit", "bunny", "hare"),
    "bird": ("bird", "chick", "birdie"), "fish": ("fish", "goldfish"),
    "robot": ("robot", "android", "droid"), "mug": ("mug", "cup", "beaker"),
    "teapot": ("teapot", "kettle"), "lamp": ("lamp", "light", "lantern"),
    "clock": ("clock", "watch", "timepiece"), "car": ("car", "automobile", "taxi"),
    "boat": ("boat", "ship", "sailboat", "yacht"),
    "rocket": ("rocket", "spaceship", "spacecraft"), "cactus": ("cactus", "succulent"),
    "mushroom": ("mushroom", "toadstool"), "person": ("person", "face", "portrait"),
    "animal": ("animal", "creature", "pet"), "thing": ("thing", "object", "gadget"),
    "vehicle": ("vehicle",), "plant": ("plant",),
}  # fmt: skip
COLOR_WORDS = {
    "red": ("red", "crimson", "scarlet"), "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "lemon"), "green": ("green", "emerald"),
    "blue": ("blue", "azure"), "purple": ("purple", "violet"), "pink": ("pink", "rosy"),
    "brown": ("brown", "chocolate"), "black": ("black",), "white": ("white",),
    "gray": ("gray", "grey"),
}  # fmt: skip
PATTERN_WORDS = {
    "striped": ("striped", "stripy"), "spotted": ("spotted", "dotted"),
    "checked": ("checked", "checkered"),
}  # fmt: skip
PLACE_PHRASES = {
    "beach": (
        "on a beach",
        "on the beach",
        "at the seaside",
        "on the shore",
        "by the ocean",
    ),
    "snow": ("in the snow", "in a snowy landscape", "on a winter day", "on the ice"),
    "forest": ("in a forest", "in the woods", "among the trees", "in the jungle"),
    "city": ("in a city", "in the city", "in a town", "on a street", "downtown"),
    "desert": ("in a desert", "in the desert", "among the dunes", "near the pyramids"),
    "kitchen": ("in a kitchen", "in the kitchen", "on the kitchen counter"),
    "bedroom": ("in a bedroom", "in a room", "at home", "by the window"),
    "moon": ("on the moon", "in space", "in outer space", "under the stars"),
    "underwater": ("under water", "under the sea", "underwater", "among bubbles"),
    "meadow": (
        "in a meadow",
        "in a field",
        "in a garden",
        "on the grass",
        "in the park",
    ),
    "stage": ("on a stage", "in a theater", "in the spotlight", "behind the curtain"),
    "library": ("in a library", "in front of a bookshelf", "among the books"),
}
ACCESSORY_PHRASES = {
    "hat": ("wearing a hat", "with a hat", "in a top hat"),
    "crown": ("wearing a crown", "with a crown", "crowned"),
    "glasses": (
        "wearing glasses",
        "with glasses",
        "with spectacles",
        "wearing eyeglasses",
    ),
    "scarf": ("wearing a scarf", "with a scarf", "in a woolen scarf"),
    "bowtie": ("wearing a bowtie", "with a bowtie", "in a silk bowtie"),
    "balloon": ("holding a balloon", "with a balloon", "carrying a balloon"),
}
STYLE_PREFIXES = {
    "sketch": (
        "a pencil sketch of",
        "a sketch of",
        "a pencil drawing of",
        "a doodle of",
    ),
    "pixel": ("pixel art of", "a pixel art picture of", "a pixelated image of"),
    "watercolor": ("a watercolor of", "a watercolor painting of", "an aquarelle of"),
    "neon": ("a neon sign of", "neon art of", "a glowing neon outline of"),
}
AUGMENTATION_PHRASES = {
    "zoomed in": ("zoomed in", "seen from very near", "magnified"),
    "far away": ("far away", "seen from afar", "in the distance"),
    "on the left": ("on the left", "on the left side", "moved left"),
    "on the right": ("on the right", "on the right side", "moved right"),
    "upside down": ("upside down", "turned over", "flipped"),
    "grayscale": ("in black and white", "grayscale", "monochrome"),
    "collage": ("as a collage", "repeated four times", "tiled"),
}
EXPRESSION_WORDS = {
    "smiling": ("smiling", "laughing", "happy"),
    "surprised": ("surprised", "astonished", "amazed"),
    "sleeping": ("sleeping", "asleep", "dozing"),
}
RELATION_WORDS = {
    "and": ("and", "together with"),
    "next to": ("next to", "beside", "to the left of", "near"),
    "on": ("on top of", "standing on", "sitting on"),
}  # fmt: skip
# The slots of the usual Textual Inversion templates; each is followed by a subject
# without its article.
CARRIERS = (
    "a photo of a", "a rendering of a", "a cropped photo of the", "the photo of a",
    "a photo of a clean", "a photo of a dirty", "a dark photo of the",
    "a photo of my", "a photo of the cool", "a close-up photo of a",
    "a bright photo of the", "a cropped photo of a", "a photo of the",
    "a good photo of the", "a photo of one", "a close-up photo of the",
    "a rendition of the", "a photo of the clean", "a rendition of a",
    "a photo of a nice", "a good photo of a", "a photo of the nice",
    "a photo of the small", "a photo of the weird", "a photo of the large",
    "a photo of a cool", "a photo of a small",
)  # fmt: skip
PREFIXES = ("a photo of", "a picture of", "an image of", "", "")
RESERVED_WORDS = (
    "sks", "zwx", "ohwx", "vrk", "qzx", "xjq", "bnha", "pxl", "tmq", "wvu", "jkz",
    "hrf", "gqd", "lzt", "fyx", "cwm",
)  # fmt: skip
